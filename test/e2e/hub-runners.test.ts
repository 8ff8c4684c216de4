import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { WRITE_RECORD } from "../../functions/state/upstash-scripts.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { rawGet, rawRequest } from "../helpers/raw-http.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { RUNNER_SECRET, startTestStack, until } from "../helpers/stack.ts";
import {
  connectRunner,
  refusal,
  runnerSocket,
  type ConnectOptions,
  type TunnelClient,
} from "../helpers/tunnel-client.ts";

const PREVIOUS = "previous-runner-secret";
const LOST_AFTER_MS = 3_000;

let world: UpstashStack;
let backend: Server;
const connected: TunnelClient[] = [];
let count = 0;

beforeAll(async () => {
  world = await onUpstash({ RUNNER_SHARED_SECRET_PREVIOUS: PREVIOUS });
  backend = createServer((request, response) => {
    setTimeout(() => response.end(request.url), request.url === "/late" ? 60_000 : 0);
  });
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
});

afterAll(async () => {
  await world.stop();
  backend.closeAllConnections();
  backend.close();
});

afterEach(async () => {
  await Promise.all(connected.splice(0).map((runner) => runner.close()));
});

/** Each test has a runner of its own, since a hub remembers. */
const fresh = (): string => `runner-${++count}`;

async function connect(id: string, options: ConnectOptions = {}): Promise<TunnelClient> {
  const { port } = backend.address() as AddressInfo;
  const runner = await connectRunner(world.stack, id, { web: port }, options);
  connected.push(runner);
  return runner;
}

const details = async (id: string): Promise<Record<string, unknown>> =>
  (await world.stack.api("GET", `/runners/${id}`)).body;

function state(id: string, wanted: string): Promise<Record<string, unknown>> {
  return until(
    () => details(id),
    (seen) => seen["state"] === wanted,
  );
}

