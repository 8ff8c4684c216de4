import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AUTH_FAILURES_PER_MINUTE, PLACEMENT_CANDIDATES_LIMIT } from "../../functions/protocol/limits.ts";
import {
  connectedRunners,
  newRunner,
  placeableRunners,
  writeRunner,
} from "../../functions/runners/registry.ts";
import { FIND_RECORDS, LIST_RECORDS } from "../../functions/state/upstash-scripts.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { RUNNER_SECRET, until } from "../helpers/stack.ts";
import { connectRunner, refusal, runnerSocket, type TunnelClient } from "../helpers/tunnel-client.ts";

const GONE = 2_000;
const THERE = 30;
const SHA256 = "ab".repeat(32);

let world: UpstashStack;
let full: Server;
let empty: Server;
const runners: TunnelClient[] = [];

const goneId = (n: number): string => `gone-${String(n).padStart(4, "0")}`;
const thereId = (n: number): string => `there-${String(n).padStart(2, "0")}`;

beforeAll(async () => {
  world = await onUpstash({ TRUST_CLIENT_ADDRESS: "1" });
  full = await serve(200, { "x-signalbox-bytes": "9" });
  empty = await serve(404, {});
  await multiplyGone();
  // The fuller a runner, the earlier in the alphabet, and only the fullest one has the source.
  for (let n = 0; n < THERE; n++) {
    const { port } = (n === 0 ? full : empty).address() as AddressInfo;
    const runner = await connectRunner(world.stack, thereId(n), { "@runner": port });
    const labels = n === 0 ? { region: "eu", disk: "big" } : { region: "eu" };
    runner.event({ type: "runner-status", payload: { deployments: THERE - n, labels } });
    runners.push(runner);
  }
  await until(
    async () => (await placeableRunners(world.store, { region: "eu" }, 100)).length,
    (known) => known === THERE,
  );
  await world.stack.api("PUT", "/apps/placed", {});
});

afterAll(async () => {
  for (const runner of runners) runner.socket.terminate();
  for (const server of [full, empty]) {
    server.closeAllConnections();
    server.close();
  }
  await world.stop();
});

async function serve(status: number, headers: Record<string, string>): Promise<Server> {
  const server = createServer((_request, response) => response.writeHead(status, headers).end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** All at once, as a build from before the index has left them. */
async function multiplyGone(): Promise<void> {
  await writeRunner(world.store, newRunner(goneId(0), Date.now()), 1);
  const script = `
    local body = redis.call('HGET', KEYS[2], 'gone-0000')
    for n = 1, tonumber(ARGV[1]) - 1 do
      local id = string.format('gone-%04d', n)
      redis.call('ZADD', KEYS[1], '0', id)
      redis.call('HSET', KEYS[2], id, (body:gsub('gone%-0000', id)))
      redis.call('HSET', KEYS[3], id, '1')
    end`;
  const keys = ["record-ids", "records", "record-versions"].map((family) => `signalbox:${family}:runner`);
  const answer = await fetch(world.front.url, {
    method: "POST",
    headers: { authorization: `Bearer ${world.front.token}` },
    body: JSON.stringify(["EVAL", script, String(keys.length), ...keys, String(GONE)]),
  });
  expect(answer.status).toBe(200);
}

async function inParallel(count: number, work: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) await work(n);
  };
  await Promise.all(Array.from({ length: 32 }, worker));
}

/** The commands about runners' records that the stack sends meanwhile. */
async function countingRegistry<T>(work: () => Promise<T>): Promise<{ result: T; commands: string[][] }> {
  const commands: string[][] = [];
  const unhook = world.front.onCommand((command, phase) => {
    if (phase === "before" && command.includes("signalbox:records:runner")) commands.push(command);
  });
  try {
    return { result: await work(), commands };
  } finally {
    unhook();
  }
}

function place(labels: Record<string, string>) {
  const target = { kind: "runner", source: { sha256: SHA256 }, start: "true", labels };
  return countingRegistry(() => world.stack.api("POST", "/apps/placed/deployments", { target }));
}

test("a placement reads the least loaded runners that fit with one command, whatever else the registry holds", async () => {
  for (const labels of [{}, { region: "eu" }, { disk: "big", region: "eu" }]) {
    const { result, commands } = await place(labels);
    expect(result.body).toMatchObject({ target: { runnerId: thereId(0) } });
    expect(commands.map(([, script]) => script)).toEqual([FIND_RECORDS]);
    expect(commands[0]).toContain(String(PLACEMENT_CANDIDATES_LIMIT));
  }
  const none = await place({ disk: "big", region: "us" });
  expect(none.result.body).toMatchObject({ code: "target_refused", errors: [{ field: "target.labels" }] });
  expect(none.commands).toHaveLength(1);
  const known = await placeableRunners(world.store, {}, 5);
  expect(known.map(({ id }) => id)).toEqual([29, 28, 27, 26, 25].map(thereId));
});

test("the broker's status reads those that are connected with one command", async () => {
  const { result, commands } = await countingRegistry(() => brokerStatus());
  expect(result).toEqual(Array.from({ length: THERE }, (_, n) => thereId(n)));
  expect(commands.map(([, script]) => script)).toEqual([FIND_RECORDS]);
});

