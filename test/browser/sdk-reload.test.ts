import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { startBackend, type TestBackend } from "../helpers/sdk-backend.ts";
import { launchChromium, reaches, showsVersion } from "../helpers/sdk-browser.ts";
import { TestRouter } from "../helpers/sdk-router.ts";

let browser: Browser;
let context: BrowserContext;
let router: TestRouter;
let v1: TestBackend;
let v2: TestBackend;
let page: Page;

beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());

beforeEach(async () => {
  [v1, v2] = await Promise.all([startBackend("v1"), startBackend("v2")]);
  router = await new TestRouter("v1").listen();
  router.backends.set("v1", v1.origin).set("v2", v2.origin);
  context = await browser.newContext();
  page = await context.newPage();
});
afterEach(async () => {
  await context.close();
  await router.close();
  await Promise.all([v1.close(), v2.close()]);
});

async function openOnV1(path = "/"): Promise<void> {
  await page.goto(router.origin + path);
  await showsVersion(page, "v1");
  await reaches(page, "connected");
  router.active = "v2";
}

/** The page has settled on v2, and got there by one load. */
async function isOnV2AfterOneReload(): Promise<void> {
  await showsVersion(page, "v2");
  await reaches(page, "connected");
  expect(await page.evaluate(`fetch("/echo").then((response) => response.json()).then(({ id }) => id)`)).toBe(
    "v2",
  );
  expect([v1.pageLoads(), v2.pageLoads()]).toEqual([1, 1]);
}

test("a page stays on its version while another is promoted, and reloads once when its server says so", async () => {
  await openOnV1();
  expect(await page.evaluate(`fetch("/echo").then((response) => response.json()).then(({ id }) => id)`)).toBe(
    "v1",
  );
  expect(await v1.tellToReload()).toBe(1);
  await isOnV2AfterOneReload();
});

test("any number of stale answers at once reload the page once", async () => {
  await openOnV1();
  router.backends.delete("v1");
  await page.evaluate(`void Promise.all(Array.from({ length: 8 }, () => fetch("/echo"))); 0`);
  await isOnV2AfterOneReload();
});

test("a stale XMLHttpRequest reloads the page", async () => {
  await openOnV1();
  router.backends.delete("v1");
  await page.evaluate(
    `const request = new XMLHttpRequest(); request.open("GET", "/echo"); request.send(); 0`,
  );
  await isOnV2AfterOneReload();
});

test("the app still gets the stale answer that caused the reload", async () => {
  await openOnV1();
  router.backends.delete("v1");
  await page.evaluate(`signalbox.onReload(() => false)`);
  const answer = await page.evaluate(
    `fetch("/echo").then(async (response) => [response.status, await response.json()])`,
  );
  expect(answer).toEqual([409, { detail: "stale affinity" }]);
});

test("a control socket that reconnects to another deployment reloads the page", async () => {
  await openOnV1();
  router.backends.delete("v1");
  router.dropSockets();
  await isOnV2AfterOneReload();
  expect(v2.signalbox.sessions.count).toBe(1);
});

test("an EventSource that dies of a stale pin reloads the page", async () => {
  await openOnV1();
  await page.evaluate(
    `new Promise((done) => { new EventSource("/events").onmessage = done; }).then(() => 0)`,
  );
  router.backends.delete("v1");
  v1.endStreams();
  await isOnV2AfterOneReload();
});

test("the reload drops the pin from the address and keeps the rest of it to the letter", async () => {
  await openOnV1("/?a=1%20b&pulse_deployment=v1&c#part");
  await v1.tellToReload();
  await isOnV2AfterOneReload();
  expect(page.url()).toBe(`${router.origin}/?a=1%20b&c#part`);
});

test("an address with a hash and no pin is reloaded, too", async () => {
  await openOnV1("/#part");
  await v1.tellToReload();
  await isOnV2AfterOneReload();
  expect(page.url()).toBe(`${router.origin}/#part`);
});

test("a callback's veto holds through further notices until the app reloads itself", async () => {
  await openOnV1();
  await page.evaluate(
    `window.notices = []; signalbox.onReload((notice) => { notices.push(notice); return false; }); 0`,
  );
  await v1.tellToReload();
  await reaches(page, "reload-vetoed");
  await v1.tellToReload();
  router.backends.delete("v1");
  expect(await page.evaluate(`fetch("/echo").then(({ status }) => status)`)).toBe(409);
  expect(await page.evaluate(`[signalbox.state, notices]`)).toEqual([
    "reload-vetoed",
    [{ reason: "notice", deploymentId: "v1" }],
  ]);
  await page.evaluate(`signalbox.reload()`);
  await isOnV2AfterOneReload();
});

test("a page that vetoed a stale reload stops asking for its control socket", async () => {
  await openOnV1();
  await page.evaluate(`signalbox.onReload(() => false); 0`);
  router.backends.delete("v1");
  router.dropSockets();
  await reaches(page, "reload-vetoed");
  await expect.poll(() => v1.signalbox.sessions.count + v2.signalbox.sessions.count).toBe(1);
  const asked = router.seen.filter(({ path }) => path === "/_pulse/session").length;
  await page.evaluate(`window.dispatchEvent(new Event("online")); fetch("/echo").then(() => 0)`);
  expect(router.seen.filter(({ path }) => path === "/_pulse/session")).toHaveLength(asked);
});

