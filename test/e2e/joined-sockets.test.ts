import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { allocatedMiB } from "../helpers/program.ts";
import { until } from "../helpers/stack.ts";

const HOST = "joined.test";
const DEAF_MS = 4_000;
const BLOCK = randomBytes(256 * 1024);

let world: UpstashStack;
let bundle: Awaited<ReturnType<typeof bundleWithServices>>;
let runner: RunnerProcess;
let app: WebSocketServer;
/** What the app saw: close codes, and how much it could send. */
const appCloses: number[] = [];
let floodedBytes = 0;

beforeAll(async () => {
  world = await onUpstash({ RUNNER_JOINED_SOCKETS: "1" });
  app = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    maxPayload: 64 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has("chat") ? "chat" : false),
    verifyClient: ({ req }, done) => (req.url === "/refused" ? done(false, 403, "not you") : done(true)),
  });
  await once(app, "listening");
  app.on("connection", (socket, request) => {
    socket.on("error", () => undefined);
    socket.on("close", (code) => appCloses.push(code));
    if (request.url === "/deaf") return socket.pause();
    socket.on("message", (data: Buffer, isBinary) => {
      const text = isBinary ? "" : data.toString();
      if (text.startsWith("close ")) return socket.close(Number(text.slice(6)), "as you wish");
      if (text === "vanish") return socket.terminate();
      if (text === "flood") return flood(socket);
      socket.send(data, { binary: isBinary });
    });
  });
  bundle = await bundleWithServices();
  runner = await startRunner(world.stack, {
    id: "r1",
    command: runtimeCommand("node", bundle.bundle),
    services: { "joined/v1": (app.address() as AddressInfo).port },
    env: { TEST_TIMINGS: JSON.stringify({ deafVisitorMs: DEAF_MS }) },
  });
  await putRunnerApp(world.store, { app: "joined", host: HOST, runnerId: "r1", service: "joined/v1" });
});

afterAll(async () => {
  await runner.remove();
  for (const socket of app.clients) socket.terminate();
  app.close();
  await world.stop();
  await bundle.remove();
});

/** As fast as its runner takes it. */
function flood(socket: WebSocket): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(BLOCK, () => {
    floodedBytes += BLOCK.length;
    setImmediate(() => flood(socket));
  });
}

