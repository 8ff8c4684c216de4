import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { header, headers, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { INTERNAL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const backends: Backend[] = [];

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(async () => {
  await Promise.all([...backends.map((backend) => backend.close()), stack.stop()]);
});

type Handler = (path: string, request: IncomingMessage, response: ServerResponse) => boolean;

/** A version of a site: HTML for pages, one file that only this version has, one that all have. */
async function site(id: string, more: Handler = () => false): Promise<Backend> {
  const backend = await startBackend(id);
  backends.push(backend);
  backend.handler = (request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (path.startsWith("/_pulse/")) return false;
    if (more(path, request, response)) return true;
    const send = (type: string, body: string, status = 200, extra: Record<string, string> = {}): boolean => {
      response.writeHead(status, { "content-type": type, ...extra }).end(body);
      return true;
    };
    if (path === "/" || path === "/page") {
      const etag = '"same"';
      if (request.headers["if-none-match"] === etag) return send("text/html", "", 304, { etag });
      return send("text/html; charset=utf-8", `<title>${id}</title>`, 200, { etag });
    }
    if (path === `/assets/only-${id}.js`) return send("text/javascript", `"${id}"`);
    if (path === "/all.js") return send("text/javascript", `"${id}"`);
    if (path.startsWith("/api")) return send("text/plain", id);
    return send("text/html", "missing", 404);
  };
  return backend;
}

/** An app with these versions; the last is active, the others drain. */
async function app(
  name: string,
  ids: string[],
  config: Record<string, unknown> = {},
  more?: (id: string) => Handler,
): Promise<Record<string, Backend>> {
  await putApp(stack, name, {
    hosts: [`${name}.test`],
    drainTtlSeconds: 3_600,
    previousRetentionSeconds: 3_600,
    ...config,
  });
  const all: Record<string, Backend> = {};
  for (const id of ids) {
    const backend = await site(id, more?.(id));
    backend.sessions = 1;
    all[id] = backend;
    await deployUrl(stack, name, id, backend.url);
  }
  await until(
    () => get(name, "/api"),
    (answer) => answer.body.toString() === ids.at(-1),
  );
  return all;
}

function get(name: string, path: string, extra: Record<string, string> = {}): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(name.includes(".") ? name : `${name}.test`, path, extra));
}

function ask(method: string, name: string, path: string, extra: Record<string, string>): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(`${name}.test`, path, extra).replace("GET", method), { method });
}

const route = (answer: RawAnswer): string =>
  `${header(answer, "x-signalbox-route")} ${header(answer, "x-pulse-selected-deployment")}`;
const cookiesOf = (answer: RawAnswer): string[] => headers(answer, "set-cookie");
const fetched = (dest: string, mode = "no-cors"): Record<string, string> => ({
  "sec-fetch-dest": dest,
  "sec-fetch-mode": mode,
  "sec-fetch-site": "same-origin",
});
const NAVIGATION = { ...fetched("document", "navigate"), accept: "text/html,*/*;q=0.8" };
const onPage = (id: string): Record<string, string> => ({ cookie: `signalbox-page=${id}` });

