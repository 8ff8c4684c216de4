import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startExample, type ExampleApp } from "../helpers/example-app.ts";
import { launchChromium, showsVersion } from "../helpers/sdk-browser.ts";
import { INTERNAL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let browser: Browser;
const backends = new Map<string, ExampleApp>();

beforeAll(async () => {
  [stack, browser] = await Promise.all([startTestStack(), launchChromium()]);
});

afterAll(async () => {
  await browser.close();
  await Promise.all([...backends.values()].map((backend) => backend.stop()));
  await stack.stop();
});

async function deploy(app: string, id: string): Promise<void> {
  const backend = await startExample({
    deploymentId: id,
    internalToken: INTERNAL_TOKEN,
    port: 0,
    serverAddress: stack.origin,
  });
  backends.set(`${app}/${id}`, backend);
  const target = { kind: "url", url: backend.url };
  await stack.api("POST", `/apps/${app}/deployments`, { id, target });
  await stack.control.until(app, id, ["active"], 60_000);
}

/** Chromium resolves `*.localhost` to this machine by itself. */
function address(app: string): string {
  return `http://${app}.localhost:${stack.port}/`;
}

async function newTab(app: string, expected: string): Promise<Page> {
  const { version, page } = await until(
    async () => {
      const page = await browser.newPage();
      await page.goto(address(app));
      return { page, version: await page.locator("#version").textContent() };
    },
    (tab) => tab.version === expected || (void tab.page.close(), false),
  );
  expect(version).toBe(expected);
  return page;
}

/** Counts loads of a page from now on, and ticks that it missed. */
async function watch(page: Page): Promise<{ loads: () => number; count: () => Promise<number> }> {
  let loads = 0;
  page.on("load", () => (loads += 1));
  return { loads: () => loads, count: async () => Number(await page.locator("#count").textContent()) };
}

async function keepsCounting(page: Page, version: string): Promise<void> {
  const { count } = await watch(page);
  const from = await count();
  await until(count, (now) => now > from + 1);
  expect(await page.locator("#version").textContent()).toBe(version);
}

test("an open page counts on through promotes and a rollback, then reloads once, and only then its version goes", async () => {
  await stack.api("PUT", "/apps/counter", {
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 5,
    drainTtlSeconds: 3_600,
  });
  await deploy("counter", "v1");
  const old = await newTab("counter", "v1");
  const { loads, count } = await watch(old);
  await keepsCounting(old, "v1");

  await deploy("counter", "v2");
  await keepsCounting(old, "v1");
  const fresh = await newTab("counter", "v2");
  await keepsCounting(fresh, "v2");

  for (let round = 0; round < 10; round++) {
    const id = round % 2 === 0 ? "v1" : "v2";
    expect((await stack.api("POST", `/apps/counter/deployments/${id}/promote`)).status).toBe(200);
    await keepsCounting(old, "v1");
  }
  await keepsCounting(fresh, "v2");
  expect((await stack.api("POST", "/apps/counter/rollback")).body["active"]).toBe("v1");
  await keepsCounting(old, "v1");
  await keepsCounting(await newTab("counter", "v1"), "v1");
  expect(loads()).toBe(0);
  expect(await count()).toBeGreaterThan(20);

  // From here on v1 has one second to drain.
  await stack.api("PUT", "/apps/counter", {
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 5,
    drainTtlSeconds: 1,
  });
  await stack.api("POST", "/apps/counter/rollback");
  const versionsWhenGone = until(
    () => stack.api("GET", "/apps/counter/deployments/v1"),
    ({ body }) => body["state"] === "removed",
    60_000,
  ).then(() => old.locator("#version").textContent());
  await showsVersion(old, "v2");
  await keepsCounting(old, "v2");
  expect(await versionsWhenGone).toBe("v2");
  expect(loads()).toBe(1);
  await keepsCounting(fresh, "v2");
  const { body } = await stack.api("GET", "/apps/counter/deployments/v1");
  expect(body["retirement"]).toMatchObject({ reason: "deadline" });
});

test("a page whose version was cut off comes back on the active one, once", async () => {
  await stack.api("PUT", "/apps/cutoff", {});
  await deploy("cutoff", "v1");
  const page = await newTab("cutoff", "v1");
  await keepsCounting(page, "v1");
  const { loads } = await watch(page);
  await deploy("cutoff", "v2");
  await stack.api("PUT", "/apps/cutoff/minimum", { id: "v2" });
  // The open socket stays; the page's next request is what finds out.
  const fetches = (): Promise<number> =>
    page.evaluate("fetch('/').then((response) => response.status, () => 0)");
  await until(fetches, (status) => status === 409 || loads() > 0);
  await showsVersion(page, "v2");
  await keepsCounting(page, "v2");
  expect(loads()).toBe(1);
});