describe("a runner's socket", () => {
  test("takes the shared secret and the previous one, and nothing else", async () => {
    const id = fresh();
    await connect(id, { secret: PREVIOUS });
    expect((await state(id, "online"))["protocol"]).toBe("signalbox.runner.v1");
    for (const secret of ["wrong-secret-of-some-length", `sbr_${"0".repeat(64)}`, ""]) {
      const { status, body } = await refusal(runnerSocket(world.stack, id, { secret }));
      expect([status, JSON.parse(body).code]).toEqual([401, "unauthorized"]);
    }
  });

  test("refuses versions that aren't spoken here, with the reason", async () => {
    const { status, body } = await refusal(
      runnerSocket(world.stack, fresh(), { subprotocol: "signalbox.runner.v99" }),
    );
    expect(status).toBe(426);
    expect(JSON.parse(body).error).toContain("signalbox.runner.v1");
  });

  test.each(["", "-x", "a%2Fb", "x".repeat(129)])("refuses the id %s", async (id) => {
    const { status } = await refusal(runnerSocket(world.stack, id));
    expect(status).toBe(400);
  });

  test("of a second connection wins, and the first one's end doesn't evict it", async () => {
    const id = fresh();
    const first = await connect(id);
    const second = await connect(id);
    expect(await first.closed).toEqual({ code: 4009, reason: "replaced" });
    second.event({ type: "runner-status", load: 1 });
    const seen = await until(
      () => details(id),
      ({ status }) => typeof status === "object" && status !== null && "load" in status,
    );
    expect(seen).toMatchObject({ state: "online", epoch: 2, conflict: false });
    expect(seen["connections"]).toMatchObject([
      { epoch: 2, state: "online" },
      { epoch: 1, state: "replaced" },
    ]);
  });

  test("whose id is used by two runners is flagged", async () => {
    const id = fresh();
    for (let times = 0; times < 4; times++) await connect(id);
    expect(await state(id, "online")).toMatchObject({ conflict: true, epoch: 4 });
  });

  test("fails the requests of the connection that it replaces", async () => {
    const id = fresh();
    await connect(id);
    await putRunnerApp(world.store, { app: id, host: `${id}.test`, runnerId: id, service: "web" });
    const late = rawRequest(world.stack.port, rawGet(`${id}.test`, "/late"));
    await until(
      () => details(id),
      ({ openStreams }) => openStreams === 1,
    );
    await connect(id);
    const answer = await late;
    expect([answer.status, JSON.parse(answer.body.toString()).code]).toEqual([502, "stream_reset"]);
    expect((await rawRequest(world.stack.port, rawGet(`${id}.test`, "/now"))).body.toString()).toBe("/now");
  });

  test("that falls silent is lost, and one that pings isn't", async () => {
    // A stack of its own: no other test's runner says anything often enough.
    const hasty = await onUpstash({ RUNNER_LOST_AFTER_MS: String(LOST_AFTER_MS) });
    const view = async (id: string) => (await hasty.stack.api("GET", `/runners/${id}`)).body;
    try {
      const silent = await connectRunner(hasty.stack, "silent");
      const pinging = await connectRunner(hasty.stack, "pinging");
      const timer = setInterval(() => pinging.socket.send("ping"), 300);
      expect((await silent.closed).code).toBe(4008);
      const lost = await until(
        () => view("silent"),
        ({ state }) => state === "lost",
      );
      expect(lost).toMatchObject({ connected: false });
      const pinged = await until(
        () => view("pinging"),
        ({ lastHeartbeat, connectedAt }) =>
          Date.parse(String(lastHeartbeat)) - Date.parse(String(connectedAt)) > 1.5 * LOST_AFTER_MS,
      );
      expect(pinged).toMatchObject({ state: "online", epoch: 1 });
      clearInterval(timer);
      await pinging.close();
    } finally {
      await hasty.stop();
    }
  });

  test("that was accepted is connecting until its runner says something, and gets nothing to host", async () => {
    const id = fresh();
    const socket = runnerSocket(world.stack, id);
    try {
      expect(await state(id, "connecting")).toMatchObject({ connected: true, epoch: 1 });
      await until(
        () => world.store.readRecord("runner", id),
        (record) => record?.includes('"state":"connecting"') === true,
      );
      await world.stack.api("PUT", "/apps/hopeful", {});
      const refused = await world.stack.api("POST", "/apps/hopeful/deployments", {
        target: { kind: "runner", runnerId: id, source: { sha256: "0".repeat(64) }, start: "true" },
      });
      expect([refused.status, refused.body["detail"]]).toEqual([
        422,
        `Runner ${id} is connecting: connected.`,
      ]);
      socket.send(JSON.stringify({ type: "runner-status", payload: {} }));
      expect((await state(id, "online"))["connections"]).toMatchObject([{ epoch: 1, state: "online" }]);
    } finally {
      socket.close();
    }
  });

  test("that closes is offline with the reason, and online again when it comes back", async () => {
    const id = fresh();
    const runner = await connect(id);
    await runner.close();
    expect((await state(id, "offline"))["reason"]).toContain("1000");
    await connect(id);
    await state(id, "online");
  });
});

