import type { ChangesBinding } from "../changes/binding.ts";
import { tellChange } from "../changes/tell.ts";
import { ConfigError } from "../errors.ts";
import { EmbeddedStoreClient } from "./embedded-client.ts";
import type { EmbeddedStore } from "./embedded.ts";
import type { StateStore } from "./store.ts";
import { tellingStore } from "./telling-store.ts";
import { UpstashStore } from "./upstash.ts";

/** The bindings and settings that say where state is kept. */
export interface StoreEnv extends Partial<ChangesBinding> {
  UPSTASH_REDIS_REST_URL?: string | undefined;
  UPSTASH_REDIS_REST_TOKEN?: string | undefined;
  EMBEDDED_STORE: DurableObjectNamespace<EmbeddedStore>;
}

/**
 * Upstash when it is configured, else the embedded store. Half a configuration throws, naming the other half. Whoever looks
 * at the dashboard is told what changes in it.
 */
export function openStore(env: StoreEnv): StateStore {
  const store = openQuietly(env);
  const { CHANGE_HUB } = env;
  return CHANGE_HUB === undefined ? store : tellingStore(store, (topic) => tellChange({ CHANGE_HUB }, topic));
}

function openQuietly(env: StoreEnv): StateStore {
  const url = env.UPSTASH_REDIS_REST_URL;
  const token = env.UPSTASH_REDIS_REST_TOKEN;
  if (url && token) return new UpstashStore({ url, token });
  if (url)
    throw new ConfigError(
      "UPSTASH_REDIS_REST_URL is set but UPSTASH_REDIS_REST_TOKEN is not: set both or neither",
    );
  if (token) {
    throw new ConfigError(
      "UPSTASH_REDIS_REST_TOKEN is set but UPSTASH_REDIS_REST_URL is not: set both or neither",
    );
  }
  return new EmbeddedStoreClient(env.EMBEDDED_STORE);
}
