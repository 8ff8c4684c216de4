import { Redis } from "@upstash/redis/cloudflare";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type RedisServer, startRedis } from "../helpers/redis.ts";
import { startUpstashFront, type UpstashFront } from "../helpers/upstash-front.ts";

const TOKEN = "token-of-the-front";
const BINARY = Buffer.from([0xff, 0x00, 0x80]);

let redis: RedisServer;
let front: UpstashFront;

beforeAll(async () => {
  redis = await startRedis();
  front = await startUpstashFront({ redisPort: redis.port, token: TOKEN });
});

afterEach(async () => {
  await front.setMode("ok");
  await post("", ["FLUSHALL"]);
});

afterAll(async () => {
  await front.close();
  await redis.stop();
});

type Init = { method?: string; body?: string; headers?: Record<string, string>; signal?: AbortSignal };

async function send(path: string, init: Init = {}): Promise<{ status: number; body: unknown }> {
  const headers = { authorization: `Bearer ${TOKEN}`, ...init.headers };
  const response = await fetch(`${front.url}/${path}`, { ...init, headers });
  const text = await response.text();
  return { status: response.status, body: text === "" ? null : JSON.parse(text) };
}

function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  return send(path, { method: "POST", body: JSON.stringify(body), headers });
}

const base64 = { "upstash-encoding": "base64" };
const ok = (result: unknown) => ({ status: 200, body: { result } });