describe("a peer that breaks the protocol", () => {
  const hostile: [string, (socket: WebSocket) => void][] = [
    ["bytes that are no frame", (socket) => socket.send(Buffer.from("hello there, hub"))],
    ["an empty message", (socket) => socket.send(Buffer.alloc(0))],
    ["a stream that was never opened", (socket) => socket.send(Buffer.from([3, 1, 0, 0, 0, 9, 0, 0, 0, 0]))],
    [
      "credit beyond reason",
      (socket) => socket.send(Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 0, 4, 255, 255, 255, 255])),
    ],
    ["text that isn't JSON", (socket) => socket.send("{nope")],
    ["an event without a type", (socket) => socket.send("{}")],
    ["three megabytes at once", (socket) => socket.send(Buffer.alloc(3_000_000))],
  ];

  test.each(hostile)("by %s is cut off with 1002, and the hub lives", async (_name, send) => {
    const id = fresh();
    const runner = await connect(id);
    send(runner.socket);
    expect((await runner.closed).code).toBe(1002);
    await state(id, "offline");
    await connect(id);
    await state(id, "online");
  });

  test("by sending without credit is cut off", async () => {
    const id = fresh();
    const runner = await connect(id);
    await putRunnerApp(world.store, { app: id, host: `${id}.test`, runnerId: id, service: "web" });
    runner.intercept = (frame, send) => {
      if (frame.type !== "open") return true;
      const head = { status: 200, statusText: "", headers: [] };
      send({ type: "head", stream: frame.stream, head, body: new Uint8Array(1024 * 1024 + 1), end: false });
      return true;
    };
    const answer = await rawRequest(world.stack.port, rawGet(`${id}.test`, "/"));
    expect(answer.status).toBe(502);
    expect((await runner.closed).code).toBe(1002);
  });
});

describe("a runner's own credential", () => {
  test("is shown once, stored as a hash, works for its runner only, and ends with its revocation", async () => {
    const id = fresh();
    const issued = await world.stack.api("POST", `/runners/${id}/credentials`);
    expect(issued.status).toBe(201);
    const secret = String(issued.body["secret"]);
    expect(await world.store.readRecord("runner", id)).not.toContain(secret);
    const runner = await connect(id, { secret });
    expect(await state(id, "online")).toMatchObject({ ownCredential: true });
    const other = await refusal(runnerSocket(world.stack, fresh(), { secret }));
    expect(other.status).toBe(401);
    expect((await world.stack.api("DELETE", `/runners/${id}/credentials`)).status).toBe(200);
    expect((await runner.closed).code).toBe(4003);
    expect((await refusal(runnerSocket(world.stack, id, { secret }))).status).toBe(401);
    await connect(id);
  });
});

