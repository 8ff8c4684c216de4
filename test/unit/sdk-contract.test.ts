import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Script } from "node:vm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { createSignalbox, type Signalbox } from "../../sdk/index.ts";
import { attachSignalbox } from "../../sdk/node.ts";

const TOKEN = "token";
const HEADER = "x-pulse-railway-internal-token";
const SESSIONS = "/_pulse/internal/railway/sessions";
const RELOAD = "/_pulse/internal/railway/reload";

let server: Server;
let signalbox: Signalbox;
let origin: string;

beforeEach(async () => {
  server = createServer((request, response) => response.end(`app ${request.method} ${request.url}`));
  signalbox = attachSignalbox(server, { deploymentId: "v1", internalToken: TOKEN, env: {} });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  const closed = new Promise((done) => server.close(done));
  server.closeAllConnections();
  await closed;
});

const get = (path: string, init?: RequestInit) => fetch(origin + path, init);
const withToken = (token: string, method = "GET") => ({ method, headers: { [HEADER]: token } });

describe("the public endpoints", () => {
  test("meta names the deployment", async () => {
    const response = await get("/_pulse/meta?pulse_deployment=v1");
    expect(await response.json()).toMatchObject({ status: "ok", deployment_id: "v1" });
    expect(response.headers.get("cache-control")).toBe("no-store");
  });

  test("health is 200", async () => {
    expect((await get("/_pulse/health")).status).toBe(200);
    expect((await get("/_pulse/health", { method: "HEAD" })).status).toBe(200);
  });

  test("the session path asks plain requests to upgrade", async () => {
    expect((await get("/_pulse/session")).status).toBe(426);
  });

  test.each(["POST", "DELETE", "OPTIONS"])("%s to meta is 405", async (method) => {
    const response = await get("/_pulse/meta", { method, ...(method === "POST" && { body: "ignored" }) });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET");
  });

  test("TRACE, which web requests can't express, is 405 too", async () => {
    const status = await new Promise((done) =>
      httpRequest(`${origin}/_pulse/meta`, { method: "TRACE" }, (response) =>
        done(response.statusCode),
      ).end(),
    );
    expect(status).toBe(405);
  });
});

describe("the internal endpoints", () => {
  test("answer to the token", async () => {
    signalbox.sessions.open();
    expect(await (await get(SESSIONS, withToken(TOKEN))).json()).toEqual({
      render_session_count: 1,
      deployment_id: "v1",
    });
    expect(await (await get(RELOAD, withToken(TOKEN, "POST"))).json()).toEqual({ reloaded_socket_count: 0 });
  });

  test.each(["", "tokem", "token0", "toke", "TOKEN", "token, token"])("answer 401 to %j", async (token) => {
    expect((await get(SESSIONS, withToken(token))).status).toBe(401);
    expect((await get(RELOAD, withToken(token, "POST"))).status).toBe(401);
  });

  test("answer 401 without a token, and a GET never reloads anybody", async () => {
    expect((await get(SESSIONS)).status).toBe(401);
    expect((await get(RELOAD, withToken(TOKEN))).status).toBe(405);
  });

  test.each([{}, { PULSE_RAILWAY_INTERNAL_TOKEN: "" }])(
    "are closed to everybody when %j sets no token",
    async (env) => {
      const closed = createSignalbox({ env });
      for (const token of ["", "undefined", "null"]) {
        const request = new Request(origin + SESSIONS, withToken(token));
        expect((await closed.respond(request))?.status).toBe(404);
      }
      expect((await closed.respond(new Request(origin + SESSIONS)))?.status).toBe(404);
    },
  );
});

describe("the browser helper", () => {
  test("is one classic script without types or imports", async () => {
    const response = await get("/_pulse/client.js");
    const script = await response.text();
    expect(response.headers.get("content-type")).toContain("text/javascript");
    // Compiles as a script: an import, an export or a type would be a syntax error.
    expect(() => new Script(script)).not.toThrow();
  });

  test("is cached for long only under this deployment's own address", async () => {
    const cacheControl = async (query: string) =>
      (await get(`/_pulse/client.js${query}`)).headers.get("cache-control");
    expect(await cacheControl("?pulse_deployment=v1")).toContain("immutable");
    expect(await cacheControl("")).toBe("no-cache");
    expect(await cacheControl("?pulse_deployment=v2")).toBe("no-cache");
  });

  test("isn't sent again to a browser that has it", async () => {
    const etag = (await get("/_pulse/client.js")).headers.get("etag") ?? "";
    const again = await get("/_pulse/client.js", { headers: { "if-none-match": etag } });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  });
});

describe("everything else belongs to the app", () => {
  test.each([
    "/",
    "/_pulse",
    "/_pulse/other",
    "/_pulse/meta/",
    "/_PULSE/meta",
    "//_pulse/meta",
    "/x/_pulse/meta",
  ])("%s", async (path) => {
    expect(await (await get(path)).text()).toBe(`app GET ${path}`);
  });

  test("a request that offers an upgrade stays a plain request while the app has no sockets", async () => {
    const text = await new Promise<string>((done, failed) => {
      const headers = { connection: "upgrade", upgrade: "h2c" };
      httpRequest(`${origin}/plain`, { headers }, (response) => {
        response.setEncoding("utf8").on("data", done);
      })
        .on("error", failed)
        .end();
    });
    expect(text).toBe("app GET /plain");
  });

  test("the app's own sockets reach the app, whenever it starts to listen for them", async () => {
    const own = new WebSocketServer({ server });
    own.on("connection", (socket) => socket.send("own"));
    const message = await new Promise((done) => {
      const socket = new WebSocket(`${origin.replace("http", "ws")}/live`);
      socket.on("message", (data) => {
        done(data);
        socket.terminate();
      });
    });
    expect(message).toEqual(Buffer.from("own"));
  });

  test("an app without the server half gets its own paths back from the runtime-neutral core", () => {
    expect(signalbox.respond(new Request("http://app.example/own"))).toBeNull();
  });
});

test.each([
  ["/live?pulse_deployment=v2", true],
  ["/live?pulse_deployment=v1", false],
  ["/live", false],
])("the app can ask whether %s is stale: %s", (path, stale) => {
  expect(signalbox.isStale(path)).toBe(stale);
  expect(createSignalbox({ env: {} }).isStale(path)).toBe(false);
});
