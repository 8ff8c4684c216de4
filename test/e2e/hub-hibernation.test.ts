import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

/** workerd puts a hub to sleep that has had nothing to do for ten seconds and a little more, and nothing tells when. */
const SLEEPY_MS = 14_000;

let world: UpstashStack;
let backend: WebSocketServer;

beforeAll(async () => {
  world = await onUpstash();
  backend = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(backend, "listening");
  backend.on("connection", (socket) => {
    socket.on("error", () => undefined);
    socket.on("message", (data: Buffer) => socket.send(data.toString()));
  });
});

afterAll(async () => {
  for (const socket of backend.clients) socket.terminate();
  backend.close();
  await world.stop();
});

interface Visit {
  runner: TunnelClient;
  visitor: WebSocket;
  /** The visitor's socket where it ends. */
  served: WebSocket;
}

/** A runner of its own, and so a hub, with one visitor on a WebSocket. */
async function visit(id: string): Promise<Visit> {
  const { port } = backend.address() as AddressInfo;
  const runner = await connectRunner(world.stack, id, { web: port });
  await putRunnerApp(world.store, { app: id, host: `${id}.test`, runnerId: id, service: "web" });
  const served = new Promise<WebSocket>((resolve) => {
    backend.on("connection", (socket, { url }) => {
      if (url === `/${id}`) resolve(socket);
    });
  });
  const visitor = new WebSocket(`ws://127.0.0.1:${world.stack.port}/${id}`, {
    headers: { host: `${id}.test` },
  });
  visitor.on("error", () => undefined);
  await once(visitor, "open");
  // workerd keeps the connection of a client that never said anything for ten seconds after its close.
  await echo(visitor, "before");
  return { runner, visitor, served: await served };
}

async function echo(socket: WebSocket, message: string): Promise<string> {
  const answered = once(socket, "message") as Promise<[Buffer]>;
  socket.send(message);
  return (await answered)[0].toString();
}

async function details(id: string): Promise<Record<string, unknown>> {
  return (await world.stack.api("GET", `/runners/${id}`)).body;
}

/**
 * Visits a hub, lets it fall asleep and does what should wake it; once more and longer where a busy machine had kept it
 * from sleeping, which shows in when it awoke.
 */
async function wakes(name: string, how: (visited: Visit) => Promise<void>): Promise<Visit & { id: string }> {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const id = `${name}-${attempt}`;
    const visited = await visit(id);
    const { hubAwakeSince } = await details(id);
    await new Promise((resolve) => setTimeout(resolve, attempt * SLEEPY_MS));
    await how(visited);
    if ((await details(id))["hubAwakeSince"] !== hubAwakeSince) return { ...visited, id };
    await visited.runner.close();
  }
  throw new Error(`No hub of ${name} slept.`);
}

describe.concurrent("a visitor's WebSocket whose hub hibernates", () => {
  test("carries what the visitor says, with credit and numbers as they were", async ({ expect }) => {
    const { id, runner } = await wakes("said", async ({ visitor }) => {
      expect(await echo(visitor, "after")).toBe("after");
    });
    expect((await details(id))["openStreams"]).toBe(1);
    expect(runner.socket.readyState).toBe(WebSocket.OPEN);
    await runner.close();
  });

  test("carries what the service says", async ({ expect }) => {
    const { id, runner } = await wakes("heard", async ({ visitor, served }) => {
      const heard = once(visitor, "message") as Promise<[Buffer]>;
      served.send("from behind");
      expect((await heard)[0].toString()).toBe("from behind");
    });
    expect((await details(id))["openStreams"]).toBe(1);
    await runner.close();
  });

  test("ends with the service's close", async ({ expect }) => {
    const { runner } = await wakes("closed", async ({ visitor, served }) => {
      const closed = once(visitor, "close") as Promise<[number, Buffer]>;
      served.close(4002, "from behind");
      const [code, reason] = await closed;
      expect([code, reason.toString()]).toEqual([4002, "from behind"]);
    });
    expect(runner.socket.readyState).toBe(WebSocket.OPEN);
    await runner.close();
  });

  test("ends with its runner's connection", async ({ expect }) => {
    const { id } = await wakes("ended", async ({ runner, visitor }) => {
      const closed = once(visitor, "close");
      runner.socket.terminate();
      expect((await closed)[0]).toBe(1012);
    });
    expect((await details(id))["state"]).toBe("offline");
  });
});