describe("the control API", () => {
  test("lists runners in pages and forgets those that are gone", async () => {
    const ids = [fresh(), fresh(), fresh()];
    const runners = await Promise.all(ids.map((id) => connect(id)));
    await Promise.all(ids.map((id) => state(id, "online")));
    const { body } = await world.stack.api("GET", `/runners?limit=1&after=${ids[0]}`);
    expect(body["runners"]).toHaveLength(1);
    const refused = await world.stack.api("DELETE", `/runners/${ids[0]}`);
    expect([refused.status, refused.body["code"]]).toEqual([409, "runner_online"]);
    await runners[0]?.close();
    await state(ids[0] ?? "", "offline");
    expect((await world.stack.api("DELETE", `/runners/${ids[0]}`)).status).toBe(200);
    const gone = await world.stack.api("GET", `/runners/${ids[0]}`);
    expect([gone.status, gone.body["code"]]).toEqual([404, "unknown_runner"]);
    const again = await connect(ids[0] ?? "");
    expect(await state(ids[0] ?? "", "online")).toMatchObject({ epoch: 2 });
    await again.close();
  });

  test("sends commands, and waits for their results when asked", async () => {
    const id = fresh();
    const runner = await connect(id);
    runner.onCommand = (command) => {
      runner.event({ type: "ack", commandId: command["id"] });
      if (command["type"] === "read-file") {
        runner.event({ type: "log-chunk", commandId: command["id"] });
        runner.event({ type: "file-content", commandId: command["id"], content: "hello" });
      }
      if (command["type"] === "start-build") runner.event({ type: "error", commandId: command["id"] });
    };
    const call = (type: string, query = "") =>
      world.stack.api("POST", `/runners/${id}/commands${query}`, { type, projectId: "p", payload: { a: 1 } });
    const read = await call("read-file", "?wait=5");
    expect(read).toMatchObject({
      status: 200,
      body: { ok: true, event: { type: "file-content", content: "hello" } },
    });
    expect(runner.commands[0]).toMatchObject({ type: "read-file", projectId: "p", payload: { a: 1 } });
    expect((await call("start-build", "?wait=5")).body).toMatchObject({ event: { type: "error" } });
    expect((await call("list-files")).body).toMatchObject({ ok: true });
    expect(await call("list-files", "?wait=0.2")).toMatchObject({
      status: 504,
      body: { code: "command_timeout" },
    });
    const lost = call("list-files", "?wait=20");
    await until(
      () => runner.commands.length,
      (length) => length === 5,
    );
    await runner.close();
    expect(await lost).toMatchObject({ status: 502 });
    expect(await call("list-files")).toMatchObject({ status: 503, body: { code: "runner_offline" } });
    expect((await details(id))["recentEvents"]).toMatchObject([
      { type: "ack" },
      { type: "ack" },
      { type: "ack" },
      { type: "error" },
      { type: "ack" },
      { type: "file-content" },
      { type: "ack" },
    ]);
  });

  test("drains a runner: no new work, everything else goes on", async () => {
    const id = fresh();
    const runner = await connect(id);
    expect((await world.stack.api("POST", `/runners/${id}/drain`)).body).toMatchObject({ state: "draining" });
    const build = await world.stack.api("POST", `/runners/${id}/commands`, { type: "start-build" });
    expect([build.status, build.body["code"]]).toEqual([503, "runner_draining"]);
    expect((await world.stack.api("POST", `/runners/${id}/commands`, { type: "fetch-logs" })).status).toBe(
      200,
    );
    const lifted = await world.stack.api("POST", `/runners/${id}/drain`, { draining: false });
    expect(lifted.body).toMatchObject({ state: "online" });
    runner.event({ type: "runner-status", draining: true });
    await state(id, "draining");
  });

  test("tells a runner of its drain, at once and whenever it connects, until that is lifted", async () => {
    const id = fresh();
    const drains = (runner: TunnelClient) =>
      runner.commands.filter(({ type }) => type === "drain").map(({ payload }) => payload);
    const runner = await connect(id);
    await world.stack.api("POST", `/runners/${id}/drain`);
    await until(
      () => drains(runner),
      (seen) => seen.length === 1,
    );
    // As one that never heard of such a message answers it.
    runner.event({ type: "error", commandId: runner.commands[0]?.["id"], code: "unknown_command" });
    const again = await connect(id);
    await world.stack.api("POST", `/runners/${id}/drain`, { draining: false });
    await until(
      () => drains(again),
      (seen) => seen.length === 2,
    );
    expect([drains(runner), drains(again)]).toEqual([
      [{ draining: true }],
      [{ draining: true }, { draining: false }],
    ]);
    const undrained = await connect(id);
    const old = await connect(fresh(), { subprotocol: null });
    await world.stack.api("POST", `/runners/runner-${count}/drain`);
    await world.stack.api("POST", `/runners/${id}/commands`, { type: "fetch-logs" });
    await until(
      () => undrained.commands.length,
      (length) => length === 1,
    );
    expect([drains(undrained), drains(old)]).toEqual([[], []]);
  });

  test("doesn't take a drain for a command, from nobody", async () => {
    const id = fresh();
    const runner = await connect(id);
    const sent = await world.stack.api("POST", `/runners/${id}/commands`, { type: "drain" });
    expect(sent.status).toBe(400);
    const relayed = await fetch(`${world.stack.origin}/_signalbox/commands`, {
      method: "POST",
      headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
      body: JSON.stringify({ runnerId: id, command: { type: "drain" } }),
    });
    expect(relayed.status).toBe(400);
    expect(runner.commands).toEqual([]);
  });

  test("streams sources to the runner", async () => {
    const id = fresh();
    const runner = await connect(id);
    const received: Buffer[] = [];
    const sink = createServer((request, response) => {
      request.on("data", (chunk: Buffer) => received.push(chunk));
      request.on("end", () => {
        const bytes = Buffer.concat(received).length;
        response.end(JSON.stringify({ sha256: "ab".repeat(32), bytes, path: request.url }));
      });
    });
    await new Promise<void>((resolve) => sink.listen(0, "127.0.0.1", resolve));
    runner.services.set("@runner", (sink.address() as AddressInfo).port);
    const put = (type: string, body: Buffer) =>
      fetch(`${world.stack.origin}/_signalbox/api/v1/runners/${id}/sources`, {
        method: "PUT",
        headers: { authorization: "Bearer control-token-for-tests", "content-type": type },
        body: new Uint8Array(body),
      });
    const sent = await put("application/gzip", Buffer.alloc(5_000_000, 7));
    expect([sent.status, await sent.json()]).toEqual([200, { sha256: "ab".repeat(32), bytes: 5_000_000 }]);
    expect((await put("application/json", Buffer.from("{}"))).status).toBe(415);
    runner.services.delete("@runner");
    expect((await put("application/gzip", Buffer.from("x"))).status).toBe(502);
    await runner.close();
    expect((await put("application/gzip", Buffer.from("x"))).status).toBe(503);
    sink.close();
  });
});

