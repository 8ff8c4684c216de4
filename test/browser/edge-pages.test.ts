import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from "vitest";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { launchChromium, reaches, showsVersion } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let browser: Browser;
let context: BrowserContext;
const backends: PlainApp[] = [];
const said: string[] = [];

beforeAll(async () => {
  [stack, browser] = await Promise.all([startTestStack(), launchChromium()]);
});

afterAll(async () => {
  await browser.close();
  await Promise.all(backends.map((backend) => backend.close()));
  await stack.stop();
});

beforeEach(async () => {
  said.length = 0;
  context = await browser.newContext();
});
afterEach(() => context.close());

async function deploy(app: string, id: string): Promise<PlainApp> {
  const backend = await startPlainApp(id);
  backends.push(backend);
  await deployUrl(stack, app, id, backend.url);
  return backend;
}

async function open(app: string, id: string, path = "/"): Promise<Page> {
  const page = await context.newPage();
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  await until(
    async () => {
      await page.goto(`http://${app}.localhost:${stack.port}${path}`);
      return page.locator("#version").textContent();
    },
    (version) => version === id,
  );
  await reaches(page, "connected");
  return page;
}

const decisions = async (app: string): Promise<string> => {
  const { body } = await stack.api("POST", "/janitor/run", {});
  const all = body["decisions"] as { app: string; deployment: string; reason: string; detail: string }[];
  return all
    .filter((one) => one.app === app)
    .map(({ deployment, reason, detail }) => `${deployment} ${reason} ${detail}`)
    .join();
};

const stateOf = async (app: string, id: string): Promise<unknown> =>
  (await stack.api("GET", `/apps/${app}/deployments/${id}`)).body["state"];

/** What a page can ask for by script, each with the id of who answered. */
const SCRIPTED: [name: string, source: string][] = [
  ["fetch", `(await (await fetch("/echo")).json()).id`],
  ["fetch with a body", `(await (await fetch("/echo", { method: "POST", body: "x" })).json()).id`],
  [
    "XMLHttpRequest",
    `await new Promise((done) => { const r = new XMLHttpRequest(); r.open("GET", "/echo"); r.onload = () => done(JSON.parse(r.response).id); r.send(); })`,
  ],
  [
    "WebSocket",
    `await new Promise((done) => { new WebSocket("/socket").onmessage = ({ data }) => done(data); })`,
  ],
  [
    "EventSource",
    `await new Promise((done) => { const s = new EventSource("/events"); s.onmessage = ({ data }) => { s.close(); done(data); }; })`,
  ],
  [
    "a worker's fetch",
    `await new Promise((done) => { new Worker("/worker.js").onmessage = ({ data }) => done(data); })`,
  ],
  [
    "a shared worker's fetch",
    `await new Promise((done) => { new SharedWorker("/worker.js").port.onmessage = ({ data }) => done(data); })`,
  ],
];

test("a page of an app that knows nothing of Signalbox stays on its version until its tab is closed", async () => {
  await putApp(stack, "plain", { previousRetentionSeconds: 0 });
  const v1 = await deploy("plain", "v1");
  expect((await stack.api("GET", "/apps/plain/deployments/v1")).body["contract"]).toBe("edge");
  const old = await open("plain", "v1");
  expect(await old.locator("script").count()).toBe(0);

  await deploy("plain", "v2");
  const fresh = await open("plain", "v2");
  for (const [name, source] of SCRIPTED) {
    expect([name, await old.evaluate(`(async () => ${source})()`)]).toEqual([name, "v1"]);
  }
  expect(await old.evaluate(`navigator.sendBeacon("/echo?beacon", "x")`)).toBe(true);
  await until(
    () => v1.seen.some((line) => line.startsWith("POST /echo?beacon")),
    (seen) => seen,
  );

  await old.locator("input").fill("typed");
  await old.locator("#other").click();
  await until(
    () => v1.seen.some((line) => line.startsWith("POST /form?other=1&pulse_deployment=v1")),
    (seen) => seen,
  );
  await showsVersion(old, "v1");
  await reaches(old, "connected");
  await until(
    () => decisions("plain"),
    (seen) => seen.includes("v1 live_sessions 1 live"),
  );
  expect(await stateOf("plain", "v1")).toBe("draining");
  expect(said).toEqual([]);

  await old.close();
  const closedAt = Date.now();
  await until(
    () => decisions("plain").then(() => stateOf("plain", "v1")),
    (state) => state === "removed",
  );
  expect(Date.now() - closedAt).toBeLessThan(60_000);
  expect(await fresh.locator("#version").textContent()).toBe("v2");
});

test("at the deadline a page reloads itself once, and a veto holds it", async () => {
  await putApp(stack, "late", { previousRetentionSeconds: 0, reloadGraceSeconds: 3_600 });
  await deploy("late", "v1");
  const [polite, busy] = [await open("late", "v1"), await open("late", "v1")];
  let loads = 0;
  polite.on("load", () => (loads += 1));
  await busy.evaluate(`signalbox.onReload(() => false)`);
  await busy.locator("input").fill("typed");
  await putApp(stack, "late", { previousRetentionSeconds: 0, reloadGraceSeconds: 3_600, drainTtlSeconds: 1 });
  await deploy("late", "v2");
  await showsVersion(polite, "v2");
  await reaches(polite, "connected");
  await reaches(busy, "reload-vetoed");
  expect(loads).toBe(1);
  expect(await busy.locator("input").inputValue()).toBe("typed");
  expect(await busy.evaluate(`(async () => (await (await fetch("/echo")).json()).id)()`)).toBe("v1");
  const { body } = await stack.api("GET", "/apps/late/deployments/v1");
  expect(body["retirement"]).toMatchObject({ reason: "deadline", reloadedSockets: 2 });
  expect(said).toEqual([]);
});
