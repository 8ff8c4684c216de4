import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from "vitest";
import { CLIENT_SCRIPT } from "../../sdk/client-script.generated.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { launchChromium, showsVersion } from "../helpers/sdk-browser.ts";
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

/** Asked from outside the page, whose policy may forbid a script's text. */
async function reaches(page: Page, state: string): Promise<void> {
  await until(
    () => page.evaluate(`window.signalbox?.state`).catch(() => null),
    (seen) => seen === state,
  );
}

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

test("without JavaScript a page's forms keep its version while that lives, and nobody counts the page", async () => {
  await putApp(stack, "scriptless", { previousRetentionSeconds: 0 });
  await deploy("scriptless", "v1");
  const other = await browser.newContext({ javaScriptEnabled: false });
  const page = await other.newPage();
  await page.goto(`http://scriptless.localhost:${stack.port}/`);
  const v2 = await deploy("scriptless", "v2");
  await until(
    async () => (await stack.request("scriptless.localhost", "/echo")).text,
    (text) => text.includes("v2"),
  );
  v2.seen.length = 0;
  for (const button of ["#other", "button:not(#other)"]) {
    await page.locator(button).click();
    await page.waitForURL("**/form*");
    await showsVersion(page, "v1");
  }
  expect(v2.seen).toEqual([]);
  await until(
    () => decisions("scriptless").then(() => stateOf("scriptless", "v1")),
    (state) => state === "removed",
  );
  await page.locator("#other").click();
  await showsVersion(page, "v2");
  await other.close();
});