describe("the registry", () => {
  test("isn't written for heartbeats, status events or commands", async () => {
    const id = "unwritten";
    const runner = await connect(id);
    await until(
      () => world.store.readRecord("runner", id),
      (record) => record?.includes('"state":"online"') === true,
    );
    // Of its own: another test's runner may still be leaving.
    const commands: string[][] = [];
    const unhook = world.front.onCommand((command, phase) => {
      if (phase === "before" && command.some((part) => part.includes(id))) commands.push(command);
    });
    for (let beat = 0; beat < 20; beat++) {
      runner.socket.send("ping");
      runner.event({ type: "log-chunk", data: "x" });
      runner.event({ type: "runner-status", beat });
    }
    await world.stack.api("POST", `/runners/${id}/commands`, { type: "fetch-logs" });
    // The command's entry in the audit log.
    expect(commands).toHaveLength(1);
    await until(
      () => details(id),
      ({ status }) => JSON.stringify(status ?? null).includes('"beat":19'),
    );
    expect(commands.filter(([, script]) => script === WRITE_RECORD)).toEqual([]);
    unhook();
  });

  test("catches up after an outage, in which runners connect all the same", async () => {
    const id = fresh();
    await world.front.setMode("refuse");
    await connect(id);
    const issued = await world.stack.api("POST", `/runners/${id}/credentials`);
    expect([issued.status, issued.body["code"]]).toEqual([503, "store_unavailable"]);
    await world.front.setMode("ok");
    await state(id, "online");
  });
});

test("failed logins are limited, and the right secret still gets in", async () => {
  const id = fresh();
  const statuses: number[] = [];
  for (let attempt = 0; attempt < 70; attempt++) {
    const response = await fetch(`${world.stack.origin}/_signalbox/socket?runnerId=${id}`, {
      headers: { authorization: "Bearer wrong-secret" },
    });
    statuses.push(response.status);
    await response.body?.cancel();
  }
  expect(statuses[0]).toBe(401);
  expect(statuses.at(-1)).toBe(429);
  await connect(id);
});

test("without a shared secret the socket names the setting", async () => {
  const stack = await startTestStack({ runnerSecret: null });
  const { status, body } = await refusal(runnerSocket(stack, "r1"));
  expect(status).toBe(503);
  expect(JSON.parse(body).detail).toContain("RUNNER_SHARED_SECRET");
  await stack.stop();
});

test("a runner comes back after workerd was killed", async () => {
  const id = fresh();
  const runner = await connect(id);
  await state(id, "online");
  await world.stack.restart();
  await runner.closed;
  await until(
    () => details(id),
    ({ state }) => state === "offline",
  );
  await connect(id);
  expect(await state(id, "online")).toMatchObject({ epoch: 2 });
});
