import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import type { ConnectionTimings } from "../../runner/connection/connection.ts";
import { startHub, type Hub, type HubConnection, type HubOptions } from "../helpers/hub-client.ts";
import { startLocalService } from "../helpers/local-service.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { until } from "../helpers/stack.ts";
import { startUnrulyProxy } from "../helpers/unruly-proxy.ts";

const fixture = await bundleWithServices();
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});
afterAll(() => fixture.remove());

async function hubAndRunner(
  options: HubOptions = {},
  timings: Partial<ConnectionTimings> = {},
  more: {
    env?: Record<string, string>;
    args?: string[];
    services?: Record<string, number>;
    proxyPort?: number;
  } = {},
): Promise<{ hub: Hub; runner: RunnerProcess }> {
  const hub = await startHub(options);
  ends.push(() => hub.close());
  const runner = await startRunner(
    { url: hub.url.replace(String(hub.port), String(more.proxyPort ?? hub.port)) },
    {
      command: runtimeCommand("node", fixture.bundle),
      ...(more.services === undefined ? {} : { services: more.services }),
      ...(more.args === undefined ? {} : { args: more.args }),
      env: { TEST_TIMINGS: JSON.stringify(timings), ...more.env },
    },
  );
  ends.push(() => runner.remove());
  return { hub, runner };
}

const quick = { reconnectFirstMs: 50, reconnectLimitMs: 100 };

async function status(url: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url);
  return { status: response.status, body: await response.json() };
}