describe("the page cookie", () => {
  let sites: Record<string, Backend> = {};

  beforeAll(async () => {
    sites = await app("page", ["v1", "v2"]);
    const ready = await site("v3");
    await deployUrl(stack, "page", "v3", ready.url, false);
    await until(
      () => get("page", "/api?pulse_deployment=v3"),
      (answer) => answer.status === 200,
    );
  });

  test.each<[string, string, Record<string, string>, string | null]>([
    ["a page", "/", NAVIGATION, "v2"],
    ["a page on plain http", "/", { accept: "text/html,application/xhtml+xml" }, "v2"],
    ["an error page", "/nowhere", NAVIGATION, "v2"],
    ["a page with a pin", "/?pulse_deployment=v1", NAVIGATION, "v1"],
    ["a frame", "/", { ...NAVIGATION, "sec-fetch-dest": "iframe" }, "v2"],
    ["a page whose cookie is of another version", "/", { ...NAVIGATION, ...onPage("v1") }, "v2"],
    ["a page whose cookie names it already", "/", { ...NAVIGATION, ...onPage("v2") }, null],
    ["a fetch of a page", "/", fetched("empty", "cors"), null],
    ["a fetch of a page on plain http", "/", { accept: "text/html", "x-requested-with": "x" }, null],
    ["a text in a tab", "/api", NAVIGATION, null],
    ["a script", "/all.js", fetched("script"), null],
    ["a client that says nothing", "/", {}, null],
  ])("comes with the answer to %s, or doesn't", async (_, path, given, expected) => {
    const answer = await get("page", path, given);
    expect(cookiesOf(answer)).toEqual(
      expected === null ? [] : [`signalbox-page=${expected}; Path=/; HttpOnly; SameSite=Lax`],
    );
  });

  test.each<[string, string, Record<string, string>, string]>([
    ["a fetch", "/api", fetched("empty", "cors"), "page v1"],
    ["a beacon", "/api", fetched("empty"), "page v1"],
    ["an image", "/api", fetched("image"), "page v1"],
    ["a worker", "/api", fetched("worker", "same-origin"), "page v1"],
    ["a request of plain http", "/api", {}, "page v1"],
    ["a frame in the page", "/", { ...NAVIGATION, "sec-fetch-dest": "iframe" }, "page v1"],
    ["a page", "/", NAVIGATION, "active v2"],
    ["a page on plain http", "/", { accept: "text/html" }, "active v2"],
    [
      "a frame in another site's page",
      "/",
      { ...NAVIGATION, "sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site" },
      "active v2",
    ],
    ["a service worker", "/all.js", fetched("serviceworker", "same-origin"), "active v2"],
    ["a service worker on plain http", "/all.js", { "service-worker": "script" }, "active v2"],
    ["what has a pin", "/api?pulse_deployment=v3", fetched("empty"), "pinned v3"],
  ])("leads %s", async (_, path, given, expected) => {
    expect(route(await get("page", path, { ...given, ...onPage("v1") }))).toBe(expected);
  });

  test("leads a form's post, whose answer is a page of that version", async () => {
    const answer = await ask("POST", "page", "/page", {
      ...NAVIGATION,
      ...onPage("v1"),
      "content-length": "0",
    });
    expect(route(answer)).toBe("page v1");
    expect(cookiesOf(answer)).toEqual([]);
  });

  test("leads a WebSocket", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/live`, {
      headers: { host: "page.test", origin: "http://page.test", ...onPage("v1") },
    });
    const [message] = await Promise.all([
      once(socket, "message"),
      once(socket, "open").then(() => socket.send("hello")),
    ]);
    expect(String(message[0])).toBe("v1:hello");
    socket.terminate();
  });

  test.each([
    ["an unknown deployment", "signalbox-page=v9"],
    ["the name of what every object has", "signalbox-page=constructor"],
    ["nothing", "signalbox-page="],
    ["no id", "signalbox-page=../v1"],
    ["upper case", "signalbox-page=V1"],
    ["a name in upper case", "Signalbox-Page=v1"],
    ["a quoted id", 'signalbox-page="v1"'],
    ["another cookie's end", "x-signalbox-page=v1"],
    ["another cookie's value", "x=signalbox-page=v1"],
    ["two that differ", "signalbox-page=v1; signalbox-page=v3"],
    ["a huge value", `signalbox-page=${"v1".repeat(4_000)}`],
  ])("that names %s counts as none", async (_, cookie) => {
    expect(route(await get("page", "/api", { cookie }))).toBe("active v2");
  });

  test("counts among many and when it came twice alike", async () => {
    const cookie = `a=1; signalbox-page=v1; ${"b=2; ".repeat(500)}signalbox-page=v1`;
    expect(route(await get("page", "/api", { cookie }))).toBe("page v1");
  });

  test("never goes on to the app", async () => {
    const seen = async (cookie: string): Promise<string | undefined> => {
      await get("page", "/api?seen", { cookie });
      return Object.values(sites)
        .flatMap((each) => each.seen)
        .findLast(({ url }) => url === "/api?seen")?.headers.cookie;
    };
    expect(await seen("a=1; signalbox-page=v2; b=2")).toBe("a=1; b=2");
    expect(await seen("signalbox-page=v2")).toBeUndefined();
    expect(await seen("signalbox-page=v2; signalbox-page=v9; =signalbox-page=v1; c=3")).toBe("c=3");
    expect(await seen("my-signalbox-page=v2")).toBe("my-signalbox-page=v2");
  });

  test("names no deployment that isn't verified, nor one below the minimum", async () => {
    const pending = await site("v4", (path, _, response) => {
      if (path !== "/health") return false;
      response.writeHead(503).end();
      return true;
    });
    await app("pending", ["v1", "v2"], { contract: "none", healthPath: "/api" });
    await putApp(stack, "pending", { hosts: ["pending.test"], healthPath: "/health" });
    const target = { kind: "url", url: pending.url };
    pending.handler = (_, response) => {
      response.writeHead(503).end();
      return true;
    };
    expect((await stack.api("POST", "/apps/pending/deployments", { id: "v4", target })).status).toBe(202);
    await until(
      () => get("pending", "/api", onPage("v1")),
      (answer) => route(answer) === "page v1",
    );
    await change(stack, "PUT", "/apps/pending/minimum", { id: "v2" });
    await until(
      () => get("pending", "/api", onPage("v1")),
      (answer) => route(answer) === "active v2",
    );
    expect(route(await get("pending", "/api", onPage("v4")))).toBe("active v2");
  });
});

test("no app sets the page cookie, in whatever spelling, and its other cookies stay", async () => {
  await app("forger", ["v1"], {}, () => (path, _, response) => {
    if (path !== "/forge") return false;
    response
      .writeHead(200, {
        "content-type": "text/html",
        "set-cookie": [
          "signalbox-page=v9; Path=/",
          "=signalbox-page=v9",
          "__Host-signalbox-page=v9",
          "theme=dark; Path=/",
        ],
      })
      .end("forged");
    return true;
  });
  expect(cookiesOf(await get("forger", "/forge"))).toEqual(["theme=dark; Path=/"]);
  expect(cookiesOf(await get("forger", "/forge", NAVIGATION))).toEqual([
    "theme=dark; Path=/",
    "signalbox-page=v1; Path=/; HttpOnly; SameSite=Lax",
  ]);
});

describe("a page that is loaded ahead", () => {
  beforeAll(() => app("ahead", ["v1", "v2"]));
  const ahead = { ...NAVIGATION, "sec-purpose": "prefetch;prerender" };

  test("of another version than the open one is refused, so that its click loads it", async () => {
    const answer = await get("ahead", "/", { ...ahead, ...onPage("v1") });
    expect(answer.status).toBe(503);
    expect(cookiesOf(answer)).toEqual([]);
    expect(header(answer, "cache-control")).toBe("no-store");
  });

  test.each([
    ["the same version", onPage("v2"), []],
    ["a version while the open one is gone", onPage("v9"), ["v2"]],
    ["a version while there is no page", {}, ["v2"]],
  ])("of %s is loaded", async (_, cookie, expected) => {
    const answer = await get("ahead", "/", { ...ahead, ...cookie });
    expect(answer.status).toBe(200);
    expect(cookiesOf(answer).map((each) => /=(\w+);/.exec(each)?.[1])).toEqual(expected);
  });
});

describe("pins of frameworks", () => {
  beforeAll(async () => {
    await app("framework", ["v0", "v1", "v2"]);
    await change(stack, "PUT", "/apps/framework/minimum", { id: "v1" });
    await until(
      () => get("framework", "/api?pulse_deployment=v0"),
      (answer) => answer.status === 409,
    );
  });

  test.each<[string, string, Record<string, string>, string]>([
    ["dpl in the query", "/api?x=1&dpl=v1", {}, "framework v1"],
    ["Next's header", "/api", { "x-deployment-id": "v1" }, "framework v1"],
    ["Netlify's header", "/api", { "x-netlify-deploy-id": "v1" }, "framework v1"],
    ["the query before the header", "/api?dpl=v1", { "x-deployment-id": "v2" }, "framework v1"],
    ["the header where the query names nothing", "/api?dpl=abc", { "x-deployment-id": "v1" }, "framework v1"],
    ["our own pin first", "/api?pulse_deployment=v2&dpl=v1", { "x-deployment-id": "v1" }, "pinned v2"],
    ["our own header first", "/api?dpl=v1", { "x-pulse-deployment": "v2" }, "pinned v2"],
    ["before the page cookie", "/api?dpl=v2", onPage("v1"), "framework v2"],
    ["a page", "/?dpl=v1", NAVIGATION, "framework v1"],
    ["an id of the framework's own", "/api?dpl=dpl_8FzX", { "x-deployment-id": "1a2b3c" }, "active v2"],
    ["the name of what every object has", "/api", { "x-deployment-id": "constructor" }, "active v2"],
    ["a gone one in the query", "/api?dpl=v0", {}, "active v2"],
    ["a gone one in the query of a page's request", "/api?dpl=v0", onPage("v1"), "page v1"],
  ])("count: %s", async (_, path, given, expected) => {
    expect(route(await get("framework", path, given))).toBe(expected);
  });

  test("of a gone one get what makes the framework load the page afresh", async () => {
    for (const name of ["x-deployment-id", "x-netlify-deploy-id"]) {
      const answer = await get("framework", "/api", { [name]: "v0", rsc: "1", accept: "*/*" });
      expect(answer.status).toBe(409);
      expect(header(answer, "content-type")).toBe("application/problem+json");
      expect(header(answer, "x-nextjs-action-not-found")).toBeUndefined();
    }
    const action = { "x-deployment-id": "v0", "next-action": "abc", "content-length": "0" };
    const answer = await ask("POST", "framework", "/", action);
    expect(answer.status).toBe(409);
    expect(header(answer, "x-nextjs-action-not-found")).toBe("1");
  });

  test.each<[string, string, Record<string, string>, string]>([
    ["our pin", "http://framework.test/w.js?pulse_deployment=v1", {}, "referer v1"],
    ["a framework's pin", "http://framework.test/w.js?dpl=v1", {}, "referer v1"],
    ["a pin on https", "https://framework.test/?pulse_deployment=v1", {}, "referer v1"],
    ["before the page cookie", "http://framework.test/w.js?dpl=v1", onPage("v2"), "referer v1"],
    ["a gone pin", "http://framework.test/w.js?pulse_deployment=v0", {}, "active v2"],
    ["another host", "http://evil.test/w.js?pulse_deployment=v1", {}, "active v2"],
    ["another port", "http://framework.test:1/w.js?pulse_deployment=v1", {}, "active v2"],
    ["a user in front of another host", "http://framework.test@evil.test/?dpl=v1", {}, "active v2"],
    ["no pin", "http://framework.test/dpl=v1", {}, "active v2"],
    ["no URL", "dpl=v1", {}, "active v2"],
    ["for a page", "http://framework.test/?dpl=v1", NAVIGATION, "active v2"],
    ["for a service worker", "http://framework.test/?dpl=v1", fetched("serviceworker"), "active v2"],
  ])("in a Referer count: %s", async (_, referer, given, expected) => {
    expect(route(await get("framework", "/api", { referer, ...given }))).toBe(expected);
  });
});

describe("tags of pages", () => {
  beforeAll(() => app("tags", ["v1", "v2"]));

  test("name the version, so that a 304 never shows another's page", async () => {
    const first = await get("tags", "/?pulse_deployment=v1", NAVIGATION);
    const tag = header(first, "etag") ?? "";
    expect(tag).toBe('W/"same;signalbox=v1"');
    const again = await get("tags", "/?pulse_deployment=v1", { ...NAVIGATION, "if-none-match": tag });
    expect([again.status, header(again, "etag"), route(again)]).toEqual([304, tag, "pinned v1"]);
    expect(cookiesOf(again)).toEqual(["signalbox-page=v1; Path=/; HttpOnly; SameSite=Lax"]);

    const other = await get("tags", "/", { ...NAVIGATION, "if-none-match": tag });
    expect([other.status, header(other, "etag")]).toEqual([200, 'W/"same;signalbox=v2"']);
    const both = `${tag}, W/"same;signalbox=v2"`;
    expect((await get("tags", "/", { ...NAVIGATION, "if-none-match": both })).status).toBe(304);
    expect((await get("tags", "/", { ...NAVIGATION, "if-none-match": '"same"' })).status).toBe(200);
  });

  test("stay as they are for everything else", async () => {
    const first = await get("tags", "/", fetched("empty"));
    expect(header(first, "etag")).toBe('"same"');
    const again = await get("tags", "/", { ...fetched("empty"), "if-none-match": '"same"' });
    expect([again.status, header(again, "etag")]).toEqual([304, '"same"']);
    const marked = 'W/"same;signalbox=v2"';
    const read = await get("tags", "/", { ...fetched("empty"), "if-none-match": marked });
    expect([read.status, header(read, "etag")]).toEqual([304, marked]);
    const foreign = await get("tags", "/", {
      ...fetched("empty"),
      "if-none-match": 'W/"same;signalbox=v1"',
    });
    expect(foreign.status).toBe(200);
  });
});

describe("vary", () => {
  const answers: Record<string, Record<string, string>> = {
    "/cached": { "cache-control": "max-age=600" },
    "/aged": { "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT" },
    "/fresh": { "cache-control": "no-store" },
    "/asked": { "cache-control": "no-cache", etag: '"1"' },
    "/asked-by-age": { "cache-control": "max-age=0", "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT" },
    "/plain": {},
    "/assets/index-BkX3aZ9q.js": { "cache-control": "max-age=600" },
    "/forever": { "cache-control": "max-age=600, immutable" },
    "/page.html": { "cache-control": "max-age=600", "content-type": "text/html" },
  };

  beforeAll(() =>
    app("vary", ["v1", "v2"], {}, () => (path, _, response) => {
      const given = answers[path];
      if (given === undefined) return false;
      response.writeHead(200, { "content-type": "text/plain", ...given }).end("x");
      return true;
    }),
  );
  const PINS = "x-pulse-deployment, x-deployment-id, x-netlify-deploy-id";

  test.each<[string, Record<string, string>, string]>([
    ["/cached", {}, `${PINS}, cookie`],
    ["/cached", onPage("v1"), `${PINS}, cookie`],
    ["/aged", {}, `${PINS}, cookie`],
    ["/asked-by-age", {}, `${PINS}, cookie`],
    ["/fresh", {}, PINS],
    ["/asked", onPage("v1"), PINS],
    ["/plain", {}, PINS],
    ["/assets/index-BkX3aZ9q.js", onPage("v1"), PINS],
    ["/forever", onPage("v1"), PINS],
    ["/page.html", NAVIGATION, `${PINS}, cookie`],
    ["/cached?dpl=v1", {}, "x-pulse-deployment"],
    ["/cached", { "x-deployment-id": "v1" }, PINS],
    ["/cached", { referer: "http://vary.test/a.css?dpl=v1" }, `${PINS}, referer`],
  ])("of %s with %j is %s", async (path, given, expected) => {
    expect(header(await get("vary", path, given), "vary")).toBe(expected);
  });
});

describe("stickiness", () => {
  test("of a visitor takes pages along, until the visit ends", async () => {
    await app("visitor", ["v1", "v2"], { stickiness: "visitor", visitIdleSeconds: 60 });
    const now = Math.floor(Date.now() / 1_000);
    const first = await get("visitor", "/?pulse_deployment=v1", NAVIGATION);
    expect(cookiesOf(first)[0]).toMatch(/^signalbox-page=v1\.\d{10}; Path=\/; HttpOnly; SameSite=Lax$/);
    const next = await get("visitor", "/page", { ...NAVIGATION, ...onPage(`v1.${now - 30}`) });
    expect(route(next)).toBe("visitor v1");
    expect(Number(/\.(\d+);/.exec(cookiesOf(next)[0] ?? "")?.[1])).toBeGreaterThanOrEqual(now);
    const idle = onPage(`v1.${now - 90}`);
    expect(route(await get("visitor", "/page", { ...NAVIGATION, ...idle }))).toBe("active v2");
    expect(route(await get("visitor", "/api", { ...fetched("empty"), ...idle }))).toBe("page v1");
    expect(route(await get("visitor", "/page", { ...NAVIGATION, ...onPage("v1") }))).toBe("active v2");
    expect(route(await get("visitor", "/page", { ...NAVIGATION, ...onPage(`v9.${now}`) }))).toBe("active v2");
  });

  test.each([
    ["off", { stickiness: "off" }],
    ["of an app without a contract", { contract: "none", healthPath: "/api" }],
  ])("%s means no cookie and no fallback", async (words, config) => {
    const name = words.split(" ", 1)[0] ?? "";
    await app(name, ["v1", "v2"], config);
    const page = await get(name, "/", { ...NAVIGATION, ...onPage("v1") });
    expect([route(page), cookiesOf(page)]).toEqual(["active v2", []]);
    if ("contract" in config) expect(header(page, "etag")).toBe('"same"');
    expect(route(await get(name, "/api", onPage("v1")))).toBe("active v2");
    expect((await get(name, "/assets/only-v1.js", fetched("script"))).status).toBe(404);
    expect(route(await get(name, "/api?dpl=v1"))).toBe("framework v1");
  });

  test("is what the app says, `page` where it says nothing", async () => {
    await putApp(stack, "unsaid", { hosts: ["unsaid.test"] });
    const { body } = await stack.api("GET", "/apps/unsaid");
    expect(body).toMatchObject({ stickiness: "page", visitIdleSeconds: 1_800 });
    const refused = await stack.api("PUT", "/apps/unsaid", { stickiness: "always" });
    expect(refused.status).toBe(400);
  });
});

describe("a file that the version lacks", () => {
  let sites: Record<string, Backend> = {};
  const files: Record<string, Record<string, string>> = {
    "/private.js": { "content-type": "text/javascript", "cache-control": "private, max-age=60" },
    "/cookie.js": { "content-type": "text/javascript", "set-cookie": "a=1" },
    "/typed.js": { "content-type": "text/html" },
    "/style.css": { "content-type": "text/css; charset=utf-8" },
    "/font.woff2": { "content-type": "font/woff2" },
    "/image.png": { "content-type": "image/png" },
    "/shell/chunk.js": { "content-type": "text/javascript" },
    "/gone/chunk.js": { "content-type": "text/javascript" },
    "/track.vtt": { "content-type": "text/vtt" },
    "/app.webmanifest": { "content-type": "application/manifest+json" },
    "/both.js": { "content-type": "text/javascript" },
  };

  beforeAll(async () => {
    sites = await app("files", ["v1", "v2", "v3"], {}, (id) => (path, request, response) => {
      if (id === "v3" && path.startsWith("/shell/")) {
        response.writeHead(200, { "content-type": "text/html" }).end("<div id=root>");
        return true;
      }
      if (id === "v3" && path.startsWith("/gone/")) {
        response.writeHead(410).end();
        return true;
      }
      if (id === "v2" && path !== "/both.js") return false;
      if (id === "v3") return false;
      if (path === "/film.mp4") {
        const ranged = request.headers.range !== undefined;
        response.writeHead(ranged ? 206 : 200, {
          "content-type": "video/mp4",
          ...(ranged && { "content-range": "bytes 0-3/4" }),
        });
        response.end("film");
        return true;
      }
      const given = files[path];
      if (given === undefined) return false;
      response.writeHead(200, given).end(id);
      return true;
    });
    const ready = await site("v4", (path, _, response) => {
      if (path !== "/both.js") return false;
      response.writeHead(200, { "content-type": "text/javascript" }).end("v4");
      return true;
    });
    await deployUrl(stack, "files", "v4", ready.url, false);
  });

  beforeEach(() => {
    for (const each of Object.values(sites)) each.seen.length = 0;
  });

  test.each<[string, Record<string, string>, string]>([
    ["/assets/only-v1.js", fetched("script"), "asset v1"],
    ["/assets/only-v2.js", fetched("script"), "asset v2"],
    ["/assets/only-v2.js", fetched("worker", "same-origin"), "asset v2"],
    ["/assets/only-v3.js", { ...fetched("script"), ...onPage("v1") }, "asset v3"],
    ["/assets/only-v1.js", { ...fetched("script"), "if-none-match": '"x"' }, "asset v1"],
    ["/assets/only-v1.js?dpl=gone", fetched("script"), "asset v1"],
    ["/both.js", fetched("script"), "asset v2"],
    ["/style.css", fetched("style"), "asset v1"],
    ["/font.woff2", fetched("font", "cors"), "asset v1"],
    ["/image.png", fetched("image"), "asset v1"],
    ["/track.vtt", fetched("track", "same-origin"), "asset v1"],
    ["/app.webmanifest", fetched("manifest", "cors"), "asset v1"],
    ["/shell/chunk.js", fetched("script"), "asset v1"],
    ["/gone/chunk.js", fetched("script"), "asset v1"],
    ["/film.mp4", { ...fetched("video"), range: "bytes=0-" }, "asset v1"],
    ["/style.css", {}, "asset v1"],
    ["/image.png", { accept: "*/*" }, "asset v1"],
  ])("is asked of the others: %s %j", async (path, given, expected) => {
    const answer = await get("files", path, given);
    expect(route(answer)).toBe(expected);
    expect([200, 206]).toContain(answer.status);
  });

  test.each<[string, string, Record<string, string>]>([
    ["a page", "/image.png", NAVIGATION],
    ["a fetch", "/style.css", fetched("empty", "cors")],
    ["a service worker", "/assets/only-v1.js", fetched("serviceworker", "same-origin")],
    ["a service worker on plain http", "/assets/only-v1.js", { "service-worker": "script" }],
    ["what is pinned", "/assets/only-v1.js?pulse_deployment=v3", fetched("script")],
    ["what a framework pinned", "/assets/only-v1.js?dpl=v3", fetched("script")],
    ["the rest of a file", "/film.mp4", { ...fetched("video"), range: "bytes=2-", "if-range": '"x"' }],
    ["several ranges", "/film.mp4", { ...fetched("video"), range: "bytes=0-1,3-" }],
    ["no kind of file", "/private", {}],
  ])("isn't asked of the others for %s", async (_, path, given) => {
    const answer = await get("files", path, given);
    expect(answer.status).toBe(404);
    expect([sites["v1"]?.seen, sites["v2"]?.seen]).toEqual([[], []]);
  });

  test.each(["POST", "HEAD", "OPTIONS", "DELETE"])("isn't asked of the others by %s", async (method) => {
    const given = { ...fetched("script"), "content-length": "0" };
    expect((await ask(method, "files", "/assets/only-v1.js", given)).status).toBe(404);
  });

  test.each<[string, string]>([
    ["/private.js", "script"],
    ["/cookie.js", "script"],
    ["/typed.js", "script"],
    ["/style.css", "script"],
    ["/assets/only-v1.js", "style"],
    ["/image.png", "font"],
    ["/nowhere.js", "script"],
  ])("isn't taken from the others where it is private or of another type: %s as %s", async (path, dest) => {
    const answer = await get("files", path, fetched(dest));
    expect([answer.status, answer.body.toString()]).toEqual([404, "missing"]);
    expect(route(answer)).toBe("active v3");
    expect(sites["v1"]?.seen.length).toBe(1);
  });

  test("isn't asked for again where nobody has it", async () => {
    for (const _ of "123") expect((await get("files", "/favicon.ico", fetched("image"))).status).toBe(404);
    expect([sites["v1"]?.seen.length, sites["v2"]?.seen.length]).toEqual([1, 1]);
  });

  test("isn't waited for where a version is gone", async () => {
    const two = await app("halved", ["v1", "v2"]);
    await two["v1"]?.close();
    const answer = await get("halved", "/assets/only-v1.js", fetched("script"));
    expect([answer.status, answer.body.toString()]).toEqual([404, "missing"]);
  });

  test("costs each of a flood one further request at most, and the app so many", async () => {
    const calm = await app("calm", ["v1", "v2"]);
    const asked = 400;
    const began = Date.now();
    for (let at = 0; at < asked; at += 50) {
      const some = Array.from({ length: 50 }, (_, index) => get("files", `/flood-${at + index}.js`));
      for (const answer of await Promise.all(some)) expect(answer.status).toBe(404);
    }
    const further = (sites["v1"]?.seen.length ?? 0) + (sites["v2"]?.seen.length ?? 0);
    expect(further).toBeGreaterThan(0);
    expect(further).toBeLessThan(asked);
    expect(further).toBeLessThanOrEqual(256 + (16 * (Date.now() - began)) / 1_000);
    const each = new Map<string, number>();
    for (const { url } of [...(sites["v1"]?.seen ?? []), ...(sites["v2"]?.seen ?? [])])
      each.set(url, (each.get(url) ?? 0) + 1);
    // Until half of what the app may have is used, the second version is asked, too.
    const later = [...each].filter(([url]) => Number(/flood-(\d+)/.exec(url)?.[1]) >= 200);
    expect(later.filter(([, count]) => count > 1)).toEqual([]);
    expect(route(await get("calm", "/assets/only-v1.js", fetched("script")))).toBe("asset v1");
    expect(calm["v1"]?.seen.length).toBeGreaterThan(0);
  });
});

describe("the host of one deployment", () => {
  beforeAll(async () => {
    await app("shop", ["v1", "v2"]);
    await deployUrl(stack, "shop", "v3", (await site("v3")).url, false);
    await app("my--shop", ["w1"]);
    await app("v1--both", ["own"]);
    await app("both", ["v1", "v2"]);
  });

  test.each([
    ["v1--shop.localhost", "/api", {}, "host v1"],
    ["v3--shop.localhost", "/", NAVIGATION, "host v3"],
    ["V1--Shop.localhost.", "/api", {}, "host v1"],
    ["v1--shop.localhost", "/api?pulse_deployment=v2", {}, "host v1"],
    ["v1--shop.localhost", "/api", { "x-deployment-id": "v2", ...onPage("v2") }, "host v1"],
    ["w1--my--shop.localhost", "/api", {}, "host w1"],
    ["my--shop.localhost", "/api", {}, "active w1"],
    ["v1--both.localhost", "/api", {}, "active own"],
    ["v2--both.localhost", "/api", {}, "host v2"],
  ])("%s%s with %j", async (host, path, given, expected) => {
    const answer = await get(host, path, given);
    expect(route(answer)).toBe(expected);
    expect(cookiesOf(answer)).toEqual([]);
  });

  test.each([
    "v9--shop.localhost",
    "constructor--shop.localhost",
    "v1--nobody.localhost",
    "--shop.localhost",
    "v1---shop.localhost",
    "v1--.localhost",
    "a.v1--shop.localhost",
    "v1--shop.elsewhere.test",
  ])("%s is nowhere", async (host) => {
    expect((await get(host, "/api")).status).toBe(404);
  });

  test("opens no deployment that isn't verified, but to a rollout", async () => {
    const pending = await site("v4");
    pending.handler = (_, response) => {
      response.writeHead(503).end("not yet");
      return true;
    };
    const target = { kind: "url", url: pending.url };
    await stack.api("POST", "/apps/shop/deployments", { id: "v4", target });
    const token = { "x-pulse-railway-internal-token": INTERNAL_TOKEN };
    await until(
      () => get("v4--shop.localhost", "/api", token),
      (answer) => answer.status === 503 && route(answer) === "host v4",
    );
    expect((await get("v4--shop.localhost", "/api")).status).toBe(404);
  });
});
