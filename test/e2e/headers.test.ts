import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { HANDSHAKE, header, headers, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const backends: Backend[] = [];

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(async () => {
  await Promise.all([...backends.map((backend) => backend.close()), stack.stop()]);
});

async function backend(id: string): Promise<Backend> {
  const started = await startBackend(id);
  backends.push(started);
  return started;
}

/** An app `NAME` at `NAME.test` with these deployments in order; the first is active, the others ready. */
async function app(name: string, ...ids: string[]): Promise<Backend[]> {
  await putApp(stack, name, {
    hosts: [`${name}.test`],
    drainTtlSeconds: 3_600,
    previousRetentionSeconds: 3_600,
  });
  const started: Backend[] = [];
  for (const [index, id] of ids.entries()) {
    const each = await backend(id);
    await deployUrl(stack, name, id, each.url, index === 0);
    started.push(each);
  }
  return started;
}

function get(name: string, path = "/", extra: Record<string, string> = {}): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(`${name}.test`, path, extra));
}

function ask(method: string, name: string, path: string, extra: Record<string, string>): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(`${name}.test`, path, extra).replace("GET", method), { method });
}

const token = { "x-pulse-railway-internal-token": INTERNAL_TOKEN };
const route = (answer: RawAnswer): string =>
  `${header(answer, "x-signalbox-route")} ${header(answer, "x-pulse-selected-deployment")}`;
const json = (answer: RawAnswer): unknown => JSON.parse(answer.body.toString());

