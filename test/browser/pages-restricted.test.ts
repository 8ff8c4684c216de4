import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import type { PageBackend } from "../helpers/page-backend.ts";
import { framework, startVersion } from "../helpers/page-frameworks.ts";
import { allBy, scripted, Tab, unscripted } from "../helpers/page-tab.ts";
import { launchChromium, openProfile } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** What holds where a browser or an app takes something away that a page's version is kept by. */

let stack: TestStack;
let browser: Browser;
let v1: PageBackend;
let v2: PageBackend;
const endings: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  [stack, browser] = await Promise.all([startTestStack(), launchChromium()]);
  const vite = framework("Vite and React");
  [v1, v2] = [await startVersion(vite, "v1"), await startVersion(vite, "v2")];
}, 300_000);
afterAll(async () => {
  await browser.close();
  await Promise.all([v1.close(), v2.close()]);
  await stack.stop();
});
afterEach(async () => {
  v1.dress = v2.dress = null;
  for (const end of endings.splice(0).toReversed()) await end();
});

/** Of this test, and of this try of it. */
let app = "";
let tries = 0;

async function begin(name: string): Promise<string> {
  app = `${name}-${(tries += 1)}`;
  await putApp(stack, app, { contract: "edge", previousRetentionSeconds: 0 });
  await deployUrl(stack, app, "v1", v1.url);
  return `http://${app}.localhost:${stack.port}/`;
}

async function promote(): Promise<void> {
  await deployUrl(stack, app, "v2", v2.url);
  await until(
    async () => (await stack.request(`${app}.localhost`, "/probe/id")).text,
    (id) => id === "v2",
  );
}

async function newContext(): Promise<BrowserContext> {
  const context = await browser.newContext();
  endings.push(() => context.close());
  return context;
}

/** A browser with a setting that only its profile has. */
async function newProfile(preferences: Record<string, unknown>): Promise<BrowserContext> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-profile-"));
  endings.push(() => rm(directory, { recursive: true, force: true }));
  await mkdir(join(directory, "Default"));
  await writeFile(join(directory, "Default/Preferences"), JSON.stringify({ profile: preferences }));
  const context = await openProfile(directory);
  endings.push(() => context.close());
  return context;
}

test("with cookies off, scripts and forms and hashed files keep the version; files of one name don't", async () => {
  const context = await newProfile({ default_content_setting_values: { cookies: 2 } });
  const url = await begin("no-cookies");
  const tab = await Tab.open(context, url, "v1", "old");
  expect(await context.cookies()).toEqual([]);
  await promote();
  expect(await tab.scripted()).toEqual({ ...allBy("v1"), shared: "none" });
  for (const action of ["lazy", "worker", "near", "far"] as const) await tab.does(action);
  expect(await tab.unscripted()).toEqual({ image: "v2", imported: "v2" });
  await tab.page.evaluate(`{
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/probe/form";
    document.body.append(form);
    form.requestSubmit();
  }`);
  await tab.page.waitForURL("**/probe/form*");
  expect(await tab.page.locator("#version").textContent()).toBe("v1");
});

