import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { encodeFrame, joinFrames } from "../../functions/protocol/frames.ts";
import { SOCKET_BURST_BYTES } from "../../functions/protocol/limits.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { until } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

let world: UpstashStack;
let runner: TunnelClient;
let backend: WebSocketServer;
/** What the backend saw: close codes with reasons. */
const backendCloses: [number, string][] = [];

const HOST = "sockets.test";

beforeAll(async () => {
  world = await onUpstash();
  backend = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    maxPayload: 64 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has("chat") ? "chat" : false),
    verifyClient: ({ req }, done) => (req.url === "/refused" ? done(false, 403, "not you") : done(true)),
  });
  await once(backend, "listening");
  backend.on("connection", (socket) => {
    socket.on("close", (code, reason) => backendCloses.push([code, reason.toString()]));
    socket.on("error", () => undefined);
    socket.on("message", (data: Buffer, isBinary) => {
      const text = isBinary ? "" : data.toString();
      if (text.startsWith("close ")) return socket.close(Number(text.slice(6)), "as you wish");
      if (text === "vanish") return socket.terminate();
      socket.send(data, { binary: isBinary });
    });
  });
  runner = await connectRunner(world.stack, "r1", { web: (backend.address() as AddressInfo).port });
  await putRunnerApp(world.store, { app: "sockets", host: HOST, runnerId: "r1", service: "web" });
});

afterAll(async () => {
  await runner.close();
  for (const socket of backend.clients) socket.terminate();
  backend.close();
  await world.stop();
});