describe("what a client says of itself", () => {
  let v1: Backend | undefined;

  beforeAll(async () => {
    [v1] = await app("head", "v1");
  });

  async function seen(extra: string[]): Promise<IncomingMessage["headers"]> {
    if (!v1) throw new Error("no backend");
    v1.seen.length = 0;
    const answer = await rawRequest(
      stack.port,
      `GET /seen HTTP/1.1\r\nhost: head.test\r\n${extra.map((line) => `${line}\r\n`).join("")}\r\n`,
    );
    expect([200, 101]).toContain(answer.status);
    return v1.seen.at(-1)?.headers ?? {};
  }

  const forbidden = [
    "x-pulse-railway-internal-token: guess",
    `x-pulse-railway-internal-token: ${INTERNAL_TOKEN}`,
    `X-PULSE-Railway-Internal-Token: ${INTERNAL_TOKEN}`,
    "x-signalbox-route: pinned",
    "X-Signalbox-Anything: 1",
    "forwarded: for=1.2.3.4;proto=https;host=evil.test",
    "x-forwarded-port: 1",
    "x-forwarded-prefix: /evil",
    "x-forwarded-server: evil",
    "x-forwarded-scheme: https",
    "x-forwarded-ssl: on",
    "x-forwarded-uri: /_pulse/internal/railway/reload",
    "x-forwarded-path: /_pulse/internal",
    "X-Forwarded-Whatever: 1",
    "x-original-url: /_pulse/internal/railway/reload",
    "x-original-uri: /_pulse/internal",
    "x-rewrite-url: /_pulse/internal/railway/reload",
    "x-real-ip: 1.2.3.4",
    "x-client-ip: 1.2.3.4",
    "true-client-ip: 1.2.3.4",
    "cf-connecting-ip: 1.2.3.4",
    "CF-Connecting-IPv6: ::1",
    "cf-ipcountry: XX",
    "keep-alive: timeout=1",
    "te: trailers",
    "trailer: x-sum",
    "proxy-authorization: Basic eDp5",
    "proxy-connection: keep-alive",
    "upgrade: h2c",
    // CGI, WSGI, Rack and PHP fold these into the ones with dashes.
    "x_forwarded_for: 6.6.6.6",
    "X_Forwarded_Proto: https",
    "x-forwarded_host: evil.test",
    "x_real_ip: 6.6.6.6",
    "x.real.ip: 6.6.6.6",
    "x_client_ip: 6.6.6.6",
    "client-ip: 6.6.6.6",
    "client_ip: 6.6.6.6",
    "proxy: http://evil.test",
    "true_client_ip: 6.6.6.6",
    "x_original_url: /_pulse/internal",
    "x_rewrite_url: /_pulse/internal",
    "X_Signalbox_Route: pinned",
    "cf_connecting_ip: 6.6.6.6",
    "transfer_encoding: chunked",
    "proxy_authorization: Basic eDp5",
    `x_pulse_railway_internal_token: ${INTERNAL_TOKEN}`,
  ];

  test.each(forbidden)("never reaches a backend: %s", async (line) => {
    const name = line.slice(0, line.indexOf(":")).toLowerCase();
    expect(Object.keys(await seen([line]))).not.toContain(name);
    expect(Object.keys(await seen([line, line, "x-other: 1"]))).not.toContain(name);
  });

  test("never reaches it through a WebSocket's handshake either", async () => {
    const handshake = Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}`);
    const lines = forbidden.filter((line) => !line.startsWith("upgrade"));
    const received = await seen([...handshake, ...lines]);
    const names = lines.map((line) => line.slice(0, line.indexOf(":")).toLowerCase());
    expect(Object.keys(received).filter((name) => names.includes(name))).toEqual([]);
    expect(received["x-forwarded-for"]).toBe("127.0.0.1");
    expect(received["upgrade"]).toBe("websocket");
  });

  test("is dropped where Connection names it, whatever the spelling", async () => {
    const received = await seen([
      "Connection: close, X-Hop , x-other-hop,, ;bad name",
      "x-hop: 1",
      "X-Other-Hop: 2",
      "x-stays: 3",
    ]);
    expect(received["x-hop"]).toBeUndefined();
    expect(received["x-other-hop"]).toBeUndefined();
    expect(received["x-stays"]).toBe("3");
  });

  test("can't take away what the edge says by naming it in Connection", async () => {
    const received = await seen([
      "connection: close, x-forwarded-for, x-forwarded-host, x-forwarded-proto, host",
    ]);
    expect(received).toMatchObject({
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": "head.test",
      "x-forwarded-proto": "http",
    });
  });

  test("can't be where it comes from: x-forwarded-for, -host and -proto are the edge's own", async () => {
    const received = await seen([
      "x-forwarded-for: 6.6.6.6",
      "x-forwarded-for: 7.7.7.7",
      "x-forwarded-host: evil.test",
      "x-forwarded-proto: https",
      "cf-connecting-ip: 6.6.6.6",
    ]);
    expect(received["x-forwarded-for"]).toBe("127.0.0.1");
    expect(received["x-forwarded-host"]).toBe("head.test");
    expect(received["x-forwarded-proto"]).toBe("http");
    expect(received.host).toBe(new URL(v1?.url ?? "").host);
  });

  test("keeps the port of its Host in x-forwarded-host", async () => {
    v1?.seen.splice(0);
    await rawRequest(stack.port, rawGet("head.test:8080", "/seen"));
    expect(v1?.seen.at(-1)?.headers["x-forwarded-host"]).toBe("head.test:8080");
  });

  test("reaches it otherwise, cookies and credentials too", async () => {
    const received = await seen([
      "cookie: a=1; signalbox=x; b=2",
      "authorization: Bearer app-token",
      "user-agent: test/1",
      "accept: */*",
      "accept-language: de, en;q=0.5",
      "if-modified-since: Wed, 01 Jan 2025 00:00:00 GMT",
      "x-pulse-deployment: v1",
      "x-pulse-client-loader: 1",
      "x-requested-with: XMLHttpRequest",
      "sec-fetch-mode: cors",
      "origin: https://elsewhere.test",
      "referer: https://elsewhere.test/x?y=%20",
    ]);
    expect(received).toMatchObject({
      cookie: "a=1; signalbox=x; b=2",
      authorization: "Bearer app-token",
      "user-agent": "test/1",
      accept: "*/*",
      "accept-language": "de, en;q=0.5",
      "if-modified-since": "Wed, 01 Jan 2025 00:00:00 GMT",
      "x-pulse-deployment": "v1",
      "x-requested-with": "XMLHttpRequest",
      "sec-fetch-mode": "cors",
      origin: "https://elsewhere.test",
      referer: "https://elsewhere.test/x?y=%20",
    });
  });

  test("gains nothing that a client didn't send", async () => {
    expect(Object.keys(await seen([])).sort()).toEqual(
      ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].sort(),
    );
  });

  test("is believed about its address where Cloudflare says it", async () => {
    const onCloudflare = await startTestStack({ settings: { TRUST_CLIENT_ADDRESS: "1" } });
    try {
      const target = await backend("v1");
      await putApp(onCloudflare, "head", { hosts: ["head.test"] });
      await deployUrl(onCloudflare, "head", "v1", target.url);
      const lines = {
        "cf-connecting-ip": "203.0.113.9",
        "cf-ipcountry": "DE",
        "x-forwarded-for": "6.6.6.6",
        cf_connecting_ip: "6.6.6.6",
      };
      await rawRequest(onCloudflare.port, rawGet("head.test", "/seen", lines));
      expect(target.seen.at(-1)?.headers).not.toHaveProperty("cf_connecting_ip");
      expect(target.seen.at(-1)?.headers).toMatchObject({
        "x-forwarded-for": "203.0.113.9",
        "cf-ipcountry": "DE",
      });
      await rawRequest(onCloudflare.port, rawGet("head.test", "/seen", { "x-forwarded-for": "6.6.6.6" }));
      expect(target.seen.at(-1)?.headers["x-forwarded-for"]).toBeUndefined();
    } finally {
      await onCloudflare.stop();
    }
  });
});

describe("what a backend says", () => {
  test("of the route doesn't overrule what Signalbox says of it", async () => {
    const [v1] = await app("own", "v1");
    if (!v1) throw new Error("no backend");
    v1.handler = (_, response) => {
      response.setHeader("X-Signalbox-Route", "pinned");
      response.setHeader("x-pulse-selected-deployment", "v666");
      response.setHeader("x-pulse-other", "stays");
      response.end("ok");
      return true;
    };
    const answer = await get("own");
    expect(headers(answer, "x-signalbox-route")).toEqual(["active"]);
    expect(headers(answer, "x-pulse-selected-deployment")).toEqual(["v1"]);
    expect(header(answer, "x-pulse-other")).toBe("stays");
  });

  test("varies by the header of a pin, unless the query decided", async () => {
    const [v1, v2] = await app("vary", "v1", "v2");
    let lines: string[] = [];
    for (const each of [v1, v2]) {
      if (!each) throw new Error("no backend");
      each.handler = ({ url }, response) => {
        if (url?.startsWith("/_pulse/") === true) return false;
        response
          .writeHead(
            url?.startsWith("/304") === true ? 304 : 200,
            lines.flatMap((line) => ["vary", line]),
          )
          .end();
        return true;
      };
    }
    const vary = async (path: string, pin: Record<string, string> = {}): Promise<string[]> =>
      headers(await get("vary", path, pin), "vary");
    const byHeader = { "x-pulse-deployment": "v2" };
    for (const path of ["/", "/304"]) {
      expect(await vary(path)).toEqual(["x-pulse-deployment, x-deployment-id, x-netlify-deploy-id"]);
      expect(await vary(`${path}?dpl=v2`, { "x-deployment-id": "v1" })).toEqual(["x-pulse-deployment"]);
      expect(await vary(path, byHeader)).toEqual(["x-pulse-deployment"]);
      expect(await vary(`${path}?pulse_deployment=v2`, { "x-pulse-deployment": "v1" })).toEqual([]);
    }
    for (const [given, expected] of [
      [["Accept"], ["Accept, x-pulse-deployment"]],
      [["Accept, Cookie", "Origin"], ["Accept, Cookie, Origin, x-pulse-deployment"]],
      [["X-Pulse-Deployment, Accept"], ["X-Pulse-Deployment, Accept"]],
      [["*"], ["*"]],
      [["Accept, *"], ["Accept, *"]],
    ] as const) {
      lines = [...given];
      expect(await vary("/", byHeader)).toEqual(expected);
      expect((await vary("/?pulse_deployment=v2")).join(", ")).toBe(given.join(", "));
    }
  });

  test("always comes with the deployment and the route that it came by", async () => {
    const [v1] = await app("named", "v1", "v2");
    if (!v1) throw new Error("no backend");
    v1.handler = (request, response) => {
      const status = /^\/status\/(\d+)/.exec(request.url ?? "")?.[1];
      if (status !== undefined) response.writeHead(Number(status)).end();
      return status !== undefined;
    };
    for (const status of [200, 204, 301, 304, 404, 500, 503]) {
      expect(route(await get("named", `/status/${status}`))).toBe("active v1");
    }
    expect(route(await get("named", "/?pulse_deployment=v2"))).toBe("pinned v2");
    expect(route(await get("named", "/", { "x-pulse-deployment": "v2" }))).toBe("pinned v2");
    expect(route(await get("named", "/?pulse_deployment=v1", { "x-pulse-deployment": "v2" }))).toBe(
      "pinned v1",
    );
    const fallback = "/?pulse_deployment=gone&pulse_reload_on_stale_affinity=1";
    const upgraded = await get("named", fallback, HANDSHAKE);
    expect(upgraded.status).toBe(101);
    expect(route(upgraded)).toBe("fallback v1");
  });
});

test("a pending deployment is reached by its pin with the internal token, and by nobody else", async () => {
  await app("verify", "v1");
  const pending = await backend("v2");
  pending.handler = (request, response) => {
    if (!request.url?.startsWith("/_pulse/")) return false;
    response.writeHead(503).end();
    return true;
  };
  await stack.api("POST", "/apps/verify/deployments", {
    id: "v2",
    target: { kind: "url", url: pending.url },
  });
  await until(
    () => get("verify", "/?pulse_deployment=v2", token),
    ({ status }) => status === 200,
  );
  expect(route(await get("verify", "/?pulse_deployment=v2", token))).toBe("pinned v2");
  expect(route(await get("verify", "/", { ...token, "x-pulse-deployment": "v2" }))).toBe("pinned v2");
  expect(pending.seen.filter(({ headers }) => "x-pulse-railway-internal-token" in headers)).toEqual([]);
  for (const guess of [
    "",
    "x",
    INTERNAL_TOKEN.slice(0, -1),
    `${INTERNAL_TOKEN}x`,
    INTERNAL_TOKEN.toUpperCase(),
  ]) {
    const answer = await get("verify", "/?pulse_deployment=v2", { "x-pulse-railway-internal-token": guess });
    expect(answer.status).toBe(409);
  }
  expect((await get("verify", "/?pulse_deployment=v2")).status).toBe(409);
  expect(route(await get("verify", "/", token))).toBe("active v1");
  await change(stack, "POST", "/apps/verify/pause", { mode: "refuse" });
  await until(
    () => get("verify"),
    ({ status }) => status === 503,
  );
  expect(route(await get("verify", "/?pulse_deployment=v2", token))).toBe("pinned v2");
});

describe("a canary", () => {
  const page = { accept: "text/html" };
  const cookieOf = (answer: RawAnswer): string | undefined =>
    headers(answer, "set-cookie").find((cookie) => cookie.startsWith("signalbox-client="));

  beforeAll(async () => {
    await app("canary", "v1", "v2");
  });

  async function weigh(weight: number): Promise<void> {
    await change(stack, "PUT", "/apps/canary/canary", { id: "v2", weight });
    // The share that a new table gives is seen on clients whose draws are far apart.
    const expected = weight === 0 ? 0 : weight === 100 ? 20 : undefined;
    await until(
      async () => {
        const routes = await Promise.all(
          Array.from({ length: 20 }, (_, index) => get("canary", "/", { "user-agent": `probe/${index}` })),
        );
        return routes.filter((answer) => route(answer) === "canary v2").length;
      },
      (count) => (expected === undefined ? count > 2 && count < 18 : count === expected),
    );
  }

  test("that isn't set leaves no cookie", async () => {
    expect(headers(await get("canary", "/", page), "set-cookie")).toEqual([]);
  });

  test("of weight 0 gets nobody, and of 100 everybody without a pin", async () => {
    await weigh(0);
    expect(route(await get("canary", "/", page))).toBe("active v1");
    await weigh(100);
    expect(route(await get("canary", "/", page))).toBe("canary v2");
    expect(route(await get("canary", "/?pulse_deployment=v1"))).toBe("pinned v1");
  });

  test("of weight 50 gets about half of the clients, and each of them always or never", async () => {
    await weigh(50);
    let canaries = 0;
    for (let client = 0; client < 300; client++) {
      const agent = { "user-agent": `browser/${client}` };
      const first = route(await get("canary", "/", agent));
      expect(route(await get("canary", "/other", agent))).toBe(first);
      if (first === "canary v2") canaries += 1;
    }
    expect(canaries).toBeGreaterThan(100);
    expect(canaries).toBeLessThan(200);
  });

  test("remembers a client by its cookie, when its browser has another name too", async () => {
    await weigh(50);
    for (let client = 0; client < 20; client++) {
      const first = await get("canary", "/", { ...page, "user-agent": `browser/${client}` });
      const cookie = cookieOf(first)?.split(";")[0] ?? "";
      expect(cookie).toMatch(/^signalbox-client=[0-9a-f]{8}$/);
      for (let update = 0; update < 5; update++) {
        const later = await get("canary", "/", {
          ...page,
          "user-agent": `updated/${update}`,
          cookie: `a=1; ${cookie}`,
        });
        expect(route(later)).toBe(route(first));
        expect(cookieOf(later)).toBeUndefined();
      }
    }
  });

  test("leaves its cookie on navigations only, beside the app's own", async () => {
    await weigh(100);
    const cookie = cookieOf(await get("canary", "/", page));
    expect(cookie).toMatch(/; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax/);
    expect(cookieOf(await get("canary", "/", { "sec-fetch-mode": "navigate" }))).toBeDefined();
    expect(cookieOf(await get("canary", "/api", { accept: "application/json" }))).toBeUndefined();
    expect(cookieOf(await get("canary", "/?pulse_deployment=v1", page))).toBeUndefined();
    expect(
      cookieOf(await get("canary", "/", { ...page, cookie: "signalbox-client=nonsense" })),
    ).toBeDefined();
  });

  test("that is cleared leaves no cookie any more", async () => {
    await change(stack, "DELETE", "/apps/canary/canary");
    const answer = await until(
      () => get("canary", "/", page),
      (seen) => route(seen) === "active v1",
    );
    expect(cookieOf(answer)).toBeUndefined();
  });
});

describe("a stale pin", () => {
  const pin = "/page?a=1&pulse_deployment=gone&b=%20";

  beforeAll(async () => {
    await app("stale", "v1");
  });

  function expectNeverCached(answer: RawAnswer): void {
    expect(header(answer, "cache-control")).toBe("no-store");
    expect(headers(answer, "vary").join()).toBe("Origin");
    expect(header(answer, "x-pulse-stale-affinity")).toBe("1");
    expect(header(answer, "x-pulse-selected-deployment")).toBeUndefined();
  }

  const cors = (answer: RawAnswer): Record<string, string> =>
    Object.fromEntries(
      answer.headers
        .map(([name, value]) => [name.toLowerCase(), value] as const)
        .filter(([name]) => name.startsWith("access-control-")),
    );

  test("is 409 with the stale headers, whatever is wrong with it", async () => {
    for (const bad of ["gone", "", "UPPER", "__proto__", "constructor", "a".repeat(25), "%2e%2e", "v1%00"]) {
      const answer = await get("stale", `/?pulse_deployment=${bad}`);
      expect(answer.status).toBe(409);
      expectNeverCached(answer);
      expect(header(answer, "content-type")).toBe("application/problem+json");
      expect(json(answer)).toEqual({
        type: "urn:signalbox:stale_affinity",
        title: "Stale affinity",
        status: 409,
        code: "stale_affinity",
        detail: "stale affinity",
      });
      expect(cors(answer)).toEqual({});
    }
  });

  test("is readable for the page that asked, on whatever origin", async () => {
    for (const origin of ["https://page.test", "http://localhost:3000", "null"]) {
      const answer = await get("stale", pin, { origin });
      expect(answer.status).toBe(409);
      expectNeverCached(answer);
      expect(cors(answer)).toEqual({
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-pulse-stale-affinity",
      });
    }
  });

  test("passes a CORS preflight, so that the page can read the real answer", async () => {
    const answer = await ask("OPTIONS", "stale", pin, {
      origin: "https://page.test",
      "access-control-request-method": "PUT",
      "access-control-request-headers": "content-type,x-pulse-deployment",
    });
    expect(answer.status).toBe(204);
    expect(answer.body).toHaveLength(0);
    expectNeverCached(answer);
    expect(cors(answer)).toEqual({
      "access-control-allow-origin": "https://page.test",
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "x-pulse-stale-affinity",
      "access-control-allow-methods": "PUT",
      "access-control-allow-headers": "content-type,x-pulse-deployment",
    });
    expect((await ask("OPTIONS", "stale", pin, { origin: "https://page.test" })).status).toBe(409);
  });

  const loader = (location: string): Record<string, string> => ({
    "x-pulse-client-loader": "1",
    "x-pulse-client-loader-location": location,
  });

  test.each([
    ["/next?x=1#y", "/next?x=1#y"],
    ["http://stale.test/next", "http://stale.test/next"],
    ["//stale.test/next", "//stale.test/next"],
    ["next", "http://stale.test/next"],
    ["?x=1", "http://stale.test/page?x=1"],
    ["http:evil.test/x", "http://stale.test/evil.test/x"],
  ])("sends a client loader to %s on its own origin", async (wanted, location) => {
    const answer = await get("stale", pin, loader(wanted));
    expect(answer.status).toBe(302);
    expectNeverCached(answer);
    expect(header(answer, "location")).toBe(location);
  });

  test.each([
    "https://evil.test/",
    "http://evil.test/",
    "//evil.test/",
    "/\\evil.test/",
    "\\\\evil.test/",
    "/\t/evil.test/",
    "https://stale.test/",
    "https:evil.test",
    "http://stale.test:81/",
    "http://stale.test@evil.test/",
    "http://stale.test.evil.test/",
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "http://[",
    "",
  ])("doesn't send it anywhere else: %j", async (wanted) => {
    const answer = await get("stale", pin, loader(wanted));
    if (wanted === "") expect([302, 409]).toContain(answer.status);
    else expect(answer.status).toBe(409);
    expect(header(answer, "location") ?? "http://stale.test/").toMatch(/^http:\/\/stale\.test\//);
  });

  test("needs both headers for that", async () => {
    expect((await get("stale", pin, { "x-pulse-client-loader": "1" })).status).toBe(409);
    expect((await get("stale", pin, { "x-pulse-client-loader-location": "/next" })).status).toBe(409);
    expect((await get("stale", pin, { ...loader("/next"), "x-pulse-client-loader": "0" })).status).toBe(409);
  });

  test("of a person is a page with a link to the current version", async () => {
    const answer = await get("stale", `${pin}&x=%22%3E%3Cscript%3E`, { accept: "text/html,*/*" });
    expect(answer.status).toBe(409);
    expectNeverCached(answer);
    expect(header(answer, "content-type")).toBe("text/html; charset=utf-8");
    const html = answer.body.toString();
    expect(html).toContain('href="http://stale.test/page?a=1&#38;b=+&#38;x=%22%3E%3Cscript%3E"');
    expect(html).toContain("409 stale_affinity");
    expect(html).not.toContain("<script");
  });

  test("on a WebSocket gets the active deployment if the app can tell the page to reload, else 409", async () => {
    const url = `ws://127.0.0.1:${stack.port}/socket?pulse_deployment=gone&pulse_reload_on_stale_affinity=1`;
    const socket = new WebSocket(url, { headers: { host: "stale.test" } });
    await once(socket, "open");
    socket.send("hello");
    const [data]: unknown[] = await once(socket, "message");
    expect(String(data)).toBe("v1:hello");
    socket.terminate();
    const refused = await get("stale", "/socket?pulse_deployment=gone", HANDSHAKE);
    expect(refused.status).toBe(409);
    expectNeverCached(refused);
    const notOne = await get(
      "stale",
      "/socket?pulse_deployment=gone&pulse_reload_on_stale_affinity=0",
      HANDSHAKE,
    );
    expect(notOne.status).toBe(409);
  });

  test("below the minimum version is stale though its deployment lives", async () => {
    await app("floor", "v1", "v2");
    await change(stack, "POST", "/apps/floor/deployments/v2/promote");
    await until(
      () => get("floor"),
      (answer) => route(answer) === "active v2",
    );
    expect(route(await get("floor", "/?pulse_deployment=v1"))).toBe("pinned v1");
    await change(stack, "PUT", "/apps/floor/minimum", { id: "v2" });
    await until(
      () => get("floor", "/?pulse_deployment=v1"),
      ({ status }) => status === 409,
    );
    expect(route(await get("floor", "/?pulse_deployment=v2"))).toBe("pinned v2");
    const reload = "/?pulse_deployment=v1&pulse_reload_on_stale_affinity=1";
    expect(route(await get("floor", reload, HANDSHAKE))).toBe("fallback v2");
    await change(stack, "PUT", "/apps/floor/minimum", { id: null });
    await until(
      () => get("floor", "/?pulse_deployment=v1"),
      ({ status }) => status === 200,
    );
  });
});