test("a start looks as the guide shows it, and health and readiness answer exactly so", async () => {
  const { hub, runner } = await hubAndRunner({}, quick, { env: { API_BASE_URL: "https://web.example/" } });
  const link = await hub.connection(0);
  await runner.line("Heartbeat sent");
  const health = await runner.healthUrl();
  expect(runner.lines).toEqual([
    `📁 Creating workspace directory: ${runner.workspace}`,
    `✅ Health endpoint listening on port ${new URL(health).port}`,
    `[runner] workspace root: ${runner.workspace}`,
    "[runner] api base url: https://web.example",
    "[runner] runner id: runner-under-test",
    `🤝 Connecting to broker: ${hub.url}`,
    "🎉 Connected to broker!",
    "[runner] ⏱️  Heartbeat sent: runner-under-test",
  ]);
  const answer = await fetch(`${health}/health`);
  const text = await answer.text();
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json"]);
  expect(text).toMatch(
    /^\{"status":"healthy","runner":\{"id":"runner-under-test","connected":true,"workspace":"[^"]+","workspaceExists":true\},"uptime":[\d.]+,"timestamp":"\d{4}-[^"]+Z"/,
  );
  expect(await status(`${health}/ready`)).toEqual({
    status: 200,
    body: { ready: true, runnerId: "runner-under-test" },
  });
  expect(await status(`${health}/other`)).toEqual({ status: 404, body: { error: "Not found" } });
  expect((await fetch(`${health}/health`, { method: "POST" })).status).toBe(404);
  expect(link.runnerId).toBe("runner-under-test");
  const heartbeat = await link.event("runner-status");
  expect(heartbeat["payload"]).toMatchObject({ status: "online", draining: false, streams: {} });
});

test("a lost socket shows in readiness within a second, and health stays 200", async () => {
  const { hub, runner } = await hubAndRunner({}, quick);
  const health = await runner.healthUrl();
  const ready = (wanted: number) =>
    until(
      () => status(`${health}/ready`),
      (answer) => answer.status === wanted,
    );
  const took: number[] = [];
  let answer = await ready(200);
  // A busy machine adds to each look, and never takes from one: the quickest of three is the runner's own.
  for (let n = 0; n < 3; n += 1) {
    hub.refuse = null;
    await ready(200);
    hub.refuse = { status: 503 };
    const cutAt = Date.now();
    hub.connections.at(-1)?.socket.terminate();
    answer = await ready(503);
    took.push(Date.now() - cutAt);
  }
  expect(Math.min(...took)).toBeLessThan(1_000);
  expect(answer.body).toEqual({ ready: false, runnerId: "runner-under-test" });
  expect(await status(`${health}/health`)).toMatchObject({
    status: 200,
    body: { status: "healthy", runner: { connected: false } },
  });
});

test("heartbeats and pings keep their intervals", async () => {
  const { hub } = await hubAndRunner(
    {},
    { pingIntervalMs: 100 },
    { args: ["runner", "--heartbeatInterval", "1000"] },
  );
  const link = await hub.connection(0);
  const beats = (): number[] =>
    link.events.filter(({ type }) => type === "runner-status").map(({ timestamp }) => Date.parse(timestamp));
  // The first one greets, the next comes when the interval has it.
  await until(beats, ({ length }) => length === 4);
  const times = beats().slice(1);
  const pauses = times.slice(1).map((at, index) => at - (times[index] ?? 0));
  // A busy machine makes one late, and so the next pause shorter: together they take no less.
  expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBeGreaterThan(900 * pauses.length);
  expect(Math.min(...pauses)).toBeLessThan(2_000);
  expect(link.texts.length).toBeGreaterThan(12);
});

test("a socket that falls silent is given up; pongs alone keep it", async () => {
  // Ten pings: what answers isn't taken for silent because a busy machine had no time for one of them.
  const silence = { ...quick, pingIntervalMs: 300, silenceLimitMs: 3_000 };
  const [answering, deaf] = await Promise.all([
    hubAndRunner({}, silence),
    hubAndRunner({ answersPings: false }, silence),
  ]);
  await answering.hub.connection(0);
  await deaf.hub.connection(1);
  await deaf.runner.line(/nothing was heard for [3-9] s/);
  await until(
    () => answering.hub.connections[0]?.texts.length ?? 0,
    (pings) => pings > 10,
  );
  expect(answering.hub.connections.length).toBe(1);
});

test("pauses between attempts double with jitter, and only a stable connection starts them over", async () => {
  const { hub, runner } = await hubAndRunner(
    {},
    { reconnectFirstMs: 40, reconnectLimitMs: 1_000, stableMs: 1_000, pingIntervalMs: 100 },
  );
  const pauses = (): number[] =>
    runner.lines.flatMap((line) => {
      const seconds = /trying again in ([\d.]+) s/.exec(line)?.[1];
      return seconds === undefined ? [] : [Number(seconds)];
    });
  for (let n = 0; n < 8; n += 1) {
    const link = await hub.connection(n);
    link.socket.terminate();
  }
  const link = await hub.connection(8);
  // What the runner writes comes another way than its connection, perhaps later.
  await until(pauses, ({ length }) => length === 8);
  // Full jitter has no lower bound; that all of four pauses of up to a second were below 40 ms would be a wonder.
  expect(Math.max(...pauses().slice(4))).toBeGreaterThan(0.04);
  // By the runner's own clock the connection is stable by then.
  await until(
    () => link.texts.length,
    (pings) => pings >= 13,
  );
  link.socket.terminate();
  await hub.connection(9);
  const last = await until(pauses, ({ length }) => length === 9);
  expect(last.at(-1)).toBeLessThanOrEqual(0.1);
});

test("a wrong secret is reported with its reason and tried again", async () => {
  const { hub, runner } = await hubAndRunner({}, quick, {
    env: { RUNNER_SHARED_SECRET: "wrong-secret-here" },
  });
  expect(await runner.line("Broker refused")).toContain(
    "HTTP 401: the secret is wrong (RUNNER_SHARED_SECRET)",
  );
  await until(
    () => hub.attempts.length,
    (attempts) => attempts >= 3,
  );
  expect(runner.lines.join("\n")).not.toContain("wrong-secret-here");
});

test("a hub that speaks no common version is reported with what it says", async () => {
  const { hub, runner } = await hubAndRunner({ path: "/nowhere" }, quick);
  hub.refuse = { status: 426, body: JSON.stringify({ error: "speaks v9 only" }) };
  expect(await runner.line(/HTTP 426/)).toContain("speaks v9 only");
});

test("a replaced runner says so, and comes back later and not at once", async () => {
  const { hub, runner } = await hubAndRunner({}, { ...quick, replacedDelayMs: 1_500 });
  const link = await hub.connection(0);
  const closedAt = Date.now();
  link.socket.close(4009, "replaced");
  await runner.line("Replaced: another runner connected with the same id (runner-under-test)");
  await hub.connection(1);
  expect((hub.attempts[1]?.atMs ?? 0) - closedAt).toBeGreaterThan(1_400);
});

test("commands are acknowledged and answered; unknown and failing ones are errors", async () => {
  const { hub } = await hubAndRunner({}, quick);
  const link = await hub.connection(0);
  link.command("start-build", { ms: 50 }, "b1");
  link.command("no-such-thing", {}, "x1");
  link.command("start-build", { fail: true }, "b2");
  const completed = await link.event("build-completed");
  expect(completed).toMatchObject({ commandId: "b1", projectId: "project-1" });
  expect(await link.event("ack", ({ commandId }) => commandId === "b1")).toBeDefined();
  expect(await link.event("error", ({ commandId }) => commandId === "x1")).toMatchObject({
    code: "unknown_command",
  });
  expect(await link.event("error", ({ commandId }) => commandId === "b2")).toMatchObject({
    code: "internal",
  });
});

test("events that are raised while there is no connection come with the next one", async () => {
  const { hub, runner } = await hubAndRunner({}, quick);
  const first = await hub.connection(0);
  const gate = join(runner.workspace, "gate");
  first.command("start-build", { gate }, "b1");
  await first.event("ack");
  hub.refuse = { status: 503 };
  first.socket.terminate();
  await runner.line("Disconnected");
  await writeFile(gate, "");
  await runner.line("a build is over");
  hub.refuse = null;
  const second = await hub.connection(1);
  expect(await second.event("build-completed")).toMatchObject({ commandId: "b1" });
});

test("a runner that the hub drains says so and refuses new work, until it is told otherwise or connects anew", async () => {
  const { hub, runner } = await hubAndRunner({}, quick);
  const first = await hub.connection(0);
  const health = await runner.healthUrl();
  const drainedBy = async (link: HubConnection, draining: boolean, id: string): Promise<void> => {
    link.command("drain", { draining }, id);
    await link.event("ack", ({ commandId }) => commandId === id);
    await link.event("runner-status", ({ payload }) =>
      JSON.stringify(payload).includes(`"drainRequested":${draining}`),
    );
    expect(await status(`${health}/health`)).toMatchObject({
      body: { draining: false, drainRequested: draining },
    });
    expect((await status(`${health}/ready`)).status).toBe(200);
  };
  await drainedBy(first, true, "d1");
  first.command("start-build", {}, "b1");
  expect(await first.event("error", ({ commandId }) => commandId === "b1")).toMatchObject({
    code: "draining",
    error: "An operator drains this runner: it takes no new work.",
  });
  await drainedBy(first, false, "d2");
  first.command("start-build", {}, "b2");
  await first.event("build-completed", ({ commandId }) => commandId === "b2");
  await drainedBy(first, true, "d3");

  first.socket.terminate();
  const second = await hub.connection(1);
  const greeting = await second.event("runner-status");
  expect(greeting["payload"]).toMatchObject({ drainRequested: false });
  second.command("start-build", {}, "b3");
  await second.event("build-completed", ({ commandId }) => commandId === "b3");
});

test("SIGTERM shuts down in order: work finishes, heartbeats go on, new work is refused, requests are served", async () => {
  const local = await startLocalService();
  ends.push(() => local.close());
  const { hub, runner } = await hubAndRunner(
    {},
    { ...quick, heartbeatIntervalMs: 100 },
    { services: { app: local.port } },
  );
  const link = await hub.connection(0);
  const gate = join(runner.workspace, "gate");
  link.command("start-build", { gate }, "b1");
  await link.event("ack");
  const socket = link.streams.request({ path: "/ws", webSocket: true });
  await socket.head();
  runner.signal("SIGTERM");
  await link.event("runner-status", ({ payload }) => JSON.stringify(payload).includes('"draining":true'));
  const beats = link.events.length;
  link.command("start-build", {}, "b2");
  expect(await link.event("error", ({ commandId }) => commandId === "b2")).toMatchObject({
    code: "draining",
  });
  const late = link.streams.request({ path: "/held" });
  expect((await link.streams.request({ path: "/meanwhile" }).body()).toString()).toBe("GET /meanwhile ");
  await until(
    () => link.events.length,
    (length) => length > beats + 5,
  );
  await writeFile(gate, "");
  expect(await link.event("build-completed")).toMatchObject({ commandId: "b1" });
  expect(await socket.over()).toMatchObject({ code: 1001 });
  const refused = link.streams.request({ path: "/too-late" });
  await expect(refused.head()).rejects.toThrow("reset: draining");
  local.release();
  expect((await late.body()).toString()).toBe("held");
  expect(await link.end()).toMatchObject({ code: 1001 });
  expect(await runner.exited).toBe(0);
});

test("a second signal doesn't wait", async () => {
  const { hub, runner } = await hubAndRunner({}, quick);
  const link = await hub.connection(0);
  link.command("start-build", { ms: 60_000 }, "b1");
  await link.event("ack");
  runner.signal("SIGTERM");
  await runner.line("shutting down");
  runner.signal("SIGTERM");
  expect(await runner.exited).toBe(1);
  expect(link.events.filter(({ type }) => type === "build-completed")).toEqual([]);
});

test("a drain that work doesn't let finish ends at its limit", async () => {
  const { hub, runner } = await hubAndRunner({}, quick, { env: { RUNNER_DRAIN_TIMEOUT: "500" } });
  const link = await hub.connection(0);
  link.command("start-build", { ms: 60_000 }, "b1");
  await link.event("ack");
  runner.signal("SIGINT");
  expect(await runner.exited).toBe(0);
  expect(runner.lines).toContain("[runner] 1 pieces of work didn't finish in time");
});

test("a hundred cuts, of every kind, and each time it is back", async () => {
  const local = await startLocalService();
  const hub = await startHub();
  const proxy = await startUnrulyProxy(hub.port);
  ends.push(
    () => hub.close(),
    () => proxy.close(),
    () => local.close(),
  );
  const timings = { reconnectFirstMs: 20, reconnectLimitMs: 40, pingIntervalMs: 100, silenceLimitMs: 400 };
  const runner = await startRunner(
    { url: `ws://127.0.0.1:${proxy.port}/_signalbox/socket` },
    {
      command: runtimeCommand("node", fixture.bundle),
      services: { app: local.port },
      env: { TEST_TIMINGS: JSON.stringify(timings) },
    },
  );
  ends.push(() => runner.remove());
  const kinds = ["reset", "end", "stall", "corrupt"] as const;
  const startedAt = Date.now();
  const slowest: Record<string, number> = {};
  const disconnects = (): number => runner.lines.filter((line) => line.includes("Disconnected")).length;
  const connected = async (): Promise<HubConnection> => {
    const link = await until(
      () => hub.connections.at(-1),
      (last) => last?.closed === null,
    );
    if (link === undefined) throw new Error("There is no connection.");
    return link;
  };
  /** A busy machine's pause can be as long as the silence that a connection is given up for: then the next one is asked. */
  const ask = async <T>(question: (link: HubConnection) => Promise<T>): Promise<T> => {
    for (;;) {
      const link = await connected();
      try {
        return await question(link);
      } catch (error) {
        if (link.closed === null) throw error;
      }
    }
  };
  for (let n = 0; n < 100; n += 1) {
    const { link, running } = await ask(async (link) => {
      const running = link.streams.request({ path: "/blocks?count=400" });
      await running.head();
      return { link, running };
    });
    const kind = kinds[n % kinds.length] ?? "reset";
    const count = hub.connections.length;
    const noticed = disconnects();
    const cutAt = Date.now();
    if (kind === "reset" || kind === "end") proxy.cut(kind);
    else {
      proxy.mode = kind;
      void running.body().catch(() => undefined);
      if (kind === "corrupt") link.command("runner-health-check");
      await until(disconnects, (seen) => seen > noticed);
      proxy.mode = "pass";
      proxy.cut("reset");
    }
    await until(
      () => hub.connections.length,
      (connections) => connections > count,
    );
    slowest[kind] = Math.max(slowest[kind] ?? 0, Date.now() - cutAt);
    const answer = await ask((next) => next.streams.request({ path: `/after-${n}` }).body());
    expect(answer.toString()).toBe(`GET /after-${n} `);
  }
  console.log(
    `100 cuts in ${((Date.now() - startedAt) / 1000).toFixed(1)} s; slowest return in ms:`,
    slowest,
  );
  expect(Math.max(...Object.values(slowest))).toBeLessThan(5_000);
  await until(
    () => local.broken.length,
    (broken) => broken >= 100,
  );
});
