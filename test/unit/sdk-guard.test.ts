import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { createSignalbox } from "../../sdk/index.ts";
import { attachSignalbox } from "../../sdk/node.ts";

const HEADER = "x-pulse-railway-internal-token";
const env = {
  PULSE_RAILWAY_GUARD: "1",
  PULSE_RAILWAY_INTERNAL_TOKEN: "the-internal-token",
  PULSE_DEPLOYMENT_ID: "v1",
};
const letIn = { headers: { [HEADER]: env.PULSE_RAILWAY_INTERNAL_TOKEN } };

describe("a guarded server", () => {
  let server: Server;
  let origin: string;
  let asked: string[];

  beforeEach(async () => {
    asked = [];
    server = createServer((request, response) => {
      asked.push(request.url ?? "");
      response.end("the app");
    });
    const sockets = new WebSocketServer({ noServer: true });
    server.on("upgrade", (request, socket, head) => {
      if (request.url !== "/live") return;
      asked.push("upgrade");
      sockets.handleUpgrade(request, socket, head, (live) => live.close(1000));
    });
    attachSignalbox(server, { env });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server's address is one
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    const closed = new Promise((done) => server.close(done));
    server.closeAllConnections();
    await closed;
  });

  test.for([
    "/",
    "/_pulse/meta",
    "/_pulse/client.js",
    "/_pulse/health/",
    "/_pulse/../_pulse/health",
    "//_pulse/health",
  ])("answers 404 to %s without the token, and the app never hears of it", async (path) => {
    expect(await statusOf(origin, `GET ${path} HTTP/1.1`)).toBe(404);
    expect(asked).toEqual([]);
  });

  test.for(["GET", "HEAD"])("answers %s to the health path for the platform's check", async (method) => {
    expect((await fetch(`${origin}/_pulse/health?x=1`, { method })).status).toBe(200);
  });

  test.for(["POST", "TRACE", "OPTIONS"])("turns %s to the health path away", async (method) => {
    expect(await statusOf(origin, `${method} /_pulse/health HTTP/1.1`)).toBe(404);
  });

  test.for(["", "the-internal-tokem", "the-internal-tokenn", "the-internal"])(
    "turns away who guesses %j",
    async (token) => {
      const answer = await statusOf(origin, "GET / HTTP/1.1", `${HEADER}: ${token}`);
      expect(answer).toBe(404);
      expect(asked).toEqual([]);
    },
  );

  test("lets in who has the token, to the app and to the contract", async () => {
    expect(await (await fetch(`${origin}/page`, letIn)).text()).toBe("the app");
    expect((await fetch(`${origin}/_pulse/meta`, letIn)).status).toBe(200);
  });

  test.for(["/live", "/_pulse/session", "/_pulse/health"])(
    "refuses a WebSocket to %s without the token",
    async (path) => {
      const error = await new Promise<Error>((done) => {
        new WebSocket(`${origin.replace("http", "ws")}${path}`).once("error", done);
      });
      expect(error.message).toContain("404");
      expect(asked).toEqual([]);
    },
  );

  test("lets a WebSocket with the token through", async () => {
    const code = await new Promise((done) => {
      new WebSocket(`${origin.replace("http", "ws")}/live`, letIn).once("close", done);
    });
    expect(code).toBe(1000);
  });
});

describe("the guard's settings", () => {
  const get = (box: ReturnType<typeof createSignalbox>, path: string, headers: Record<string, string> = {}) =>
    box.respond(new Request(`http://localhost${path}`, { headers }));

  test("another health path is left open instead", async () => {
    const box = createSignalbox({ env: { ...env, PULSE_RAILWAY_HEALTH_PATH: "/healthz" } });
    expect(get(box, "/healthz")).toBeNull();
    expect((await get(box, "/_pulse/health"))?.status).toBe(404);
    expect((await get(box, "/page"))?.status).toBe(404);
    expect(get(box, "/page", letIn.headers)).toBeNull();
  });

  test("it is off unless it is set", () => {
    expect(get(createSignalbox({ env: { ...env, PULSE_RAILWAY_GUARD: "" } }), "/page")).toBeNull();
    expect(get(createSignalbox({ env: { ...env, PULSE_RAILWAY_GUARD: "0" } }), "/page")).toBeNull();
  });

  test("a typo or a missing token stops the process, naming the setting", () => {
    expect(() => createSignalbox({ env: { ...env, PULSE_RAILWAY_GUARD: "yes" } })).toThrow(
      /PULSE_RAILWAY_GUARD/,
    );
    expect(() => createSignalbox({ env: { PULSE_RAILWAY_GUARD: "1" } })).toThrow(
      /PULSE_RAILWAY_INTERNAL_TOKEN/,
    );
  });
});

/** The status of a request that is written as it is, since clients tidy their paths and methods up. */
function statusOf(origin: string, line: string, ...headers: string[]): Promise<number> {
  const { port } = new URL(origin);
  return new Promise((done, fail) => {
    const socket = connect(Number(port), "127.0.0.1", () => {
      socket.write([line, "host: x", "connection: close", ...headers, "", ""].join("\r\n"));
    });
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.on("end", () => done(Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1])));
    socket.on("error", fail);
  });
}