test("an app without an active deployment is 404, pinned or not", async () => {
  await putApp(stack, "empty", { hosts: ["empty.test"] });
  for (const path of ["/", "/?pulse_deployment=v1"]) {
    const answer = await get("empty", path, { accept: "application/json" });
    expect(answer.status).toBe(404);
    expect(header(answer, "cache-control")).toBe("no-store");
    expect(json(answer)).toMatchObject({ detail: "deployment not found", code: "deployment_not_found" });
  }
  const page = await get("empty", "/", { accept: "text/html" });
  expect(header(page, "content-type")).toBe("text/html; charset=utf-8");
  expect(page.body.toString()).toContain("404 deployment_not_found");
});

describe("a paused app", () => {
  test("that refuses says for how long and why, and comes back", async () => {
    const [v1] = await app("refuse", "v1");
    await change(stack, "POST", "/apps/refuse/pause", {
      mode: "refuse",
      message: "Back at <noon>.",
      retryAfterSeconds: 120,
    });
    const answer = await until(
      () => get("refuse"),
      ({ status }) => status === 503,
    );
    expect(header(answer, "retry-after")).toBe("120");
    expect(header(answer, "cache-control")).toBe("no-store");
    expect(json(answer)).toMatchObject({ status: 503, code: "app_paused", detail: "Back at <noon>." });
    const page = await get("refuse", "/", { accept: "text/html" });
    expect(page.status).toBe(503);
    expect(page.body.toString()).toContain("Back at &#60;noon&#62;.");
    v1?.seen.splice(0);
    expect((await get("refuse", "/", HANDSHAKE)).status).toBe(503);
    expect((await get("refuse", "/?pulse_deployment=v1")).status).toBe(503);
    expect(v1?.seen).toEqual([]);
    await change(stack, "POST", "/apps/refuse/resume");
    await until(
      () => get("refuse"),
      ({ status }) => status === 200,
    );
  });

  /** Whoever has the internal token isn't paused, and so sees when the edge has the table with this pause. */
  async function pauseSeen(name: string, pause: Record<string, unknown>): Promise<void> {
    await change(stack, "POST", `/apps/${name}/pause`, pause);
    await change(stack, "PUT", `/apps/${name}/canary`, { id: "v2", weight: 100 });
    await until(
      () => get(name, "/", token),
      (answer) => route(answer) === "canary v2",
    );
  }

  test("that holds queues requests and lets them all through when it resumes", async () => {
    const [, v2] = await app("hold", "v1", "v2");
    await pauseSeen("hold", { mode: "hold", maxHoldSeconds: 60 });
    v2?.seen.splice(0);
    const held = Array.from({ length: 20 }, (_, index) => get("hold", `/held/${index}`));
    const posted = ask("POST", "hold", "/held/post", { "content-length": "0" });
    const socket = get("hold", "/held/socket", HANDSHAKE);
    await get("hold", "/through", token);
    expect(v2?.seen.map(({ url }) => url)).toEqual(["/through"]);
    await change(stack, "POST", "/apps/hold/resume");
    for (const answer of await Promise.all([...held, posted])) expect(answer.status).toBe(200);
    expect((await socket).status).toBe(101);
  });

  test("lets a rollout through, which must reach the app to verify it", async () => {
    for (const mode of ["hold", "refuse"]) {
      await app(`let-${mode}`, "v1", "v2");
      await pauseSeen(`let-${mode}`, { mode, maxHoldSeconds: 60 });
      expect((await get(`let-${mode}`, "/", token)).status).toBe(200);
      const target = { kind: "url", url: (await backend("v3")).url };
      await stack.api("POST", `/apps/let-${mode}/deployments`, { id: "v3", target, promote: false });
      await stack.control.until(`let-${mode}`, "v3", ["ready"], 20_000);
    }
  });

  test("with a crowd before it leaves room for the visitors of another one", async () => {
    await app("crowd", "v1", "v2");
    await app("quiet", "v1", "v2");
    await pauseSeen("crowd", { mode: "hold", maxHoldSeconds: 300 });
    await pauseSeen("quiet", { mode: "hold", maxHoldSeconds: 300 });
    let turnedAway = 0;
    const crowd = Array.from({ length: 1_050 }, async (_, index) => {
      const answer = await get("crowd", `/crowd/${index}`);
      if (answer.status === 504) turnedAway += 1;
      return answer.status;
    });
    // There is no room left once some of the crowd are turned away.
    await until(
      () => Promise.resolve(turnedAway),
      (count) => count >= 50,
    );
    const quiet = Array.from({ length: 20 }, (_, index) => get("quiet", `/quiet/${index}`));
    await until(
      () => Promise.resolve(turnedAway),
      (count) => count >= 70,
    );
    for (const name of ["quiet", "crowd"]) await change(stack, "POST", `/apps/${name}/resume`);
    expect(new Set((await Promise.all(quiet)).map(({ status }) => status))).toEqual(new Set([200]));
    expect((await Promise.all(crowd)).filter((status) => status === 200)).toHaveLength(980);
  });

  test("that holds for longer than it may answers 504 with its message", async () => {
    await app("late", "v1", "v2");
    await pauseSeen("late", { mode: "hold", message: "Soon.", maxHoldSeconds: 1, retryAfterSeconds: 7 });
    const answer = await get("late");
    expect(answer.status).toBe(504);
    expect(header(answer, "retry-after")).toBe("7");
    expect(json(answer)).toMatchObject({ code: "hold_timeout", detail: "Soon." });
  });

  test("that turns from holding to refusing lets those go that it held", async () => {
    await app("turn", "v1", "v2");
    await pauseSeen("turn", { mode: "hold", maxHoldSeconds: 60 });
    const held = get("turn");
    await change(stack, "POST", "/apps/turn/pause", { mode: "refuse", message: "No." });
    expect((await held).status).toBe(503);
  });

  test("isn't kept from holding by clients that gave up", async () => {
    const [, v2] = await app("gone", "v1", "v2");
    await pauseSeen("gone", { mode: "hold", maxHoldSeconds: 300 });
    const leaving = await Promise.all(
      Array.from({ length: 1_000 }, async (_, index) => {
        const socket = connect(stack.port, "127.0.0.1");
        socket.on("error", () => undefined);
        await once(socket, "connect");
        socket.write(rawGet("gone.test", `/leaving/${index}`));
        return socket;
      }),
    );
    const attempt = async (): Promise<{ first: RawAnswer | "held"; request: Promise<RawAnswer> }> => {
      const request = get("gone", "/survivor");
      const patience = new Promise<"held">((resolve) => setTimeout(resolve, 3_000, "held"));
      return { first: await Promise.race([request, patience]), request };
    };
    // A try is held, too, until the edge has read all of the thousand.
    const { first: full } = await until(attempt, ({ first }) => first !== "held");
    expect(full).toMatchObject({ status: 504 });
    for (const socket of leaving) socket.resetAndDestroy();
    // Each try is refused at once until there is room; then it is held, and the app resumes.
    const heldAtLast = await until(attempt, ({ first }) => first === "held");
    await change(stack, "POST", "/apps/gone/resume");
    expect((await heldAtLast.request).status).toBe(200);
    expect(v2?.seen.filter(({ url }) => url.startsWith("/leaving"))).toEqual([]);
  });
});