async function visit(protocols: string[] = [], path = "/"): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${world.stack.port}${path}`, protocols, {
    headers: { host: HOST },
    maxPayload: 64 * 1024 * 1024,
  });
  socket.on("error", () => undefined);
  await once(socket, "open");
  return socket;
}

async function echo(socket: WebSocket, message: string | Buffer): Promise<string | Buffer> {
  const answered = once(socket, "message") as Promise<[Buffer, boolean]>;
  socket.send(message);
  const [data, isBinary] = await answered;
  return isBinary ? data : data.toString();
}

async function closing(socket: WebSocket): Promise<[number, string]> {
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  return [code, reason.toString()];
}

describe("a WebSocket through the tunnel", () => {
  test("echoes text, binary, empty messages and what looks like the runner's own ping", async () => {
    const socket = await visit();
    for (const text of ["hello", "", "\ufeffwith a mark", "😀".repeat(40_000), "ping", "pong"]) {
      expect(await echo(socket, text)).toBe(text);
    }
    for (const size of [0, 1, 65_536, 65_537, 1024 * 1024]) {
      const bytes = randomBytes(size);
      expect(bytes.equals((await echo(socket, bytes)) as Buffer)).toBe(true);
    }
    // The hub answers its runner's ping itself while visitors are there, and the platform does afterwards.
    const pong = once(runner.socket, "message") as Promise<[Buffer, boolean]>;
    runner.socket.send("ping");
    expect((await pong)[0].toString()).toBe("pong");
    socket.close();
    await closing(socket);
  });

  test("agrees on the backend's subprotocol", async () => {
    const socket = await visit(["other", "chat"]);
    expect(socket.protocol).toBe("chat");
    socket.close(1000);
    await closing(socket);
  });

  test("that the backend refuses is refused in the same way", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${world.stack.port}/refused`, { headers: { host: HOST } });
    socket.on("error", () => undefined);
    const [, response] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
    expect(response.statusCode).toBe(403);
  });

  test.each([
    [1000, "done"],
    [4321, "my own reason"],
    [3000, ""],
  ])("carries the client's close code %i to the backend", async (code, reason) => {
    const socket = await visit();
    backendCloses.length = 0;
    socket.close(code, reason);
    expect(await closing(socket)).toEqual([code, reason]);
    await until(
      () => backendCloses[0],
      (seen) => seen !== undefined,
    );
    expect(backendCloses[0]).toEqual([code, reason]);
  });

  test("carries a close without a code", async () => {
    const socket = await visit();
    backendCloses.length = 0;
    socket.close();
    expect((await closing(socket))[0]).toBe(1005);
    await until(
      () => backendCloses[0],
      (seen) => seen !== undefined,
    );
    expect(backendCloses[0]?.[0]).toBe(1005);
  });

  test.each([1000, 1011, 4001])("carries the backend's close code %i to the client", async (code) => {
    const socket = await visit();
    const closed = closing(socket);
    socket.send(`close ${code}`);
    expect(await closed).toEqual([code, "as you wish"]);
  });

  test("ends at the client when the backend vanishes, and at the backend when the client does", async () => {
    const socket = await visit();
    const closed = closing(socket);
    socket.send("vanish");
    expect((await closed)[0]).toBe(1011);
    const other = await visit();
    await echo(other, "here");
    backendCloses.length = 0;
    other.terminate();
    await until(
      () => backendCloses[0],
      (seen) => seen !== undefined,
    );
    expect(backendCloses[0]?.[0]).toBe(1006);
  });

  test("takes messages of up to 16 MiB and closes with 1009 beyond, in both directions", async () => {
    const socket = await visit();
    const bytes = randomBytes(16 * 1024 * 1024);
    expect(bytes.equals((await echo(socket, bytes)) as Buffer)).toBe(true);
    const closed = closing(socket);
    socket.send(Buffer.concat([bytes, bytes.subarray(0, 1)]));
    expect((await closed)[0]).toBe(1009);
    const other = await visit();
    // workerd ends the TCP connection of a socket that never sent anything ten seconds after its close frames.
    await echo(other, "hello");
    const otherClosed = closing(other);
    const [last] = [...backend.clients].slice(-1);
    last?.send(Buffer.concat([bytes, bytes.subarray(0, 1)]));
    expect((await otherClosed)[0]).toBe(1009);
  });

  test("that a runner says countless empty parts to is closed, and the next one is there", async () => {
    const socket = await visit();
    await echo(socket, "hello");
    const stream = Math.max(
      ...runner.frames.filter(({ type }) => type === "open").map(({ stream }) => stream),
    );
    const part = encodeFrame({ type: "binary", stream, body: new Uint8Array(0), end: false });
    const closed = closing(socket);
    const parts = joinFrames(Array.from({ length: 100_000 }, () => part));
    const reset = until(
      () => runner.frames.filter((frame) => frame.type === "reset" && frame.stream === stream),
      (resets) => resets.length === 1,
    );
    for (let n = 0; n < 24; n += 1) runner.socket.send(parts);
    expect((await closed)[0]).toBe(1013);
    await reset;
    const other = await visit();
    expect(await echo(other, "hello")).toBe("hello");
    other.close();
    await closing(other);
  });

  test("that is sent more than any visitor may have yet to read is closed with 1013, and the next one is there", async () => {
    const socket = await visit();
    await echo(socket, "hello");
    const stream = Math.max(
      ...runner.frames.filter(({ type }) => type === "open").map(({ stream }) => stream),
    );
    const noise = randomBytes(512 * 1024);
    const message = joinFrames([encodeFrame({ type: "binary", stream, body: noise, end: true })]);
    socket.pause();
    const closes = (): number =>
      runner.frames.filter((frame) => frame.type === "close" && frame.stream === stream).length;
    for (let sentBytes = 0; closes() === 0; sentBytes += noise.length) {
      // A runner that holds nothing back.
      expect(sentBytes).toBeLessThan(8 * SOCKET_BURST_BYTES);
      await new Promise<void>((resolve) => runner.socket.send(message, () => resolve()));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.terminate();
    const other = await visit();
    expect(await echo(other, "hello")).toBe("hello");
    other.close();
    await closing(other);
  });

  test("is closed with 1012 when the runner's connection ends, and works again once it is back", async () => {
    const socket = await visit();
    await echo(socket, "hello");
    const closed = closing(socket);
    const { services } = runner;
    await runner.close();
    expect((await closed)[0]).toBe(1012);
    runner = await connectRunner(world.stack, "r1", Object.fromEntries(services));
    const again = await visit();
    expect(await echo(again, "back")).toBe("back");
    again.close();
    await closing(again);
  });
});
