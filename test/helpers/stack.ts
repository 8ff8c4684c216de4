import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request as send, type Dispatcher } from "undici";
import { ControlClient } from "../../scripts/client/control-client.ts";
import { startWorkerd, type Workerd } from "../../scripts/local/workerd.ts";
import { workerFile } from "./build-worker.ts";
import type { FormerState } from "./former-state.ts";

export const CONTROL_TOKEN = "control-token-for-tests";
export const INTERNAL_TOKEN = "internal-token-for-tests";
export const RUNNER_SECRET = "runner-secret-for-tests";

/** The operator's host where a test sets one: `OPERATOR_HOST: OPERATOR_NAME`. */
export const OPERATOR_NAME = "signalbox.localhost";

export interface TestStack {
  readonly origin: string;
  readonly port: number;
  /** Where a browser finds the dashboard; Node may not resolve the name. */
  readonly dashboard: string;
  /** Where Durable Objects keep their data. */
  readonly stateDirectory: string;
  readonly workerd: Workerd;
  readonly control: ControlClient;
  /** One call of the control API, whatever it answers. */
  api(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<ApiAnswer>;
  /** One public request, to an app by host name. */
  request(host: string, path: string, options?: PublicRequest): Promise<PublicAnswer>;
  /** Ends workerd as a power cut would; `restart` brings it back on the same port with the same state. */
  kill(): Promise<void>;
  restart(settings?: Record<string, string>): Promise<void>;
  stop(): Promise<void>;
}

export interface ApiAnswer {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

export interface PublicRequest {
  method?: Dispatcher.HttpMethod;
  headers?: Record<string, string | string[]>;
  body?: string | Buffer;
}

export interface PublicAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** The real Worker in real workerd on a free port, on the embedded store or on an Upstash front. */
export async function startTestStack(
  options: {
    upstash?: { url: string; token: string };
    settings?: Record<string, string>;
    /** Null leaves RUNNER_SHARED_SECRET unset. */
    runnerSecret?: null;
    stdout?: "inherit" | "pipe" | "ignore";
    /** What an earlier build left in its Durable Objects. */
    former?: FormerState | undefined;
    /** Lets a debugger in. */
    inspect?: boolean;
  } = {},
): Promise<TestStack> {
  const state = await mkdtemp(join(tmpdir(), "signalbox-test-"));
  let changed: Record<string, string> = {};
  const start = (port: number): Promise<Workerd> =>
    startWorkerd({
      worker: workerFile,
      stateDirectory: state,
      port,
      stdout: options.stdout ?? "ignore",
      inspect: options.inspect ?? false,
      settings: {
        CONTROL_TOKEN,
        PULSE_RAILWAY_INTERNAL_TOKEN: INTERNAL_TOKEN,
        ...(options.runnerSecret === null ? {} : { RUNNER_SHARED_SECRET: RUNNER_SECRET }),
        ROUTE_TTL_MS: "500",
        APP_DOMAIN: "localhost",
        PREVIEW_DOMAIN: "preview.localhost",
        ALLOW_PRIVATE_TARGETS: "1",
        TRUST_CLIENT_ADDRESS: "0",
        ...(options.upstash
          ? { UPSTASH_REDIS_REST_URL: options.upstash.url, UPSTASH_REDIS_REST_TOKEN: options.upstash.token }
          : {}),
        ...options.settings,
        ...changed,
      },
    });
  await options.former?.intoDirectory(state);
  let workerd = await start(0);
  const { port } = workerd;
  const origin = `http://127.0.0.1:${port}`;
  return {
    origin,
    port,
    dashboard: `http://${OPERATOR_NAME}:${port}/_signalbox/`,
    stateDirectory: state,
    get workerd() {
      return workerd;
    },
    control: new ControlClient(origin, CONTROL_TOKEN),
    async api(method, path, body, headers = {}) {
      const response = await fetch(`${origin}/_signalbox/api/v1${path}`, {
        method,
        headers: {
          authorization: `Bearer ${CONTROL_TOKEN}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        body: text === "" ? {} : JSON.parse(text),
      };
    },
    async request(host, path, { method = "GET", headers = {}, body } = {}) {
      const answer = await send(`${origin}${path}`, {
        method,
        headers: { host, ...headers },
        body: body ?? null,
      });
      return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
    },
    kill: () => workerd.kill(),
    async restart(settings = {}) {
      await workerd.kill();
      changed = settings;
      workerd = await start(port);
    },
    async stop() {
      await workerd.stop();
      await rm(state, { recursive: true, force: true });
    },
  };
}

/**
 * Waits for a condition that something else brings about; the error says what was seen last. The time only ends what
 * hangs: how quick something is has to be asserted by itself.
 */
export async function until<T>(
  look: () => Promise<T> | T,
  wanted: (seen: T) => boolean,
  timeoutMs = 60_000,
): Promise<T> {
  const began = Date.now();
  for (;;) {
    const seen = await look();
    if (wanted(seen)) return seen;
    const waitedMs = Date.now() - began;
    if (waitedMs > timeoutMs) throw new Error(`It didn't come to be; last seen: ${JSON.stringify(seen)}`);
    // Most looks are requests: what takes seconds isn't sooner seen by more of them.
    await new Promise((resolve) => setTimeout(resolve, waitedMs < 1_000 ? 20 : 60));
  }
}