describe("the REST front", () => {
  test("a command is a JSON array, with strings, numbers and booleans", async () => {
    expect(await post("", ["SET", "key", 12, "EX", 100])).toEqual(ok("OK"));
    expect(await post("", ["GET", "key"])).toEqual(ok("12"));
    expect(await post("", ["GET", "missing"])).toEqual(ok(null));
    expect(await post("", ["RPUSH", "list", "größe", true])).toEqual(ok(2));
    expect(await post("", ["LRANGE", "list", 0, -1])).toEqual(ok(["größe", "true"]));
    expect(await post("", ["EVAL", "return {1, {'a', {}}, false}", 0])).toEqual(ok([1, ["a", []], null]));
  });

  test("a command is a path, with a body as its value and the query behind that", async () => {
    expect(await send("set/a%2Fb/x%20y")).toEqual(ok("OK"));
    expect(await send("GET/a%2Fb")).toEqual(ok("x y"));
    expect(await send("set/key?EX=100", { method: "POST", body: '{"n":1}' })).toEqual(ok("OK"));
    expect(await send("get/key")).toEqual(ok('{"n":1}'));
    expect(await send("ttl/key")).toEqual(ok(100));
    expect((await send("get/key", { method: "HEAD" })).status).toBe(200);
    expect((await send("get/key", { method: "DELETE" })).status).toBe(405);
    expect((await send("get/%ff")).status).toBe(400);
  });

  test("a pipeline answers each command and goes on after an error", async () => {
    const commands = [
      ["SET", "key", "text"],
      ["INCR", "key"],
      ["GET", "key"],
    ];
    const { status, body } = await post("pipeline", commands);
    expect(status).toBe(200);
    expect(body).toEqual([{ result: "OK" }, { error: expect.stringContaining("ERR") }, { result: "text" }]);
  });

  test("a transaction answers each command and is discarded whole when one can't be queued", async () => {
    const executed = await post("multi-exec", [
      ["SET", "key", "text"],
      ["INCR", "key"],
      ["GET", "key"],
    ]);
    expect(executed.status).toBe(200);
    expect(executed.body).toEqual([
      { result: "OK" },
      { error: expect.stringContaining("ERR") },
      { result: "text" },
    ]);
    const discarded = await post("multi-exec", [["SET", "key", "other"], ["GET"]]);
    expect(discarded).toEqual({ status: 400, body: { error: expect.stringContaining("EXECABORT") } });
    expect(await post("", ["GET", "key"])).toEqual(ok("text"));
  });

  test("transactions sent at once don't interleave", async () => {
    const increments = Array.from({ length: 20 }, () => ["INCR", "counter"]);
    const answers = await Promise.all(Array.from({ length: 20 }, () => post("multi-exec", increments)));
    for (const { body } of answers) {
      const results = JSON.stringify(body).match(/\d+/g)?.map(Number) ?? [];
      expect((results.at(-1) ?? 0) - (results[0] ?? 0)).toBe(19);
    }
  });

  test("base64 encodes every string but OK, on every endpoint", async () => {
    const encoded = Buffer.from("größe").toString("base64");
    expect(await post("", ["SET", "key", "größe"], base64)).toEqual(ok("OK"));
    expect(await post("", ["GET", "key"], base64)).toEqual(ok(encoded));
    expect(await post("", ["MGET", "key", "missing"], base64)).toEqual(ok([encoded, null]));
    expect((await post("pipeline", [["GET", "key"]], base64)).body).toEqual([{ result: encoded }]);
    expect((await post("multi-exec", [["GET", "key"]], base64)).body).toEqual([{ result: encoded }]);
    const bitmap = ["EVAL", `return '\\255\\0\\128'`, "0"];
    expect(await post("", bitmap, base64)).toEqual(ok(BINARY.toString("base64")));
  });

  test("a failed command is a 400 with Redis' words", async () => {
    for (const command of [
      ["NOSUCH"],
      ["GET"],
      ["MULTI"],
      ["SUBSCRIBE", "a"],
      [],
      [""],
      [{}],
      [null],
      "GET",
      null,
    ]) {
      expect(await post("", command)).toEqual({
        status: 400,
        body: { error: expect.stringMatching(/^ERR /) },
      });
    }
    for (const body of ["", "not json", "{}", "[]"]) {
      expect((await send("pipeline", { method: "POST", body })).status).toBe(400);
      expect((await send("multi-exec", { method: "POST", body })).status).toBe(400);
    }
  });

  test("every endpoint wants the token", async () => {
    for (const path of ["", "pipeline", "multi-exec", "get/key"]) {
      for (const authorization of ["", "Bearer", "Bearer wrong", TOKEN, `Basic ${TOKEN}`]) {
        expect(await post(path, ["GET", "key"], { authorization })).toEqual({
          status: 401,
          body: { error: "Unauthorized" },
        });
      }
    }
    const { status } = await fetch(`${front.url}/get/key?_token=${TOKEN}`);
    expect(status).toBe(200);
  });

  test("commands are counted as they are billed", async () => {
    const before = front.commands();
    await post("", ["PING"]);
    await post("pipeline", [["PING"], ["PING"]]);
    await post("multi-exec", [["PING"], ["PING"], ["PING"]]);
    expect(front.commands() - before).toBe(6);
  });

  test("the SDK with its defaults works through it", async () => {
    const sdk = new Redis({ url: front.url, token: TOKEN });
    await sdk.hset("hash", { text: "größe 🚦", list: [1, "two"] });
    expect(await sdk.hgetall("hash")).toEqual({ text: "größe 🚦", list: [1, "two"] });
    expect(await sdk.multi().set("key", "value").get("key").exec()).toEqual(["OK", "value"]);
    expect(await sdk.pipeline().get("key").del("key").exec()).toEqual(["value", 1]);
  });

  test("a value of 2 MB goes through in both directions", async () => {
    const value = "größe 🚦 ".repeat(150_000);
    await post("", ["SET", "big", value]);
    const { body } = await post("", ["GET", "big"]);
    expect(body).toSatisfy((answer) => JSON.stringify(answer) === JSON.stringify({ result: value }));
  });

  test("hooks see each command before and after it ran, and a hook that throws loses the answer", async () => {
    const seen: string[] = [];
    const unhook = front.onCommand(([name], phase) => {
      seen.push(`${phase} ${name}`);
      if (name === "SET" && phase === "after") throw new Error("the answer is lost");
    });
    await expect(post("", ["SET", "key", "stored"])).rejects.toThrow("fetch failed");
    expect(await post("", ["GET", "key"])).toEqual(ok("stored"));
    unhook();
    await post("", ["PING"]);
    expect(seen).toEqual(["before SET", "after SET", "before GET", "after GET"]);
  });

  test("it can refuse, hang and heal on the same port", async () => {
    await post("", ["SET", "key", "value"]);
    await front.setMode("refuse");
    // The first request may go out on a kept connection that was cut a moment ago.
    await expect(post("", ["GET", "key"])).rejects.toThrow("fetch failed");
    await expect(post("", ["GET", "key"])).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
    await front.setMode("hang");
    const signal = AbortSignal.timeout(100);
    await expect(send("get/key", { signal })).rejects.toThrow(/timeout/);
    await front.setMode("ok");
    expect(await post("", ["GET", "key"])).toEqual(ok("value"));
  });

  test("it finds Redis again after a restart", async () => {
    let server = await startRedis();
    const other = await startUpstashFront({ redisPort: server.port, token: TOKEN });
    const url = `${other.url}/ping?_token=${TOKEN}`;
    expect((await fetch(url)).status).toBe(200);
    await server.stop();
    await expect(fetch(url)).rejects.toThrow("fetch failed");
    server = await startRedis({ port: server.port });
    expect((await fetch(url)).status).toBe(200);
    await other.close();
    await server.stop();
  });
});