describe("hosts", () => {
  test("that nobody claims get a page that says how to deploy", async () => {
    const answer = await rawRequest(stack.port, rawGet("nobody.test", "/"));
    expect(answer.status).toBe(404);
    expect(header(answer, "content-type")).toBe("application/problem+json");
    expect(header(answer, "cache-control")).toBe("no-store");
    expect(json(answer)).toEqual({
      type: "urn:signalbox:unknown_host",
      title: "Unknown host",
      status: 404,
      code: "unknown_host",
      detail: expect.stringContaining("nobody.test"),
    });
    const page = await rawRequest(stack.port, rawGet("nobody.test", "/", { accept: "text/html" }));
    expect(page.status).toBe(404);
    expect(header(page, "content-type")).toBe("text/html; charset=utf-8");
    expect(page.body.toString()).toContain("/_signalbox/api/v1/apps/NAME/deployments");
    expect(header(page, "content-security-policy")).toContain("default-src 'none'");
  });

  test("are the same in upper case, with a port and with the root's dot", async () => {
    await app("same", "v1");
    for (const host of ["same.test", "SAME.Test", "same.test:8787", "same.test.", "same.test.:80"]) {
      expect((await rawRequest(stack.port, rawGet(host, "/"))).status).toBe(200);
    }
    for (const host of ["x.same.test", "sametest", "same.test.evil.test"]) {
      expect((await rawRequest(stack.port, rawGet(host, "/"))).status).toBe(404);
    }
    for (const host of ["same.test..", `${"a".repeat(300)}.test`]) {
      expect((await rawRequest(stack.port, rawGet(host, "/"))).status).toBe(400);
    }
  });

  test("named after an app in the app domain are that app, listed or not", async () => {
    await app("byname", "v1");
    for (const host of ["byname.localhost", "BYNAME.localhost:8787", "byname.localhost."]) {
      expect(route(await rawRequest(stack.port, rawGet(host, "/")))).toBe("active v1");
    }
    for (const host of ["other.localhost", "x.byname.localhost", "byname.localhost.evil.test", "localhost"]) {
      expect((await rawRequest(stack.port, rawGet(host, "/"))).status).toBe(404);
    }
  });

  test("that nobody claims are the default app's, once there is one", async () => {
    const started = await backend("d1");
    await putApp(stack, "main", { default: true });
    await deployUrl(stack, "main", "d1", started.url);
    for (const host of [
      "whoever.test",
      "localhost",
      `127.0.0.1:${stack.port}`,
      "[::1]",
      "unknown.localhost",
    ]) {
      await until(
        () => rawRequest(stack.port, rawGet(host, "/")),
        (answer) => route(answer) === "active d1",
      );
    }
    expect(route(await get("head"))).toBe("active v1");
  });
});

