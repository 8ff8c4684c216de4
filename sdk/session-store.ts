import { Redis } from "@upstash/redis/cloudflare";
import { type Environment, environment } from "./settings.ts";

export interface SessionStoreOptions {
  /** `https://default:TOKEN@host`. Default: `PULSE_RAILWAY_REDIS_URL`, else `UPSTASH_REDIS_REST_URL` and `_TOKEN`. */
  url?: string;
  /** Read when no url is given. Default: the process's environment. */
  env?: Environment;
  /** What every key begins with. Default `session:`. */
  prefix?: string;
  /** A session that is neither set nor touched for this long is gone, in seconds. Default 86,400. */
  ttlSeconds?: number;
  /** How long one command may take, in milliseconds. Default 2,000. */
  timeoutMs?: number;
}

/** The store couldn't be reached, refused the command or took too long. The message never holds the token. */
export class SessionStoreUnavailable extends Error {
  override readonly name = "SessionStoreUnavailable";
}

const DEFAULT_PREFIX = "session:";
const DEFAULT_TTL_SECONDS = 86_400;
const DEFAULT_TIMEOUT_MS = 2_000;

/**
 * Server-side sessions on Upstash Redis, shared by all deployments of an app: what must outlive one of them.
 * Values are JSON. Every method rejects with {@link SessionStoreUnavailable}; nothing is retried.
 *
 * @example
 * const store = new SessionStore();
 * await store.set(id, { user: 7 });
 * const session = await store.get(id, SessionSchema.parse);
 */
export class SessionStore {
  readonly #redis: Redis;
  readonly #host: string;
  readonly #prefix: string;
  readonly #ttlSeconds: number;
  readonly #timeoutMs: number;

  /** @throws {Error} naming the setting, when the store's address is missing or malformed. */
  constructor(options: SessionStoreOptions = {}) {
    const { url, token } = readAddress(options);
    this.#host = new URL(url).host;
    this.#prefix = options.prefix ?? DEFAULT_PREFIX;
    this.#ttlSeconds = options.ttlSeconds ?? DEFAULT_TTL_SECONDS;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#redis = new Redis({
      url,
      token,
      automaticDeserialization: false,
      enableTelemetry: false,
      // One command, one request, one timeout: a slow batch would fail every session in it.
      enableAutoPipelining: false,
      retry: { retries: 0 },
      signal: () => AbortSignal.timeout(this.#timeoutMs),
    });
  }

  /** The stored value, or null when there is none. `parse` checks it and may throw. */
  get(id: string): Promise<unknown>;
  get<T>(id: string, parse: (value: unknown) => T): Promise<T | null>;
  async get<T>(id: string, parse?: (value: unknown) => T): Promise<unknown> {
    const text = await this.#run("get", (redis) => redis.get<string>(this.#key(id)));
    if (text === null) return null;
    const value: unknown = JSON.parse(text);
    return parse === undefined ? value : parse(value);
  }

  /** Replaces the value and restarts its time to live. */
  async set(id: string, value: unknown, ttlSeconds = this.#ttlSeconds): Promise<void> {
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined) throw new TypeError("A session is a JSON value; delete(id) removes one");
    await this.#run("set", (redis) => redis.set(this.#key(id), text, { ex: ttlSeconds }));
  }

  /** False when there was none. */
  async delete(id: string): Promise<boolean> {
    return (await this.#run("delete", (redis) => redis.del(this.#key(id)))) === 1;
  }

  /** Restarts the time to live without reading the value. False when there was none. */
  async touch(id: string, ttlSeconds = this.#ttlSeconds): Promise<boolean> {
    return (await this.#run("touch", (redis) => redis.expire(this.#key(id), ttlSeconds))) === 1;
  }

  #key(id: string): string {
    return this.#prefix + id;
  }

  async #run<T>(verb: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    try {
      return await command(this.#redis);
    } catch (error) {
      throw new SessionStoreUnavailable(
        `Session store at ${this.#host} failed to ${verb}: ${this.#why(error)}`,
      );
    }
  }

  // Client and server may repeat the command in their messages, and with it the session: keep what comes before.
  #why(error: unknown): string {
    if (!(error instanceof Error)) return "unknown error";
    if (error.name === "TimeoutError") return `no answer within ${this.#timeoutMs} ms`;
    if (error.name === "UpstashError") return error.message.split(/[,'"`]/)[0] ?? "refused";
    return error instanceof TypeError ? "connection failed" : error.name;
  }
}

function readAddress(options: SessionStoreOptions): { url: string; token: string } {
  const env = options.env ?? environment();
  const combined = options.url ?? env["PULSE_RAILWAY_REDIS_URL"];
  if (combined !== undefined && combined !== "") return splitAddress(combined);
  const url = env["UPSTASH_REDIS_REST_URL"];
  const token = env["UPSTASH_REDIS_REST_TOKEN"];
  if (!url || !token) {
    throw new Error(
      "No session store is configured: set PULSE_RAILWAY_REDIS_URL to https://default:TOKEN@host, " +
        "or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN",
    );
  }
  return { url, token };
}

function splitAddress(address: string): { url: string; token: string } {
  const url = URL.canParse(address) ? new URL(address) : null;
  const isHttp = url?.protocol === "https:" || url?.protocol === "http:";
  if (url === null || !isHttp || url.password === "") {
    throw new Error(
      "PULSE_RAILWAY_REDIS_URL is no Upstash REST address: it must look like https://default:TOKEN@host",
    );
  }
  return { url: url.origin, token: decodeURIComponent(url.password) };
}
