import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Browser } from "playwright-core";
import { startBackend, type TestBackend } from "../helpers/sdk-backend.ts";
import { launchChromium, reaches } from "../helpers/sdk-browser.ts";
import { TestRouter } from "../helpers/sdk-router.ts";

let browser: Browser;
let router: TestRouter;
let v1: TestBackend;

beforeAll(async () => {
  browser = await launchChromium({ backForwardCache: true });
});
afterAll(() => browser.close());

beforeEach(async () => {
  // Nothing in these tests outlasts this linger time: a count that falls was a clean close.
  v1 = await startBackend("v1", { options: { lingerMs: 3_600_000 } });
  router = await new TestRouter("v1").listen();
  router.backends.set("v1", v1.origin);
});
afterEach(async () => {
  await router.close();
  await v1.close();
});

const counts = (expected: number) => expect.poll(() => v1.signalbox.sessions.count).toBe(expected);
const controlSockets = () => router.seen.filter(({ path }) => path === "/_pulse/session");

test("each open page is one session, and a page that is left is gone at once", async () => {
  const first = await browser.newPage();
  await first.goto(router.origin);
  await counts(1);
  const second = await browser.newPage();
  await second.goto(router.origin);
  await counts(2);
  await second.goto("about:blank");
  await counts(1);
  await second.close();
  await first.reload();
  await reaches(first, "connected");
  await counts(1);
  await first.goto("about:blank");
  await counts(0);
  await first.close();
});

test("the control socket carries the pin and asks to be told when it is stale", async () => {
  const page = await browser.newPage();
  await page.goto(router.origin);
  await reaches(page, "connected");
  const [socket] = controlSockets();
  expect(socket?.query.get("pulse_deployment")).toBe("v1");
  expect(socket?.query.get("pulse_reload_on_stale_affinity")).toBe("1");
  await page.close();
});

test("a dropped proxy leaves the page counted once, before and after it has reconnected", async () => {
  const page = await browser.newPage();
  await page.goto(router.origin);
  await reaches(page, "connected");
  router.dropSockets();
  await page.waitForFunction(`signalbox.state !== "connected"`);
  expect(v1.signalbox.sessions.count).toBe(1);
  await reaches(page, "connected");
  expect(controlSockets()).toHaveLength(2);
  expect(v1.signalbox.sessions.count).toBe(1);
  await page.close();
  await counts(0);
});

test("a page that comes back online reconnects at once", async () => {
  const page = await browser.newPage();
  await page.goto(router.origin);
  await reaches(page, "connected");
  // The longest delay that the jitter can draw: only the event can be quicker.
  await page.evaluate(`Math.random = () => 3600; 0`);
  router.dropSockets();
  await reaches(page, "waiting");
  await page.evaluate(`window.dispatchEvent(new Event("online")); 0`);
  await reaches(page, "connected");
  await page.close();
});

test("a page in the back/forward cache doesn't count, and counts again when it is shown", async () => {
  const page = await browser.newPage();
  await page.goto(router.origin);
  await reaches(page, "connected");
  await page.evaluate(`window.kept = true; 0`);
  await page.goto(`${router.origin}/echo`);
  await counts(0);
  await page.goBack({ waitUntil: "commit" });
  await counts(1);
  await reaches(page, "connected");
  expect(await page.evaluate(`window.kept`)).toBe(true);
  await page.close();
});

test("a server that falls silent is given up for a new connection", async () => {
  const pinging = await startBackend("pinging", { options: { pingIntervalMs: 500, lingerMs: 3_600_000 } });
  router.backends.set("pinging", pinging.origin);
  router.active = "pinging";
  const page = await browser.newPage();
  await page.goto(router.origin);
  await reaches(page, "connected");
  const before = controlSockets().length;
  router.silenceSockets();
  await expect.poll(() => controlSockets().length).toBeGreaterThan(before);
  await reaches(page, "connected");
  expect(pinging.signalbox.sessions.count).toBe(1);
  await page.close();
  await pinging.close();
});