test("a URL that is too long is 414, and an unreadable one 4xx", async () => {
  expect((await get("head", `/${"x".repeat(16 * 1024)}`)).status).toBe(414);
});

test("healthz makes no store call, and a host that nobody knows makes one", async () => {
  let calls = 0;
  const counting = createServer((_, response) => {
    calls += 1;
    response.writeHead(500).end("{}");
  });
  counting.listen(0, "127.0.0.1");
  await once(counting, "listening");
  const url = `http://127.0.0.1:${(counting.address() as AddressInfo).port}`;
  const other = await startTestStack({ upstash: { url, token: "x" } });
  try {
    for (let request = 0; request < 10; request++) {
      const answer = await rawRequest(other.port, rawGet("any.test", "/_signalbox/healthz"));
      expect(answer.status).toBe(200);
      expect(header(answer, "cache-control")).toBe("no-store");
      expect(json(answer)).toEqual({ ok: true });
    }
    expect(calls).toBe(0);
    const answer = await rawRequest(other.port, rawGet("any.test", "/"));
    expect(answer.status).toBe(503);
    expect(header(answer, "retry-after")).toBeDefined();
    expect(json(answer)).toMatchObject({ code: "store_unavailable" });
    expect(calls).toBe(1);
    expect((await rawRequest(other.port, rawGet("any.test", "/_pulse/internal"))).status).toBe(404);
    expect(calls).toBe(1);
  } finally {
    await other.stop();
    counting.close();
  }
});

test("many wrong control tokens are 429, while the right one still works", async () => {
  const other = await startTestStack();
  try {
    const call = (bearer: string): Promise<RawAnswer> =>
      rawRequest(
        other.port,
        rawGet("any.test", "/_signalbox/api/v1/apps", { authorization: `Bearer ${bearer}` }),
      );
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 80; attempt++) statuses.push((await call(`guess-${attempt}`)).status);
    expect(statuses[0]).toBe(401);
    expect(statuses.at(-1)).toBe(429);
    expect(header(await call("x"), "retry-after")).toBe("60");
    expect((await call(CONTROL_TOKEN)).status).toBe(200);
    expect((await call(CONTROL_TOKEN.slice(1))).status).toBe(429);
  } finally {
    await other.stop();
  }
});