test("a promise delays the reload for as long as the app wants", async () => {
  await openOnV1();
  await page.evaluate(`signalbox.onReload(() => new Promise((done) => { window.finish = done; })); 0`);
  await v1.tellToReload();
  await page.waitForFunction(`window.finish !== undefined`);
  expect(await page.evaluate(`signalbox.state`)).toBe("reload-pending");
  await page.evaluate(`finish()`);
  await isOnV2AfterOneReload();
});

test("a promise may end in a veto", async () => {
  await openOnV1();
  await page.evaluate(`signalbox.onReload(async () => false); 0`);
  await v1.tellToReload();
  await reaches(page, "reload-vetoed");
});

test("the DOM event vetoes, too", async () => {
  await openOnV1();
  await page.evaluate(`window.addEventListener("signalbox:reload", (event) => event.preventDefault()); 0`);
  await v1.tellToReload();
  await reaches(page, "reload-vetoed");
});

test("a callback that throws, and one that was taken away, don't hold the reload back", async () => {
  await openOnV1();
  await page.evaluate(`
    signalbox.onReload(() => { throw new Error("broken"); });
    signalbox.onReload(() => false)();
  `);
  await v1.tellToReload();
  await isOnV2AfterOneReload();
});

test("a page that finds itself on the stale deployment again gives up instead of looping", async () => {
  router.isStale = (_pin, path) => path === "/echo";
  await page.goto(router.origin);
  await reaches(page, "connected");
  await page.evaluate(`void fetch("/echo"); 0`);
  await page.waitForFunction(`performance.getEntriesByType("navigation")[0].type === "reload"`);
  await reaches(page, "connected");
  await page.evaluate(`fetch("/echo").then(() => 0)`);
  await reaches(page, "stale");
  await page.evaluate(`fetch("/echo").then(() => 0)`);
  expect(await page.evaluate(`signalbox.state`)).toBe("stale");
  expect(v1.pageLoads()).toBe(2);
});

test("a page that its own deployment goes on serving may be reloaded from there again, a minute later", async () => {
  // The minute passes on the page's clock only: the server's pings don't keep up with it.
  const calm = await startBackend("calm", { options: { pingIntervalMs: 3_600_000 } });
  router.backends.set("calm", calm.origin);
  router.active = "calm";
  await page.clock.install();
  await page.goto(router.origin);
  for (const loads of [2, 3]) {
    await reaches(page, "connected");
    expect(await calm.tellToReload()).toBe(1);
    await expect.poll(() => calm.pageLoads()).toBe(loads);
    await reaches(page, "connected");
    await page.clock.fastForward(61_000);
  }
  await calm.close();
});

test("a frame that was reloaded doesn't keep the page around it from reloading", async () => {
  await openOnV1();
  router.active = "v1";
  await page.evaluate(`new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => done(0);
    frame.src = "/";
    document.body.append(frame);
  })`);
  router.active = "v2";
  router.backends.delete("v1");
  await page.evaluate(`void frames[0].fetch("/echo"); 0`);
  await page.frameLocator("iframe").locator("#version", { hasText: "v2" }).waitFor();
  await page.evaluate(`void fetch("/echo"); 0`);
  await showsVersion(page, "v2");
});

test("a page without sessionStorage reloads once, and doesn't loop either", async () => {
  await context.addInitScript(`Object.defineProperty(window, "sessionStorage", {
    get() { throw new DOMException("blocked", "SecurityError"); } });`);
  router.isStale = (_pin, path) => path === "/echo";
  await page.goto(router.origin);
  await reaches(page, "connected");
  await page.evaluate(`void fetch("/echo"); 0`);
  await page.waitForFunction(`performance.getEntriesByType("navigation")[0].type === "reload"`);
  await reaches(page, "connected");
  await page.evaluate(`fetch("/echo").then(() => 0)`);
  await reaches(page, "stale");
  expect(v1.pageLoads()).toBe(2);
});

test("a visible page waits for its share of the jitter, a hidden one doesn't", async () => {
  const patient = await startBackend("patient", { jitterMs: 3_600_000 });
  router.backends.set("patient", patient.origin);
  router.active = "patient";
  const hidden = await context.newPage();
  // An hour each, so that the visible page can't have drawn a short delay.
  await context.addInitScript(`Math.random = () => 1`);
  for (const each of [page, hidden]) {
    await each.goto(router.origin);
    await reaches(each, "connected");
  }
  await hidden.evaluate(`Object.defineProperty(document, "hidden", { value: true })`);
  router.active = "v2";
  expect(await patient.tellToReload()).toBe(2);
  await showsVersion(hidden, "v2");
  expect(await page.evaluate(`signalbox.state`)).toBe("reload-pending");
  await page.evaluate(`signalbox.reload()`);
  await showsVersion(page, "v2");
  await patient.close();
});