async function visit(path = "/", protocols: string[] = []): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${world.stack.port}${path}`, protocols, {
    headers: { host: HOST },
    maxPayload: 64 * 1024 * 1024,
    perMessageDeflate: false,
  });
  socket.on("error", () => undefined);
  await once(socket, "open");
  return socket;
}

const closing = (socket: WebSocket): Promise<[code: number, reason: string]> =>
  new Promise((resolve) => socket.on("close", (code, reason) => resolve([code, reason.toString()])));

async function echo(socket: WebSocket, data: string | Buffer): Promise<Buffer> {
  const answer = once(socket, "message");
  socket.send(data);
  return ((await answer) as [Buffer])[0];
}

/** WebSockets and requests that the hub says are open. */
const openStreams = async (): Promise<number> =>
  ((await world.stack.api("GET", "/runners/r1")).body as { openStreams: number }).openStreams;

test("messages of a joined WebSocket arrive both ways as they were sent, with subprotocol and close code", async () => {
  const socket = await visit("/", ["other", "chat"]);
  expect(socket.protocol).toBe("chat");
  expect((await echo(socket, "gr\u00fc\u00dfe")).toString()).toBe("gr\u00fc\u00dfe");
  expect((await echo(socket, "")).length).toBe(0);
  for (const bytes of [1, 125, 126, 65_535, 65_536, 15 * 1024 * 1024]) {
    const message = randomBytes(bytes);
    expect((await echo(socket, message)).equals(message)).toBe(true);
  }
  expect(await openStreams()).toBe(1);
  const closed = closing(socket);
  socket.send("close 4321");
  expect(await closed).toEqual([4321, "as you wish"]);
  const other = await visit();
  other.close(4322);
  await until(
    () => appCloses,
    (codes) => codes.includes(4322),
  );
  await until(openStreams, (open) => open === 0);
});

test("a visitor of a joined WebSocket is told what its app answers, and when the app vanishes", async () => {
  await expect(visit("/refused")).rejects.toThrow("403");
  const socket = await visit();
  const closed = closing(socket);
  socket.send("vanish");
  expect((await closed)[0]).toBe(1011);
  const gone = await visit();
  await echo(gone, "here");
  const before = appCloses.length;
  gone.terminate();
  await until(
    () => appCloses.slice(before),
    (codes) => codes.includes(1006),
  );
  await until(openStreams, (open) => open === 0);
});

test("a message of more than 16 MiB closes a joined WebSocket with 1009, in either direction", async () => {
  const up = await visit();
  const closed = closing(up);
  up.send(Buffer.alloc(16 * 1024 * 1024 + 1));
  expect((await closed)[0]).toBe(1009);
});

test("a visitor who reads nothing holds its app back, workerd doesn't grow, and then it is closed", async () => {
  const { pid } = world.stack.workerd;
  const calm = await visit();
  await echo(calm, "hello");
  const before = allocatedMiB(pid);
  const runnerBefore = runner.allocatedMiB();
  const deaf = await visit();
  const closed = closing(deaf);
  deaf.send("flood");
  deaf.pause();
  floodedBytes = 0;
  let most = 0;
  let runnerMost = 0;
  await until(
    async () => {
      most = Math.max(most, allocatedMiB(pid));
      runnerMost = Math.max(runnerMost, runner.allocatedMiB());
      return openStreams();
    },
    (open) => open === 1,
  );
  console.log(
    `deaf visitor: its app sent ${Math.round(floodedBytes / 1024 ** 2)} MiB, workerd grew by ` +
      `${Math.round(most - before)} MiB, the runner by ${Math.round(runnerMost - runnerBefore)} MiB`,
  );
  expect(most - before).toBeLessThan(32);
  expect(runnerMost - runnerBefore).toBeLessThan(32);
  expect(floodedBytes).toBeLessThan(64 * 1024 * 1024);
  expect((await echo(calm, "still here")).toString()).toBe("still here");
  deaf.resume();
  expect([1006, 1013]).toContain((await closed)[0]);
  calm.close();
  await closing(calm);
});

test("a visitor who reads slowly gets all that its app sends", async () => {
  const socket = await visit();
  let bytes = 0;
  socket.on("message", (data: Buffer) => (bytes += data.length));
  socket.send("flood");
  for (let n = 0; n < 10; n += 1) {
    socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.resume();
    const had = bytes;
    await until(
      () => bytes,
      (now) => now > had,
    );
  }
  expect(socket.readyState).toBe(WebSocket.OPEN);
  socket.terminate();
  await until(openStreams, (open) => open === 0);
});

test("only the runner of a stream joins it", async () => {
  const join = (query: string, token: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${world.stack.port}/_signalbox/join?${query}`, {
        headers: { authorization: `Bearer ${token}` },
      });
      socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
      socket.on("open", () => resolve(101));
      socket.on("error", reject);
    });
  expect(await join("runnerId=r1&stream=1", `1.${"0".repeat(64)}`)).toBe(401);
  expect(await join("runnerId=r1&stream=1", "nothing")).toBe(401);
  expect(await join("runnerId=nobody&stream=1", `1.${"0".repeat(64)}`)).toBe(401);
});

test("visitors of joined WebSockets are told that their runner stops", async () => {
  const socket = await visit();
  await echo(socket, "hello");
  const closed = closing(socket);
  await runner.stop();
  expect((await closed)[0]).toBe(1001);
  await runner.start();
  const again = await visit();
  await echo(again, "back");
  const cut = closing(again);
  await runner.kill();
  expect([1006, 1011]).toContain((await cut)[0]);
});
