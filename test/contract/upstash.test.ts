import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "@upstash/redis/cloudflare";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  type AppChange,
  RECORDS_EXAMINED,
  type StateStore,
  StoreUnavailable,
} from "../../functions/state/store.ts";
import { UpstashStore } from "../../functions/state/upstash.ts";
import { type RedisServer, startRedis } from "../helpers/redis.ts";
import { type FrontMode, startUpstashFront, type UpstashFront } from "../helpers/upstash-front.ts";
import { change, committed, everyMethod, operation, repeated } from "./changes.ts";
import { describeStateStore } from "./state-store.ts";

const TOKEN = "secret-token-of-the-test";
const TIMEOUT_MS = 300;
/** Milliseconds that a busy machine may add to a timeout. */
const SLACK_MS = 5_000;

let redis: RedisServer;
let front: UpstashFront;

beforeAll(async () => {
  redis = await startRedis();
  front = await startUpstashFront({ redisPort: redis.port, token: TOKEN });
});

afterEach(() => front.setMode("ok"));

afterAll(async () => {
  await front.close();
  await redis.stop();
});

function openOnRedis(options: { timeoutMs?: number; prefix?: string; token?: string } = {}): UpstashStore {
  return new UpstashStore({ url: front.url, token: TOKEN, prefix: `${randomUUID()}:`, ...options });
}

describeStateStore("the Upstash store on redis-server", async () => ({
  store: openOnRedis({ timeoutMs: 30_000 }),
  close: async () => {},
}));

