import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { RedisError, RespConnection } from "./resp.ts";

/**
 * State that the build of commit b7562c7 wrote, on either store: two apps with deployments in every live state, one app
 * that was deleted, keyed operations, a runner, a lease, the audit. It was read from the stores themselves, key by key
 * and table by table. A backend's origin stands in it as `{{ID}}`.
 */
const DIRECTORY = join(projectRoot, "test/fixtures/state-b7562c7");

/** What the former build had answered to requests with an Idempotency-Key, and to reads right before it ended. */
const formerAnswers = z.object({
  takenAt: z.number(),
  asked: z.array(
    z.object({
      key: z.string(),
      method: z.string(),
      path: z.string(),
      /** The body as it was sent, with the origins of then: the operation records hold its fingerprint. */
      sent: z.string().nullable(),
      status: z.number(),
      answer: z.unknown(),
    }),
  ),
  views: z.record(z.string(), z.record(z.string(), z.unknown())),
});
export type FormerAnswers = z.infer<typeof formerAnswers>;

const redisKeys = z.object({
  keys: z.array(
    z.discriminatedUnion("type", [
      z.object({
        key: z.string(),
        ttlMs: z.number().nullable(),
        type: z.literal("string"),
        value: z.string(),
      }),
      z.object({
        key: z.string(),
        ttlMs: z.number().nullable(),
        type: z.enum(["hash", "set", "zset"]),
        value: z.array(z.string()),
      }),
      z.object({
        key: z.string(),
        ttlMs: z.number().nullable(),
        type: z.literal("stream"),
        value: z.array(z.tuple([z.string(), z.array(z.string())])),
      }),
    ]),
  ),
});

export interface FormerState {
  answers: FormerAnswers;
  intoRedis(port: number): Promise<void>;
  /** Into the directory where workerd keeps its Durable Objects. */
  intoDirectory(stateDirectory: string): Promise<void>;
}

/** Every time in it is moved, as if the former build had ended now. `origins`: of the backends by their ids. */
export async function readFormerState(
  store: "upstash" | "embedded",
  origins: Record<string, string>,
): Promise<FormerState> {
  const text = await readFile(join(DIRECTORY, store, "answers.json"), "utf8");
  const aheadMs = Date.now() - formerAnswers.parse(JSON.parse(text)).takenAt;
  const bring = (text: string): string => withOrigins(moveTimes(text, aheadMs), origins);
  return {
    answers: { ...formerAnswers.parse(JSON.parse(bring(text))), takenAt: Date.now() },
    async intoRedis(port) {
      const dump = bring(await readFile(join(DIRECTORY, "upstash/redis.json"), "utf8"));
      const connection = await RespConnection.open(port);
      const commands = redisKeys.parse(JSON.parse(dump)).keys.flatMap(commandsFor);
      const failure = (await connection.send(commands)).find((reply) => reply instanceof RedisError);
      connection.close();
      if (failure) throw failure;
    },
    async intoDirectory(directory) {
      const from = join(DIRECTORY, store);
      for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
        if (!entry.name.endsWith(".sql")) continue;
        const room = join(directory, entry.parentPath.slice(from.length));
        await mkdir(room, { recursive: true });
        const database = new DatabaseSync(join(room, entry.name.replace(/sql$/, "sqlite")));
        database.exec(bring(await readFile(join(entry.parentPath, entry.name), "utf8")));
        database.close();
      }
    },
  };
}

function commandsFor(dumped: z.infer<typeof redisKeys>["keys"][number]): string[][] {
  const { key, ttlMs } = dumped;
  const commands: string[][] = [];
  switch (dumped.type) {
    case "string":
      commands.push(["SET", key, dumped.value]);
      break;
    case "hash":
      commands.push(["HSET", key, ...dumped.value]);
      break;
    case "set":
      commands.push(["SADD", key, ...dumped.value]);
      break;
    case "zset": {
      const pairs = dumped.value.flatMap((member, index, all) =>
        index % 2 === 0 ? [all[index + 1] ?? "0", member] : [],
      );
      commands.push(["ZADD", key, ...pairs]);
      break;
    }
    case "stream":
      for (const [id, fields] of dumped.value) commands.push(["XADD", key, id, ...fields]);
  }
  if (ttlMs !== null) commands.push(["PEXPIRE", key, String(ttlMs)]);
  return commands;
}

/** Epoch milliseconds, the nanoseconds of workerd's alarms, and RFC 3339. */
function moveTimes(text: string, aheadMs: number): string {
  return text
    .replace(/\b(1[78]\d{11})(000000)?\b/g, (_, ms: string, nanos = "") => `${Number(ms) + aheadMs}${nanos}`)
    .replace(/\b20\d\d-\d\d-\d\dT[\d:]{8}\.\d{3}Z/g, (time) =>
      new Date(Date.parse(time) + aheadMs).toISOString(),
    );
}

function withOrigins(text: string, origins: Record<string, string>): string {
  return text.replace(/\{\{([a-z0-9-]+)\}\}/g, (mark, id: string) => origins[id] ?? mark);
}