test("a runner that says the same of itself again writes nothing, whatever else it says", async () => {
  const [first] = runners;
  const say = (deployments: number) =>
    first?.event({
      type: "runner-status",
      payload: {
        deployments,
        labels: { disk: "big", region: "eu" },
        streams: { [`app/${Math.random()}`]: 1 },
      },
    });
  const { commands } = await countingRegistry(async () => {
    for (let beat = 0; beat < 20; beat++) say(THERE);
    const { body } = await world.stack.api("POST", `/runners/${thereId(0)}/commands`, { type: "fetch-logs" });
    expect(body["ok"]).toBe(true);
  });
  expect(commands).toEqual([]);
});

test("lists of runners are read page by page, each once, while others come and go", async () => {
  const seen: string[] = [];
  const came: string[] = [];
  for (let after = ""; ;) {
    const { result, commands } = await countingRegistry(() =>
      world.stack.api("GET", `/runners?limit=300&after=${after}`),
    );
    // A second one fills a page up in which there was a record of another version.
    expect(commands.length).toBeLessThanOrEqual(2);
    expect(commands.every(([, script]) => script === LIST_RECORDS)).toBe(true);
    const page = (result.body["runners"] as { id: string }[]).map(({ id }) => id);
    expect(page.length).toBeLessThanOrEqual(300);
    seen.push(...page);
    const last = page.at(-1);
    if (page.length < 300 || last === undefined) break;
    after = last;
    // The page's own last one, one before, and one ahead go; one comes on either side.
    for (const id of [last, page[0] ?? "", goneId(seen.length + 150)])
      if (id.startsWith("gone-")) await world.store.deleteRecord("runner", id, 2);
    const next = `zz-${seen.length}`;
    came.push(next);
    for (const id of ["a-new-one", next]) await writeRunner(world.store, newRunner(id, Date.now()), 1);
    await world.store.writeRecord("runner", `${last}x`, JSON.stringify({ schema: 99 }), 1);
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen).toEqual(seen.toSorted());
  const rows = await world.store.listRecords("runner", { after: null, limit: 10_000 });
  const stayed = rows.map(({ id }) => id).filter((id) => /^gone-\d+$/.test(id));
  expect(stayed.length).toBeGreaterThan(GONE - 30);
  expect(stayed.filter((id) => !seen.includes(id))).toEqual([]);
  expect(seen.filter((id) => id.startsWith("there-"))).toHaveLength(THERE);
  expect(seen).not.toContain("a-new-one");
  expect(seen.filter((id) => id.startsWith("zz-"))).toEqual(came.toSorted());
});

test("a flood of wrong credentials costs so many store commands, and the right one gets in from elsewhere", async () => {
  const id = "guarded";
  const { body } = await world.stack.api("POST", `/runners/${id}/credentials`);
  const secret = String(body["secret"]);
  const knock = async (token: string, client: string): Promise<number> => {
    const headers = { authorization: `Bearer ${token}`, "cf-connecting-ip": client };
    const answer = await fetch(`${world.stack.origin}/_signalbox/socket?runnerId=${id}`, { headers });
    await answer.body?.cancel();
    return answer.status;
  };
  const statuses: number[] = [];
  const flood = await countingRegistry(() =>
    inParallel(300, async (n) => {
      statuses.push(await knock(`sbr_${n.toString(16).padStart(64, "0")}`, "203.0.113.7"));
    }),
  );
  expect(flood.commands.filter(([name]) => name === "HGET")).toHaveLength(AUTH_FAILURES_PER_MINUTE);
  expect(statuses.filter((status) => status === 401)).toHaveLength(AUTH_FAILURES_PER_MINUTE);
  expect(statuses.filter((status) => status === 429)).toHaveLength(300 - AUTH_FAILURES_PER_MINUTE);
  // 426: let in, and not a WebSocket.
  expect(await knock(secret, "203.0.113.7")).toBe(429);
  expect(await knock(RUNNER_SECRET, "203.0.113.7")).toBe(426);
  expect(await knock(secret, "203.0.113.8")).toBe(426);
  const short = await countingRegistry(() => knock("sbr_short", "203.0.113.8"));
  expect([short.result, short.commands]).toEqual([401, []]);
  const refused = await refusal(runnerSocket(world.stack, id, { secret: `${secret.slice(0, -1)}x` }));
  expect(refused.status).toBe(401);
});

test("what a Worker that was killed left in the index is found out by whoever asks, and leaves it", async () => {
  await world.stack.kill();
  await world.stack.restart();
  expect(await connectedRunners(world.store, 100)).toHaveLength(THERE);
  const refused = await place({});
  // Nobody fits: not one that fits and hasn't the source.
  expect(refused.result.body).toMatchObject({
    code: "target_refused",
    errors: [{ field: "target.runnerId" }],
  });
  expect(await brokerStatus()).toEqual([]);
  await until(
    async () => (await connectedRunners(world.store, 100)).length,
    (known) => known === 0,
  );
  const again = await connectRunner(world.stack, thereId(7));
  runners.push(again);
  await until(brokerStatus, (ids) => ids.length === 1);
  expect((await placeableRunners(world.store, { region: "eu" }, 100)).map(({ id }) => id)).toEqual([
    thereId(7),
  ]);
});

async function brokerStatus(): Promise<string[]> {
  const answer = await fetch(`${world.stack.origin}/_signalbox/status`, {
    headers: { authorization: `Bearer ${RUNNER_SECRET}` },
  });
  const { connections } = (await answer.json()) as { connections: { runnerId: string }[] };
  return connections.map(({ runnerId }) => runnerId);
}