describe("the Upstash store", () => {
  test("each method is one command", async () => {
    const store = openOnRedis({ timeoutMs: 30_000 });
    await store.commit(change("shop", 0, { hosts: ["a.example.com", "b.example.com"], isDefault: true }));
    for (const { method, call } of everyMethod(store)) {
      const before = front.commands();
      await call();
      expect({ method, commands: front.commands() - before }).toEqual({ method, commands: 1 });
    }
  });

  test("installations with different prefixes share a database without seeing each other", async () => {
    const one = openOnRedis();
    const two = openOnRedis();
    await one.commit(change("shop", 0, { hosts: ["shop.example.com"], isDefault: true, hasWork: true }));
    expect(await two.resolve("shop.example.com", "shop")).toBeNull();
    expect(await two.listWork()).toEqual([]);
    expect(await two.commit(change("shop", 0, { hosts: ["shop.example.com"] }))).toEqual(committed(1));
  });

  test("a commit whose answer was lost is repeated without happening twice", async () => {
    const store = openOnRedis();
    await store.commit(change("shop", 0));
    const lost = change("shop", 1, { body: '{"n":2}', idempotencyRecord: operation("key-1") });
    const unhook = front.onCommand((_command, phase) => {
      if (phase === "after") throw new Error("the answer is lost");
    });
    await expect(store.commit(lost)).rejects.toThrow(StoreUnavailable);
    unhook();
    expect(await store.commit(lost)).toEqual(repeated("key-1"));
    expect(await store.readApp("shop")).toMatchObject({ version: 2, body: '{"n":2}' });
    const rows = await store.listAudit({ app: "shop", limit: 10, before: null });
    expect(rows.map((row) => row.toVersion)).toEqual([2, 1]);
  });

  test("a commit whose answer came too late is repeated without happening twice", async () => {
    const store = openOnRedis({ timeoutMs: 2_000 });
    const late = change("shop", 0, { idempotencyRecord: operation("key-1") });
    const unhook = front.onCommand(async (_command, phase) => {
      if (phase === "after") await front.setMode("hang");
    });
    await expect(store.commit(late)).rejects.toThrow("didn't answer within 2000 ms");
    unhook();
    await front.setMode("ok");
    expect(await store.commit(late)).toEqual(repeated("key-1"));
    expect((await store.readApp("shop"))?.version).toBe(1);
  });

  test("a commit is whole or absent after Redis was killed before or after it", async () => {
    const dir = await mkdtemp(join(tmpdir(), "signalbox-redis-"));
    onTestFinished(() => rm(dir, { recursive: true }));
    let server = await startRedis({ dir, persist: true });
    onTestFinished(() => server.stop());
    const { port } = server;
    const other = await startUpstashFront({ redisPort: port, token: TOKEN });
    onTestFinished(() => other.close());
    const store = new UpstashStore({ url: other.url, token: TOKEN, timeoutMs: 30_000 });

    async function commitAndKill(sent: AppChange, moment: "before" | "after"): Promise<unknown> {
      const unhook = other.onCommand(async (_command, phase) => {
        if (phase !== moment) return;
        await server.kill();
        throw new Error("the answer is lost");
      });
      const outcome = await store.commit(sent).catch((error: unknown) => error);
      unhook();
      server = await startRedis({ port, dir, persist: true });
      return outcome;
    }

    const first = change("shop", 0, { hosts: ["shop.example.com"], idempotencyRecord: operation("first") });
    expect(await commitAndKill(first, "before")).toBeInstanceOf(StoreUnavailable);
    expect(await store.readApp("shop")).toBeNull();
    expect(await store.commit(first)).toEqual(committed(1));

    const second = change("shop", 1, { hosts: ["new.example.com"], idempotencyRecord: operation("second") });
    expect(await commitAndKill(second, "after")).toBeInstanceOf(StoreUnavailable);
    expect(await store.commit(second)).toEqual(repeated("second"));
    expect((await store.resolve("new.example.com", null))?.version).toBe(2);
    expect(await store.resolve("shop.example.com", null)).toBeNull();
  });

  test("a long audit is trimmed to about what is kept", async () => {
    const prefix = `${randomUUID()}:`;
    const store = openOnRedis({ prefix, timeoutMs: 30_000 });
    const sdk = new Redis({ url: front.url, token: TOKEN, enableTelemetry: false });
    const filler = JSON.stringify(change("old", 0).audit);
    await sdk.eval(
      `for i = 1, 20500 do redis.call('XADD', KEYS[1], '*', 'app', '"old"', 'entry', ARGV[1]) end return 1`,
      [`${prefix}audit`],
      [filler],
    );
    await store.commit(change("shop", 0));
    const kept = await sdk.xlen(`${prefix}audit`);
    expect(kept).toBeGreaterThanOrEqual(20_000);
    expect(kept).toBeLessThan(20_200);
    await store.commit(change("shop", 1, { body: null }));
    const rows = await store.listAudit({ app: "old", limit: 1, before: null });
    expect(rows).toHaveLength(1);
    expect(await store.listAudit({ app: "nobody", limit: 1, before: null })).toEqual([]);
  });

  test("what a build from before the index has written or deleted is no longer found, and its place is cleared", async () => {
    const prefix = `${randomUUID()}:`;
    const store = openOnRedis({ prefix });
    const sdk = new Redis({ url: front.url, token: TOKEN, enableTelemetry: false });
    for (const id of ["written", "deleted", "untouched"])
      await store.writeRecord("runner", id, "online", 1, { tags: ["online"], rank: 0 });
    // As the scripts of that build did it.
    await sdk.hset(`${prefix}record-versions:runner`, { written: "2" });
    await sdk.hset(`${prefix}records:runner`, { written: "offline" });
    for (const key of ["records", "record-versions"]) await sdk.hdel(`${prefix}${key}:runner`, "deleted");
    await sdk.zrem(`${prefix}record-ids:runner`, "deleted");
    expect(await store.findRecords("runner", ["online"], 10)).toEqual([{ id: "untouched", body: "online" }]);
    expect(await sdk.zrange(`${prefix}record-tag:runner:online`, 0, -1)).toEqual(["untouched"]);
    expect(await sdk.keys(`${prefix}record-tags:*`)).toEqual([`${prefix}record-tags:runner:untouched`]);
    await store.writeRecord("runner", "written", "online", 3, { tags: ["online"], rank: 1 });
    expect(await store.findRecords("runner", ["online"], 10)).toHaveLength(2);
  });

  test("a search reads at most N records with the rarest tag", async () => {
    const prefix = `${randomUUID()}:`;
    const store = openOnRedis({ prefix, timeoutMs: 30_000 });
    const sdk = new Redis({ url: front.url, token: TOKEN, enableTelemetry: false });
    await sdk.eval(
      `for i = 1, ${RECORDS_EXAMINED} do redis.call('ZADD', KEYS[1], '1', 'r' .. i) end return 1`,
      [`${prefix}record-tag:runner:online`],
      [],
    );
    await sdk.copy(`${prefix}record-tag:runner:online`, `${prefix}record-tag:runner:eu`);
    await store.writeRecord("runner", "least", "{}", 1, { tags: ["online", "eu"], rank: 0 });
    await store.writeRecord("runner", "most", "{}", 1, { tags: ["online", "eu"], rank: 2 });
    expect(await store.findRecords("runner", ["online", "eu"], 10)).toMatchObject([{ id: "least" }]);
    await store.writeRecord("runner", "most", "{}", 2, { tags: ["online", "us"], rank: 2 });
    expect(await store.findRecords("runner", ["online", "us"], 10)).toMatchObject([{ id: "most" }]);
  });

  test("a misconfigured store says which variable is wrong and not what is in it", () => {
    expect(() => new UpstashStore({ url: "redis://host:6379", token: TOKEN })).toThrow(
      "UPSTASH_REDIS_REST_URL",
    );
    expect(() => new UpstashStore({ url: "host", token: TOKEN })).toThrow("UPSTASH_REDIS_REST_URL");
    expect(() => new UpstashStore({ url: front.url, token: "" })).toThrow("UPSTASH_REDIS_REST_TOKEN");
    expect(() => new UpstashStore({ url: front.url, token: `${TOKEN}\n` })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining(TOKEN) }),
    );
  });
});

