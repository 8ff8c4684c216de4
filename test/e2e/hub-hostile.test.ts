import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { WRITE_RECORD } from "../../functions/state/upstash-scripts.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, until } from "../helpers/stack.ts";
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

test("a runner's status and events are stored cut to size", async () => {
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

test("a close reason is stored without control characters", async () => {
  const runner = await connectApp("colourful");
  runner.socket.close(4_500, "bye\u001b[2J\u0007\u202e");
  const { reason } = await until(
    () => details("colourful"),
    (seen) => seen["state"] === "offline",
  );
  expect(reason).toBe("its connection closed (4500 bye␇\ufffd)");
});

test("a runner's API that answers like its hub can't put long or unprintable text into a problem", async () => {
  const liar = createServer((_request, response) => {
    response.writeHead(503, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ code: "runner_offline", detail: `\u001b]0;x\u0007${"y".repeat(10_000)}` }));
  });
  await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
  const runner = await connectRunner(world.stack, "liar", {
    "@runner": (liar.address() as AddressInfo).port,
  });
  await until(
    () => details("liar"),
    (seen) => seen["state"] === "online",
  );
  const upload = await fetch(`${world.stack.origin}/_signalbox/api/v1/runners/liar/sources`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
    body: "x",
  });
  expect(upload.status).toBe(503);
  const { detail } = (await upload.json()) as { detail: string };
  expect(detail).toMatch(/^y+…$/);
  expect(detail.length).toBe(500);
  await runner.close();
  liar.close();
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

test("a runner that talks much doesn't hurry a store that takes nothing of it", async () => {
  let attempts = 0;
  // Only the registry is away: the commands' entries in the audit log are a write each, whatever the runner says.
  const unhook = world.front.onCommand((command, phase) => {
    if (phase !== "before" || command[1] !== WRITE_RECORD) return;
    attempts += 1;
    throw new Error("The front breaks off.");
  });
  const runner = await connectRunner(world.stack, "chatty");
  runner.onCommand = ({ id }) => {
    runner.event({ type: "ack", commandId: String(id) });
  };
  for (let n = 0; n < 200; n++) {
    const sent = await fetch(`${world.stack.origin}/_signalbox/commands`, {
      method: "POST",
      headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
      body: JSON.stringify({ runnerId: "chatty", command: { type: "fetch-logs" } }),
    });
    expect(sent.status).toBe(200);
  }
  // Each attempt is repeated once or twice; the pauses between them grow from one second.
  expect(attempts).toBeGreaterThan(0);
  expect(attempts).toBeLessThan(50);
  unhook();
  await until(
    () => details("chatty"),
    ({ state }) => state === "online",
  );
  await runner.close();
});
