import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseAppDocument, type AppDocument } from "../../functions/apps/app-document.ts";
import type { StateStore } from "../../functions/state/store.ts";
import { UpstashStore } from "../../functions/state/upstash.ts";
import type { FormerState } from "./former-state.ts";
import { startRedis } from "./redis.ts";
import { startTestStack, type TestStack } from "./stack.ts";
import { startUpstashFront, type UpstashFront } from "./upstash-front.ts";

const TOKEN = "upstash-token-for-tests";

/** A stack whose documents a test can look at without asking the stack. */
export interface OpenStack {
  stack: TestStack;
  document(app: string): Promise<AppDocument | null>;
  stop(): Promise<void>;
}

export interface UpstashStack extends OpenStack {
  /** What the stack talks to; a test's own looks go another way. */
  front: UpstashFront;
  store: StateStore;
}

/** On a real redis-server behind a REST front. Redis outlives the stack's death. */
export async function onUpstash(
  settings: Record<string, string> = {},
  former?: FormerState,
): Promise<UpstashStack> {
  const redis = await startRedis();
  await former?.intoRedis(redis.port);
  const front = await startUpstashFront({ redisPort: redis.port, token: TOKEN });
  const own = await startUpstashFront({ redisPort: redis.port, token: TOKEN });
  const store = new UpstashStore({ url: own.url, token: TOKEN });
  const stack = await startTestStack({ upstash: { url: front.url, token: TOKEN }, settings, former });
  return {
    stack,
    front,
    store,
    async document(app) {
      const stored = await store.readApp(app);
      return stored && parseAppDocument(stored.body);
    },
    async stop() {
      await stack.stop();
      await Promise.all([front.close(), own.close()]);
      await redis.stop();
    },
  };
}

/** On the Durable Object, whose file is read from outside. */
export async function onEmbedded(
  settings: Record<string, string> = {},
  former?: FormerState,
): Promise<OpenStack> {
  const stack = await startTestStack({ settings, former });
  const directory = join(stack.stateDirectory, "signalbox-EmbeddedStore");
  const kill = stack.kill.bind(stack);
  const restart = stack.restart.bind(stack);
  let open = Promise.withResolvers<void>();
  open.resolve();
  stack.kill = () => {
    open = Promise.withResolvers();
    return kill();
  };
  stack.restart = async () => {
    await restart();
    // Whoever opens the file first repairs it, and that must be workerd: it doesn't wait for others who do.
    await stack.api("GET", "/apps");
    open.resolve();
  };
  return {
    stack,
    async document(app) {
      await open.promise;
      const file = (await readdir(directory)).find(
        (name) => name.endsWith(".sqlite") && name !== "metadata.sqlite",
      );
      if (file === undefined) return null;
      const database = new DatabaseSync(join(directory, file), { readOnly: true, timeout: 5_000 });
      try {
        const row = database.prepare("SELECT body FROM apps WHERE name = ?").get(app);
        return row === undefined ? null : parseAppDocument(String(row["body"]));
      } finally {
        database.close();
      }
    },
    stop: () => stack.stop(),
  };
}
