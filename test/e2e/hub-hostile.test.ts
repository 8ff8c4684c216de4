import { createServer, type Server } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { newRunner, writeRunner } from "../../functions/runners/registry.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { RUNNER_SECRET, until } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

let world: UpstashStack;
let backend: Server;

beforeAll(async () => {
  world = await onUpstash();
  backend = createServer((request, response) => response.end(request.url));
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
});

afterAll(async () => {
  backend.close();
  await world.stop();
});

async function connectApp(id: string): Promise<TunnelClient> {
  const runner = await connectRunner(world.stack, id, { web: (backend.address() as AddressInfo).port });
  await putRunnerApp(world.store, { app: id, host: `${id}.test`, runnerId: id, service: "web" });
  return runner;
}

const details = async (id: string): Promise<Record<string, unknown>> =>
  (await world.stack.api("GET", `/runners/${id}`)).body;

test("what a runner says of itself can't be too large for its hub to remember", async () => {
  const runner = await connectApp("talker");
  const long = "x".repeat(3_000_000);
  runner.event({ type: "runner-status", timestamp: long, payload: { status: "online" } });
  runner.event({ type: "project-metadata", timestamp: long });
  runner.event({ type: "runner-status", payload: { status: "online", load: 7 } });
  await until(
    () => details("talker"),
    (seen) => JSON.stringify(seen["status"] ?? null).includes('"load":7'),
  );
  expect(JSON.stringify(await details("talker")).length).toBeLessThan(20_000);
  expect(await world.stack.request("talker.test", "/after")).toMatchObject({ status: 200 });
  await runner.close();
});

test("a status that is too large keeps what placement goes by", async () => {
  const runner = await connectApp("busy");
  const streams = Object.fromEntries(
    Array.from({ length: 500 }, (_, n) => [`app-${n}/prod-260101-120000`, 3]),
  );
  const labels = { region: "eu" };
  runner.event({ type: "runner-status", payload: { streams, labels, deployments: 500, busy: 2 } });
  const { status } = await until(
    () => details("busy"),
    (seen) => JSON.stringify(seen["status"] ?? null).includes("truncated"),
  );
  expect(status).toMatchObject({ truncated: true, payload: { labels, deployments: 500, busy: 2 } });
  await runner.close();
});

test("a command that grows beyond a message on its way is refused, and the session goes on", async () => {
  const runner = await connectApp("small");
  const numbers = Array.from({ length: 600_000 }, () => "1e20").join(",");
  const body = `{"runnerId":"small","command":{"type":"write-file","payload":{"n":[${numbers}]}}}`;
  expect(body.length).toBeLessThan(CONTROL_MESSAGE_LIMIT_BYTES);
  const answer = await fetch(`${world.stack.origin}/_signalbox/commands`, {
    method: "POST",
    headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
    body,
  });
  expect(answer.status).toBe(413);
  expect(runner.commands).toEqual([]);
  await runner.close();
});

test("runners that are long gone don't hide one that is there", async () => {
  for (let n = 0; n < 510; n++) {
    const id = `gone-${String(n).padStart(4, "0")}`;
    await writeRunner(world.store, newRunner(id, Date.now()), 1);
  }
  const { port } = backend.address() as AddressInfo;
  const runner = await connectRunner(world.stack, "last", { "@runner": port });
  const seen = await until(
    async () => {
      const answer = await fetch(`${world.stack.origin}/_signalbox/status`, {
        headers: { authorization: `Bearer ${RUNNER_SECRET}` },
      });
      return z
        .object({ connections: z.array(z.object({ runnerId: z.string() })) })
        .parse(await answer.json());
    },
    // Those of the tests before have closed, which the registry may still be told.
    ({ connections }) => connections.length === 1,
  );
  expect(seen).toMatchObject({ connections: [{ runnerId: "last" }] });
  await world.stack.api("PUT", "/apps/placed", {});
  const target = { kind: "runner", source: { sha256: "0".repeat(64) }, start: "true" };
  const { body } = await world.stack.api("POST", "/apps/placed/deployments", { target });
  expect(body).toMatchObject({ target: { runnerId: "last" } });
  await runner.close();
});

test("a runner that talks much doesn't hurry a store that is down", async () => {
  await world.front.setMode("refuse");
  let attempts = 0;
  const down = createTcpServer((socket) => {
    attempts += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) =>
    down.listen(Number(new URL(world.front.url).port), "127.0.0.1", resolve),
  );
  const runner = await connectRunner(world.stack, "chatty");
  runner.onCommand = ({ id }) => {
    runner.event({ type: "ack", commandId: String(id) });
  };
  for (let n = 0; n < 200; n++) {
    await fetch(`${world.stack.origin}/_signalbox/commands`, {
      method: "POST",
      headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
      body: JSON.stringify({ runnerId: "chatty", command: { type: "fetch-logs" } }),
    });
  }
  // Each attempt is repeated once or twice; the pauses between them grow from one second.
  expect(attempts).toBeLessThan(50);
  await new Promise((resolve) => down.close(resolve));
  await world.front.setMode("ok");
  await until(
    () => details("chatty"),
    ({ state }) => state === "online",
  );
  await runner.close();
});
