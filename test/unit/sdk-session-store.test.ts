import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SessionStore, SessionStoreUnavailable } from "../../sdk/session-store.ts";

const TOKEN = "secret/token+1";

let redis: ChildProcess;
let directory: string;
let front: Server;
let url: string;

/** One command to the real Redis, over its own protocol; enough for status, integer and bulk replies. */
async function runOnRedis(path: string, command: string[]): Promise<{ result: unknown } | { error: string }> {
  const socket = connect(path);
  const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  socket.write(`*${command.length}\r\n${parts.join("")}`);
  let reply = "";
  for await (const chunk of socket) {
    reply += String(chunk);
    const [head = "", ...rest] = reply.split("\r\n");
    if (rest.length === 0) continue;
    if (head.startsWith("-")) return { error: head.slice(1) };
    if (head.startsWith(":")) return { result: Number(head.slice(1)) };
    if (!head.startsWith("$") || head === "$-1") return { result: head === "$-1" ? null : head.slice(1) };
    const body = Buffer.from(rest.join("\r\n"));
    const length = Number(head.slice(1));
    if (body.length >= length) return { result: body.subarray(0, length).toString("base64") };
  }
  throw new Error("redis closed the connection");
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sdk-store-"));
  const path = join(directory, "redis.sock");
  redis = spawn("redis-server", ["--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]);
  await vi.waitFor(async () => {
    const probe = connect(path);
    await once(probe, "connect");
    probe.destroy();
  }, 60_000);

  front = createServer((request, response) => {
    void (async () => {
      const chunks: string[] = [];
      for await (const chunk of request) chunks.push(String(chunk));
      const allowed = request.headers.authorization === `Bearer ${TOKEN}`;
      const command = (JSON.parse(chunks.join("")) as unknown[]).map(String);
      const answer = allowed ? await runOnRedis(path, command) : { error: "WRONGPASS invalid token" };
      response.writeHead("error" in answer ? (allowed ? 400 : 401) : 200).end(JSON.stringify(answer));
    })();
  });
  await new Promise<void>((done) => front.listen(0, "127.0.0.1", done));
  url = `http://default:${encodeURIComponent(TOKEN)}@127.0.0.1:${(front.address() as AddressInfo).port}`;
});

afterAll(async () => {
  front.closeAllConnections();
  front.close();
  redis.kill();
  await once(redis, "exit");
  await rm(directory, { recursive: true });
});

describe("the session store", () => {
  test("gives back what was set, whatever JSON it is", async () => {
    const store = new SessionStore({ env: { PULSE_RAILWAY_REDIS_URL: url } });
    for (const value of [{ user: 7, name: "Zoë ✓" }, [], "text", "123", 0, false, null]) {
      await store.set("id", value);
      expect(await store.get("id")).toEqual(value);
    }
    await expect(store.set("id", undefined)).rejects.toThrow(TypeError);
  });

  test("knows nothing of an id that was never set, or was deleted", async () => {
    const store = new SessionStore({ url });
    expect(await store.get("nobody")).toBeNull();
    expect(await store.touch("nobody")).toBe(false);
    await store.set("gone", 1);
    expect(await store.delete("gone")).toBe(true);
    expect(await store.delete("gone")).toBe(false);
    expect(await store.get("gone")).toBeNull();
  });

  test("hands the value to the caller's check", async () => {
    const store = new SessionStore({ url });
    await store.set("checked", 21);
    expect(await store.get("checked", (value) => Number(value) * 2)).toBe(42);
    expect(await store.get("nobody", () => "never")).toBeNull();
  });

  test("forgets a session after its time to live, unless it was touched", async () => {
    const store = new SessionStore({ url, ttlSeconds: 1 });
    await store.set("short", 1);
    // A busy machine may take more than the one second in between.
    await vi.waitUntil(async () => {
      await store.set("touched", 1);
      return store.touch("touched", 100);
    }, 60_000);
    await expect.poll(() => store.get("short")).toBeNull();
    expect(await store.get("touched")).toBe(1);
  });

  test("keeps apps with different prefixes apart", async () => {
    await new SessionStore({ url, prefix: "a:" }).set("id", "a");
    expect(await new SessionStore({ url, prefix: "b:" }).get("id")).toBeNull();
  });

  test("takes the address from the Upstash variables, too", async () => {
    const env = { UPSTASH_REDIS_REST_URL: new URL(url).origin, UPSTASH_REDIS_REST_TOKEN: TOKEN };
    await new SessionStore({ env }).set("env", 1);
    expect(await new SessionStore({ url }).get("env")).toBe(1);
  });

  test.each([
    [{}, /PULSE_RAILWAY_REDIS_URL.*UPSTASH_REDIS_REST_URL/s],
    [{ PULSE_RAILWAY_REDIS_URL: "redis://default:hush@host:6379" }, /https:\/\/default:TOKEN@host/],
    [{ PULSE_RAILWAY_REDIS_URL: "https://host" }, /https:\/\/default:TOKEN@host/],
    [{ PULSE_RAILWAY_REDIS_URL: "hush" }, /https:\/\/default:TOKEN@host/],
  ])("says what is missing in %j, without the token", (env, message) => {
    const attempt = () => new SessionStore({ env });
    expect(attempt).toThrow(message);
    expect(attempt).not.toThrow(/hush/);
  });
});

describe("a store that fails", () => {
  async function failure(address: string, timeoutMs = 30_000): Promise<string> {
    const store = new SessionStore({ url: address, timeoutMs });
    const error: unknown = await store.set("id", "private").catch((error: unknown) => error);
    if (!(error instanceof SessionStoreUnavailable)) throw new Error(`unexpected ${String(error)}`);
    return error.message;
  }

  test("names the cause and neither token nor session when it is refused", async () => {
    const message = await failure(url.replace(encodeURIComponent(TOKEN), "wrong-token"));
    expect(message).toMatch(/127\.0\.0\.1.*failed to set: WRONGPASS/);
    expect(message).not.toMatch(/wrong-token|private/);
  });

  test("names the cause when nobody listens", async () => {
    expect(await failure("http://default:t@127.0.0.1:1")).toContain("connection failed");
  });

  test("doesn't wait longer than it was told", async () => {
    const silent = createTcpServer();
    await new Promise<void>((done) => silent.listen(0, "127.0.0.1", done));
    const { port } = silent.address() as AddressInfo;
    expect(await failure(`http://default:t@127.0.0.1:${port}`, 100)).toContain("no answer within 100 ms");
    silent.close();
  });
});