test("a page that no socket gets through for isn't taken for gone", async () => {
  await putApp(stack, "no-sockets", { previousRetentionSeconds: 0 });
  await deploy("no-sockets", "v1");
  const page = await context.newPage();
  await page.addInitScript(`window.WebSocket = class extends WebSocket {
    constructor() { super("ws://127.0.0.1:9/"); }
  }`);
  await page.goto(`http://no-sockets.localhost:${stack.port}/`);
  await deploy("no-sockets", "v2");
  await until(
    () => decisions("no-sockets"),
    (seen) => seen.includes("v1 sessions_unknown a page that can't be counted was there"),
  );
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

const html =
  (id: string, head: string, headers: Record<string, string> = {}, script = ""): PlainApp["handler"] =>
  (request, response) => {
    if (request.url === "/_pulse/client.js?pulse_deployment=v1") {
      response.writeHead(200, { "content-type": "text/javascript" }).end(script);
      return true;
    }
    if (request.url !== "/") return false;
    response
      .writeHead(200, { "content-type": "text/html", ...headers })
      .end(`<!doctype html><html><head>${head}</head><body><p id="version">${id}</p></body></html>`);
    return true;
  };

/** An app whose old page is open while another version is active. */
async function openOld(
  app: string,
  handler?: (id: string) => PlainApp["handler"],
): Promise<{ page: Page; v1: PlainApp }> {
  await putApp(stack, app, { previousRetentionSeconds: 0 });
  const v1 = await startPlainApp("v1");
  const v2 = await startPlainApp("v2");
  backends.push(v1, v2);
  if (handler) [v1.handler, v2.handler] = [handler("v1"), handler("v2")];
  await deployUrl(stack, app, "v1", v1.url);
  const page = await open(app, "v1");
  await deployUrl(stack, app, "v2", v2.url);
  await open(app, "v2");
  return { page, v1 };
}

test("what a page sends as it is left, and what it submits by script, reaches its version", async () => {
  const { page, v1 } = await openOld("leaving");
  expect(await page.evaluate(`typeof fetchLater`)).toBe("function");
  await page.evaluate(`fetchLater("/echo?later", { method: "POST", body: "x", activateAfter: 0 }); 0`);
  await page.evaluate(`addEventListener("pagehide", () => navigator.sendBeacon("/echo?left", "x"))`);
  await page.evaluate(`document.forms[0].submit()`);
  for (const sent of ["POST /echo?later", "POST /echo?left", "POST /form?pulse_deployment=v1"]) {
    await until(
      () => v1.seen.join("\n"),
      (seen) => seen.includes(sent),
    );
  }
  await showsVersion(page, "v1");
  expect(said).toEqual([]);
});

test("a form that the app takes over, and one that goes elsewhere, are left as they are", async () => {
  const { page } = await openOld("forms");
  const action = await page.evaluate(`new Promise((done) => {
    const [form] = document.forms;
    form.addEventListener("submit", (event) => { event.preventDefault(); setTimeout(() => done(form.getAttribute("action"))); });
    form.requestSubmit();
  })`);
  expect(action).toBe("/form");
  const foreign = await page.evaluate(`new Promise((done) => {
    const form = document.createElement("form");
    form.method = "post"; form.action = "https://elsewhere.invalid/"; form.target = "frame";
    document.body.append(form);
    form.addEventListener("submit", () => setTimeout(() => done(form.getAttribute("action"))));
    form.requestSubmit();
  })`);
  expect(foreign).toBe("https://elsewhere.invalid/");
});

test("a page whose policy wants a nonce gets the helper with it", async () => {
  const policy = {
    "content-security-policy": "script-src 'nonce-r4nd0m' 'strict-dynamic'; connect-src 'self'",
  };
  const { page } = await openOld("nonce", (id) => html(id, "", policy));
  expect(await page.evaluate(`(async () => (await (await fetch("/echo")).json()).id)()`)).toBe("v1");
  expect(said).toEqual([]);
});

test("a page whose policy forbids sockets has its pins, and no word in the console", async () => {
  await putApp(stack, "mute", { previousRetentionSeconds: 0 });
  const v1 = await startPlainApp("v1");
  backends.push(v1);
  v1.handler = html("v1", "", { "content-security-policy": "connect-src https://elsewhere.test" });
  await deployUrl(stack, "mute", "v1", v1.url);
  const page = await context.newPage();
  page.on("console", (message) => said.push(message.text()));
  await page.goto(`http://mute.localhost:${stack.port}/`);
  await reaches(page, "suspended");
  await deploy("mute", "v2");
  await until(
    () => decisions("mute"),
    (seen) => seen.includes("v1 sessions_unknown"),
  );
  expect(said).toEqual([]);
});

test("beside the sdk's own script there is one helper", async () => {
  const tag = '<script src="/_pulse/client.js?pulse_deployment=v1"></script>';
  const { page } = await openOld("both", (id) => html(id, tag, {}, CLIENT_SCRIPT));
  await until(
    () => decisions("both"),
    (seen) => seen.includes("v1 live_sessions 1 live"),
  );
  expect(await page.evaluate(`signalbox.deploymentId`)).toBe("v1");
  expect(said).toEqual([]);
});

test("a frame is a page of its own, and its helper leaves no tag behind either", async () => {
  const { page } = await openOld("framed", (id) => html(id, ""));
  await page.evaluate(`new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.src = "/form"; frame.onload = () => done(0);
    document.body.append(frame);
  })`);
  const frame = page.frames()[1];
  if (frame === undefined) throw new Error("There is no frame.");
  expect(await frame.locator("script").count()).toBe(0);
  await frame.waitForFunction(`signalbox.state === "connected"`);
  expect(await page.evaluate(`document.documentElement.outerHTML`)).not.toContain("_signalbox/page.js");
});

test("with pages of two versions open, what no script asks for follows the tab that is turned to", async () => {
  const { page } = await openOld("tabs");
  const imported = (): Promise<unknown> =>
    page.evaluate(`import("/module.js?" + Math.random()).then(({ id }) => id)`);
  await until(
    async () => {
      await page.evaluate(`dispatchEvent(new Event("focus"))`);
      return imported();
    },
    (id) => id === "v1",
  );
  const fresh = await open("tabs", "v2");
  expect(await imported()).toBe("v2");
  await until(
    async () => {
      await page.evaluate(`dispatchEvent(new Event("focus"))`);
      return imported();
    },
    (id) => id === "v1",
  );
  expect(await fresh.locator("#version").textContent()).toBe("v2");
  expect(said).toEqual([]);
});