describe("the Upstash store when the service fails", () => {
  const outages: [name: string, mode: FrontMode, message: RegExp][] = [
    ["a service that refuses connections", "refuse", /UPSTASH_REDIS_REST_URL/],
    ["a service that never answers", "hang", /didn't answer within 300 ms/],
  ];

  test.for(outages)("%s makes every method unavailable, until it is back", async ([, mode, message]) => {
    const prefix = `${randomUUID()}:`;
    const store = openOnRedis({ prefix, timeoutMs: mode === "hang" ? TIMEOUT_MS : 30_000 });
    const patient = openOnRedis({ prefix, timeoutMs: 30_000 });
    await patient.commit(change("shop", 0));
    await front.setMode(mode);
    const started = performance.now();
    await expectUnavailable(store, message);
    expect(performance.now() - started).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    await front.setMode("ok");
    // The first may go out on a connection that the service has just closed.
    await expect.poll(async () => (await patient.readApp("shop"))?.version).toBe(1);
  });

  test("a wrong token is named as the cause", async () => {
    await expectUnavailable(
      openOnRedis({ token: "wrong-token", timeoutMs: 30_000 }),
      /check UPSTASH_REDIS_REST_TOKEN/,
    );
  });

  const answers: [name: string, status: number, body: string, message: RegExp][] = [
    [
      "a 401 in Redis' words",
      401,
      '{"error":"WRONGPASS invalid password"}',
      /check UPSTASH_REDIS_REST_TOKEN/,
    ],
    ["a read-only token", 400, '{"error":"NOPERM this user has no permissions"}', /read-only/],
    ["a used-up quota", 400, '{"error":"ERR max requests limit exceeded. Limit: 500000"}', /plan/],
    ["a 500 with JSON", 500, '{"error":"ERR internal error"}', /ERR internal error/],
    ["a 500 with HTML", 500, "<html>Bad gateway</html>", /isn't its protocol/],
    ["a 503 with nothing", 503, "", /isn't its protocol/],
    ["an error that repeats the token", 400, `{"error":"ERR ${TOKEN}"}`, /\(token\)/],
    ["HTML", 200, "<html>Welcome</html>", /isn't its protocol/],
    ["half of a JSON text", 200, '{"result":["shop","1"', /isn't its protocol/],
    ["JSON null", 200, "null", /check UPSTASH_REDIS_REST_URL/],
    ["an empty object", 200, "{}", /check UPSTASH_REDIS_REST_URL/],
    ["a result of another shape", 200, '{"result":{"app":["shop"]}}', /isn't its protocol/],
    ["a list of another shape", 200, '{"result":[["a"],[1,2,3]]}', /isn't its protocol/],
  ];

  test.for(answers)("%s makes every method unavailable", async ([, status, body, message]) => {
    const server = createServer((_request, response) => response.writeHead(status).end(body));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
    const url = `http://127.0.0.1:${address.port}`;
    await expectUnavailable(new UpstashStore({ url, token: TOKEN, timeoutMs: 30_000 }), message);
  });
});

async function expectUnavailable(store: StateStore, message: RegExp): Promise<void> {
  await Promise.all(
    everyMethod(store).map(async ({ method, call }) => {
      const error: unknown = await call().then(
        () => new Error(`${method} succeeded`),
        (error: unknown) => error,
      );
      expect(error).toBeInstanceOf(StoreUnavailable);
      const text = error instanceof Error ? `${error.message}\n${error.stack}` : "";
      expect(text).toMatch(message);
      expect(text).toContain(method);
      expect(text).not.toContain(TOKEN);
      expect(text).not.toContain("redis.call");
    }),
  );
}

const realUrl = process.env["UPSTASH_REDIS_REST_URL"];
const realToken = process.env["UPSTASH_REDIS_REST_TOKEN"];

if (realUrl && realToken) {
  describeStateStore("the Upstash store on Upstash itself", async () => {
    const prefix = `signalbox-test-${randomUUID()}:`;
    const store = new UpstashStore({ url: realUrl, token: realToken, prefix, timeoutMs: 30_000 });
    return { store, close: () => deleteKeys(realUrl, realToken, prefix) };
  });
} else {
  test.skip("the Upstash store on Upstash itself: set UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN");
}

async function deleteKeys(url: string, token: string, prefix: string): Promise<void> {
  const sdk = new Redis({ url, token, enableTelemetry: false });
  let cursor: string = "0";
  do {
    const [next, keys] = await sdk.scan(cursor, { match: `${prefix}*`, count: 1_000 });
    if (keys.length > 0) await sdk.del(...keys);
    cursor = next;
  } while (cursor !== "0");
}
