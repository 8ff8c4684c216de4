import { afterAll, beforeAll, expect, test } from "vitest";
import type { Browser, Page } from "playwright-core";
import { type TestBackend, startBackend } from "../helpers/sdk-backend.ts";
import { launchChromium, reaches } from "../helpers/sdk-browser.ts";
import { TestRouter } from "../helpers/sdk-router.ts";

let browser: Browser;
let router: TestRouter;
let foreignRouter: TestRouter;
let backends: TestBackend[];
let page: Page;

beforeAll(async () => {
  backends = await Promise.all(["v1", "v2", "foreign"].map((id) => startBackend(id)));
  router = await new TestRouter("v1").listen();
  foreignRouter = await new TestRouter("foreign").listen();
  for (const { id, origin } of backends) {
    (id === "foreign" ? foreignRouter : router).backends.set(id, origin);
  }
  browser = await launchChromium();
  page = await browser.newPage();
  await page.goto(router.origin);
  // From here on nothing without a pin reaches v1.
  router.active = "v2";
  await reaches(page, "connected");
});

afterAll(async () => {
  await browser.close();
  await router.close();
  await foreignRouter.close();
  await Promise.all(backends.map((backend) => backend.close()));
});

interface Echo {
  id: string;
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

// Text, so that the page's own globals are the ones it names.
const inPage = <T>(source: string): Promise<T> => page.evaluate<T>(`(async () => { ${source} })()`);

test("a fetch of the page's own origin reaches the page's deployment", async () => {
  const answer = await inPage<Echo>(`return (await fetch("/echo?a=1")).json()`);
  expect(answer).toMatchObject({ id: "v1", url: "/echo?a=1", headers: { "x-pulse-deployment": "v1" } });
});

test("an XMLHttpRequest reaches the page's deployment", async () => {
  const answer = await inPage<Echo>(`return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/echo");
    request.responseType = "json";
    request.onload = () => done(request.response);
    request.send("body");
  })`);
  expect(answer).toMatchObject({ id: "v1", method: "POST", body: "body" });
});

test("a Request object keeps its method, headers, body and credentials, and is left as it was", async () => {
  const { answer, header, used } = await inPage<{ answer: Echo; header: string | null; used: boolean }>(`
    const request = new Request("/echo", { method: "PUT", body: "text", headers: { "x-own": "1" }, referrer: "/from" });
    const answer = await (await fetch(request)).json();
    return { answer, header: request.headers.get("x-pulse-deployment"), used: request.bodyUsed };`);
  expect(answer).toMatchObject({ id: "v1", method: "PUT", body: "text" });
  expect(answer.headers).toMatchObject({ "x-own": "1", referer: `${router.origin}/from` });
  expect({ header, used }).toEqual({ header: null, used: true });
});

test("options beside a Request win, as they do without the helper", async () => {
  const answer = await inPage<Echo>(
    `return (await fetch(new Request("/echo", { headers: { "x-own": "1" } }), { method: "POST", headers: { "x-own": "2" } })).json()`,
  );
  expect(answer).toMatchObject({ method: "POST", headers: { "x-own": "2", "x-pulse-deployment": "v1" } });
});

test("a form keeps its boundary and a signal goes on aborting with its reason", async () => {
  const { answer, reason } = await inPage<{ answer: Echo; reason: string }>(`
    const form = new FormData();
    form.set("field", "value");
    const answer = await (await fetch("/echo", { method: "POST", body: form })).json();
    const controller = new AbortController();
    const aborted = fetch("/events", { signal: controller.signal }).catch((error) => error);
    controller.abort("enough");
    return { answer, reason: await aborted };`);
  const boundary = /boundary=(.+)$/.exec(answer.headers["content-type"] ?? "")?.[1];
  expect(answer.body).toContain(`--${boundary}`);
  expect(reason).toBe("enough");
});

test("a streamed response arrives while it is still open", async () => {
  const text = await inPage<string>(`
    const controller = new AbortController();
    const response = await fetch("/events", { signal: controller.signal });
    const { value } = await response.body.getReader().read();
    controller.abort();
    return new TextDecoder().decode(value);`);
  expect(text).toContain("data: hello");
});

test("a malformed address fails as it does without the helper", async () => {
  const names = await inPage<string[]>(`
    const failures = [() => fetch("http://["), () => new WebSocket("http://[")];
    return Promise.all(failures.map(async (call) => { try { await call(); return "none"; } catch (e) { return e.name; } }));`);
  expect(names).toEqual(["TypeError", "SyntaxError"]);
});

test("an explicit pin is never overridden", async () => {
  const answers = await inPage<string[]>(`
    const xhr = () => new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open("GET", "/echo");
      request.setRequestHeader("X-Pulse-Deployment", "v2");
      request.onload = () => done(JSON.parse(request.response));
      request.send();
    });
    const socket = () => new Promise((done) => {
      new WebSocket("/socket?pulse_deployment=v2").onmessage = (event) => done(JSON.parse(event.data));
    });
    const answers = [
      await (await fetch("/echo", { headers: { "x-pulse-deployment": "v2" } })).json(),
      await (await fetch("/echo?pulse_deployment=v2")).json(),
      await xhr(),
      await socket(),
    ];
    return answers.map((answer) => answer.id);`);
  expect(answers).toEqual(["v2", "v2", "v2", "v2"]);
});

test("a stale answer to somebody else's pin doesn't reload the page", async () => {
  const status = await inPage<number>(
    `return (await fetch("/echo", { headers: { "x-pulse-deployment": "gone" } })).status`,
  );
  expect(status).toBe(409);
  expect(await inPage("return signalbox.state")).toBe("connected");
});

test("a WebSocket reaches the page's deployment with its query and subprotocol as the app wrote them", async () => {
  const hello = await inPage<Echo & { protocol: string }>(`return new Promise((done) => {
    new WebSocket("/socket?a=b%20c", ["chat"]).onmessage = (event) => done(JSON.parse(event.data));
  })`);
  expect(hello).toMatchObject({
    id: "v1",
    url: "/socket?a=b%20c&pulse_deployment=v1&pulse_reload_on_stale_affinity=1",
    protocol: "chat",
  });
});

test("the patched WebSocket and EventSource are still themselves", async () => {
  const facts = await inPage<unknown[]>(`
    class Own extends WebSocket { own() { return this.url; } }
    const socket = new WebSocket("/socket"), own = new Own("/socket"), source = new EventSource("/events");
    const facts = [
      socket instanceof WebSocket, socket.constructor === WebSocket, WebSocket.OPEN, socket.OPEN, WebSocket.name,
      own instanceof Own, own instanceof WebSocket, own.own().includes("pulse_deployment=v1"),
      Object.getPrototypeOf(socket) === WebSocket.prototype,
      source instanceof EventSource, EventSource.CLOSED, source.constructor === EventSource,
    ];
    source.close(); socket.close(); own.close();
    return facts;`);
  expect(facts).toEqual([true, true, 1, 1, "WebSocket", true, true, true, true, true, 2, true]);
});

test("an EventSource reaches the page's deployment", async () => {
  await inPage(`return new Promise((done) => {
    const source = new EventSource("/events?own=1");
    source.onmessage = () => { source.close(); done(); };
  })`);
  const seen = router.seen.findLast(({ path }) => path === "/events");
  expect(seen?.query.toString()).toBe("own=1&pulse_deployment=v1");
});

test("a blob is read as it is without the helper", async () => {
  expect(await inPage(`return (await fetch(URL.createObjectURL(new Blob(["text"])))).text()`)).toBe("text");
});

test("other origins never see a pin", async () => {
  await inPage(`
    await fetch("${foreignRouter.origin}/echo");
    await fetch(new Request("${foreignRouter.origin}/echo"));
    await new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open("GET", "${foreignRouter.origin}/echo");
      request.onloadend = done;
      request.send();
    });
    await new Promise((done) => new WebSocket("${foreignRouter.origin.replace("http", "ws")}/socket").onmessage = done);
    await new Promise((done) => {
      const source = new EventSource("${foreignRouter.origin}/events");
      source.onerror = () => { source.close(); done(); };
    });`);
  expect(foreignRouter.seen.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "GET /echo",
    "GET /echo",
    "GET /echo",
    "GET /socket",
    "GET /events",
  ]);
  expect(foreignRouter.seen.every(({ header, query }) => header === undefined && query.size === 0)).toBe(
    true,
  );
});