test("in another site's frame, with third-party cookies blocked, the same holds as with cookies off", async () => {
  const context = await newProfile({ cookie_controls_mode: 1, block_third_party_cookies: true });
  const url = await begin("framed");
  const other = createServer((_, response) => {
    response
      .writeHead(200, { "content-type": "text/html" })
      .end(`<!doctype html><link rel="icon" href="data:,"><iframe src="${url}"></iframe>`);
  });
  await once(other.listen(0, "127.0.0.1"), "listening");
  endings.push(() => new Promise((resolve) => (other.closeAllConnections(), other.close(resolve))));
  const page = await context.newPage();
  const frame = await until(
    async () => {
      await page.goto(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
      const [, inside] = page.frames();
      return inside?.url() === url && (await inside.locator("#version").count()) === 1 ? inside : null;
    },
    (inside) => inside !== null,
  );
  if (frame === null) throw new Error("There is no frame.");
  await frame.waitForFunction(`window.signalbox?.state === "connected"`);
  expect(await frame.locator("#version").textContent()).toBe("v1");
  await promote();
  expect(await scripted(frame, "framed")).toEqual({ ...allBy("v1"), shared: "none" });
  await frame.locator("#lazy").click();
  await frame.locator("#late", { hasText: "late v1" }).waitFor();
  expect(await unscripted(frame, "framed")).toEqual({ image: "v2", imported: "v2" });
});

test("under a strict policy with nonces and strict-dynamic everything keeps its version", async () => {
  let served = 0;
  const strict = (html: string): { html: string; headers: Record<string, string> } => {
    const nonce = `n${(served += 1)}`;
    const sources = `default-src 'none'; script-src 'nonce-${nonce}' 'strict-dynamic'; style-src 'self'; connect-src 'self'`;
    return {
      html: html.replaceAll("<script ", `<script nonce="${nonce}" `),
      headers: {
        "content-security-policy": `${sources}; img-src 'self' data:; font-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'`,
      },
    };
  };
  v1.dress = v2.dress = strict;
  const context = await newContext();
  const url = await begin("strict");
  const tab = await Tab.open(context, url, "v1", "old");
  await promote();
  expect(await tab.scripted()).toEqual(allBy("v1"));
  for (const action of ["lazy", "worker", "near", "far"] as const) await tab.does(action);
  expect(await tab.unscripted()).toEqual({ image: "v1", imported: "v1" });
  await tab.isUntouched();
  await Tab.open(context, url, "v2", "fresh");
});

/** A page of v1 under a service worker of v1, and a second load, which is what a worker keeps that caches what is loaded. */
async function underWorker(url: string, context: BrowserContext, way: string): Promise<Tab> {
  const first = await Tab.open(context, url, "v1", "first");
  await first.page
    .evaluate(`navigator.serviceWorker.register("/probe/service-worker.js?${way}", { scope: "/" })
    .then(() => navigator.serviceWorker.ready)`);
  await until(
    () => first.page.evaluate(`navigator.serviceWorker.controller !== null`),
    (isControlled) => isControlled === true,
  );
  await first.page.close();
  return Tab.open(context, url, "v1", "old", way === "precached" ? "undefined" : "connected");
}

test("a page from a service worker's cache of loaded pages has the helper, and keeps its version", async () => {
  const context = await newContext();
  const url = await begin("shell");
  const tab = await underWorker(url, context, "loaded");
  await promote();
  expect(await tab.scripted()).toEqual(allBy("v1"));
  for (const action of ["lazy", "worker", "near", "far"] as const) await tab.does(action);

  // Slow enough, the browser has looked for a newer worker meanwhile, which keeps v2's page.
  const kept = String(await tab.page.evaluate(`caches.keys().then((keys) => keys.join())`));
  const second = await Tab.open(context, url, kept, "second");
  expect(await second.scripted()).toEqual(allBy(kept));
  expect(await tab.scripted()).toEqual(allBy("v1"));
  await tab.isUntouched();
});

test("a service worker that is renewed keeps the new version's page, and the open page keeps its own", async () => {
  const context = await newContext();
  const url = await begin("renewed");
  const tab = await underWorker(url, context, "loaded");
  await promote();
  await tab.page.evaluate(`navigator.serviceWorker.getRegistration().then((one) => one.update())`);
  await until(
    () => tab.page.evaluate(`caches.keys().then((keys) => keys.join())`),
    (keys) => keys === "v2",
  );
  const fresh = await Tab.open(context, url, "v2", "fresh");
  expect(await fresh.scripted()).toEqual(allBy("v2"));
  expect(await tab.scripted()).toEqual(allBy("v1"));
  await tab.isUntouched();
});

test("pages that a service worker asks for anew each time are as those without one", async () => {
  const context = await newContext();
  const url = await begin("passed-on");
  const tab = await underWorker(url, context, "passed");
  await promote();
  expect(await tab.scripted()).toEqual(allBy("v1"));
  expect(await tab.unscripted()).toEqual({ image: "v1", imported: "v1" });
  await tab.isUntouched();
  await tab.page.evaluate(`{
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/probe/form";
    document.body.append(form);
    form.requestSubmit();
  }`);
  await tab.page.waitForURL("**/probe/form*");
  expect(await tab.page.locator("#version").textContent()).toBe("v1");
  await tab.page.waitForFunction(`window.signalbox?.state === "connected"`);
  await Tab.open(context, url, "v2", "fresh");
});

test("a shell that a service worker has fetched has no helper: the cookie and the fallback keep its version", async () => {
  const context = await newContext();
  const url = await begin("precached");
  const tab = await underWorker(url, context, "precached");
  await promote();
  expect(await tab.scripted()).toEqual(allBy("v1"));
  for (const action of ["lazy", "worker", "near", "far"] as const) await tab.does(action);
  expect(await tab.unscripted()).toEqual({ image: "v1", imported: "v1" });
  await tab.page.evaluate(`navigator.serviceWorker.getRegistration().then((one) => one.update())`);
  await until(
    () => tab.page.evaluate(`caches.keys().then((keys) => keys.join())`),
    (keys) => keys === "v2",
  );
  await Tab.open(context, url, "v2", "fresh", "undefined");
});

test("a cached page of a version that is gone reloads itself once, not for ever", async () => {
  const context = await newContext();
  const url = await begin("gone-shell");
  const tab = await underWorker(url, context, "frozen");
  await tab.page.close();
  await promote();
  await until(
    async () => {
      await stack.api("POST", "/janitor/run", {});
      return (await stack.api("GET", `/apps/${app}/deployments/v1`)).body["state"];
    },
    (state) => state === "removed",
  );
  const page = await context.newPage();
  let loads = 0;
  page.on("load", () => (loads += 1));
  await page.goto(url);
  await until(
    () => page.evaluate(`window.signalbox?.state`).catch(() => null),
    (state) => state === "stale",
  );
  await expect.poll(() => loads).toBe(2);
  expect(await page.locator("#version").textContent()).toBe("v1");
});

const RULES = `<script type="speculationrules">{"prefetch":[{"urls":["/probe/form?prefetched"],"eagerness":"immediate"}],
"prerender":[{"urls":["/probe/form?prerendered"],"eagerness":"immediate"}]}</script>`;

test("speculation rules load ahead what is of the page's own version, and nothing of another", async () => {
  const context = await newContext();
  const url = await begin("ahead");
  const tab = await Tab.open(context, url, "v1", "old");
  const put = (rules: string): Promise<unknown> =>
    tab.page.evaluate(`{
      const script = document.createElement("script");
      script.type = "speculationrules";
      script.textContent = ${JSON.stringify(rules.replaceAll(/<[^>]+>/g, ""))};
      document.head.append(script);
    }`);
  v1.seen.length = 0;
  await put(RULES);
  const ahead = (backend: PageBackend, path: string): boolean => backend.seen.some((one) => one.url === path);
  await until(
    () => [ahead(v1, "/probe/form?prefetched"), ahead(v1, "/probe/form?prerendered")],
    (both) => both.every(Boolean),
  );
  await promote();
  v1.seen.length = v2.seen.length = 0;
  const refused = tab.page.context().waitForEvent("response", {
    predicate: (answer) => answer.url().includes("later=1"),
  });
  await put(RULES.replaceAll("prefetched", "later=1").replaceAll("prerendered", "later=2"));
  await refused.then((answer) => expect(answer.status()).toBe(503));
  expect(v2.seen).toEqual([]);
  expect(await tab.scripted()).toEqual(allBy("v1"));
  expect(await tab.unscripted()).toEqual({ image: "v1", imported: "v1" });
  await tab.page.evaluate(`location.href = "/probe/form?later=1"`);
  await tab.page.waitForURL("**/probe/form?later=1");
  expect(await tab.page.locator("#version").textContent()).toBe("v2");
});
