import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { serve, type ServerType, upgradeWebSocket, type WebSocketServerLike } from "@hono/node-server";
import { Hono } from "hono";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { signalbox } from "../../sdk/hono.ts";
import { createSignalbox, type Signalbox } from "../../sdk/index.ts";

let server: ServerType;
let box: Signalbox;
let origin: string;

beforeEach(async () => {
  box = createSignalbox({
    deploymentId: "v1",
    internalToken: "t",
    env: {},
    pingIntervalMs: 300,
    lingerMs: 0,
  });
  const app = new Hono();
  app.use(signalbox({ upgradeWebSocket, signalbox: box }));
  app.get("*", (context) => context.text(`app ${context.req.path}`));
  server = serve({
    fetch: app.fetch,
    port: 0,
    hostname: "127.0.0.1",
    // The two packages' types differ by one `| undefined`.
    websocket: { server: new WebSocketServer({ noServer: true }) as WebSocketServerLike },
  });
  await once(server, "listening");
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  box.close();
  await new Promise((done) => server.close(done));
});

const open = (query: string) => new WebSocket(`${origin.replace("http", "ws")}/_pulse/session?${query}`);

test("one line of middleware gives a Hono app the contract", async () => {
  expect(await (await fetch(`${origin}/_pulse/meta`)).json()).toMatchObject({ deployment_id: "v1" });
  expect((await fetch(`${origin}/_pulse/internal/railway/sessions`)).status).toBe(401);
  expect((await fetch(`${origin}/_pulse/client.js`)).status).toBe(200);
  expect(await (await fetch(`${origin}/_pulse/other`)).text()).toBe("app /_pulse/other");
});

test("its control sockets are counted, told to reload, and forgotten when they close", async () => {
  const socket = open("pulse_deployment=v1");
  const messages: unknown[] = [];
  socket.on("message", (data) => messages.push(data));
  await expect.poll(() => box.sessions.count).toBe(1);
  const response = await fetch(`${origin}/_pulse/internal/railway/reload`, {
    method: "POST",
    headers: { "x-pulse-railway-internal-token": "t" },
  });
  expect(await response.json()).toEqual({ reloaded_socket_count: 1 });
  await expect.poll(() => messages).toContainEqual(Buffer.from('{"type":"reload","reason":"notice"}'));
  socket.close(1000);
  await expect.poll(() => box.sessions.count).toBe(0);
});

test("its control sockets are pinged by protocol, and a living one stays", async () => {
  const socket = open("");
  let pings = 0;
  socket.on("ping", () => (pings += 1));
  await vi.waitUntil(() => pings > 4, 60_000);
  expect(box.sessions.count).toBe(1);
  socket.close();
  await once(socket, "close");
});

test("its stale control sockets are told and closed", async () => {
  const socket = open("pulse_deployment=v0");
  const [message] = await once(socket, "message");
  expect(JSON.parse(String(message))).toEqual({ type: "reload", reason: "stale-affinity" });
  const [code] = await once(socket, "close");
  expect(code).toBe(4409);
  expect(box.sessions.count).toBe(0);
});

test("a guarded Hono app answers nobody without the token, on WebSockets neither", async () => {
  const guarded = createSignalbox({ internalToken: "t", guard: true, env: {} });
  const app = new Hono();
  app.use(signalbox({ upgradeWebSocket, signalbox: guarded }));
  app.get("*", (context) => context.text("app"));
  expect((await app.request("/page")).status).toBe(404);
  expect((await app.request("/_pulse/health")).status).toBe(200);
  const upgrade = { connection: "upgrade", upgrade: "websocket" };
  expect((await app.request("/_pulse/session", { headers: upgrade })).status).toBe(404);
  const letIn = { headers: { "x-pulse-railway-internal-token": "t" } };
  expect(await (await app.request("/page", letIn)).text()).toBe("app");
  guarded.close();
});
