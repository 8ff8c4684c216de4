import { z } from "zod";
import type { AppController } from "./deployments/controller.ts";
import { ROUTE_TTL_MS, RUNNER_LOST_AFTER_MS } from "./protocol/limits.ts";
import type { RunnerHub } from "./runners/hub.ts";
import type { EmbeddedStore } from "./state/embedded.ts";

/** The Worker's bindings, variables and secrets, as the platform hands them over. */
export interface Env {
  APP_CONTROLLER: DurableObjectNamespace<AppController>;
  EMBEDDED_STORE: DurableObjectNamespace<EmbeddedStore>;
  RUNNER_HUB: DurableObjectNamespace<RunnerHub>;
  CONTROL_TOKEN?: string;
  PULSE_RAILWAY_INTERNAL_TOKEN?: string;
  UPSTASH_REDIS_REST_URL?: string;
  UPSTASH_REDIS_REST_TOKEN?: string;
  RUNNER_SHARED_SECRET?: string;
  RUNNER_SHARED_SECRET_PREVIOUS?: string;
  RUNNER_LOST_AFTER_MS?: string;
  ROUTE_TTL_MS?: string;
  APP_DOMAIN?: string;
  ALLOW_PRIVATE_TARGETS?: string;
  TRUST_CLIENT_ADDRESS?: string;
}

export interface Config {
  controlToken: string;
  /** What backends know Signalbox by, in `x-pulse-railway-internal-token`. */
  internalToken: string;
  /** What any runner may connect with, newest first; none while RUNNER_SHARED_SECRET isn't set. */
  runnerSecrets: string[];
  /** A runner that was silent for so long is lost. */
  runnerLostAfterMs: number;
  routeTtlMs: number;
  /** `NAME.<appDomain>` is app NAME without listing it in its hosts. */
  appDomain: string | null;
  allowPrivateTargets: boolean;
  /** Whether `cf-connecting-ip` comes from Cloudflare (it does there) or from whoever is calling (elsewhere). */
  trustClientAddress: boolean;
}

/** A setting that is missing or wrong. The message names it and never repeats its value. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

const flag = z.enum(["0", "1"], "must be 0 or 1");
const secret = z
  .string("is not set: `npx wrangler secret put` it")
  .min(16, "must have at least 16 characters");

const schema = z.object({
  CONTROL_TOKEN: secret,
  PULSE_RAILWAY_INTERNAL_TOKEN: secret,
  RUNNER_SHARED_SECRET: secret.optional(),
  RUNNER_SHARED_SECRET_PREVIOUS: secret.optional(),
  RUNNER_LOST_AFTER_MS: z
    .string()
    .regex(/^\d{3,7}$/, "must be milliseconds from 100 to 9999999")
    .default(String(RUNNER_LOST_AFTER_MS)),
  ROUTE_TTL_MS: z
    .string()
    .regex(/^\d{2,6}$/, "must be milliseconds from 10 to 999999")
    .default(String(ROUTE_TTL_MS)),
  APP_DOMAIN: z
    .string()
    .regex(/^[a-z0-9.-]{1,200}$/, "must be a host name in lower case")
    .optional(),
  ALLOW_PRIVATE_TARGETS: flag.default("0"),
  TRUST_CLIENT_ADDRESS: flag.default("1"),
});

const checked = new WeakMap<Env, Config>();

/** Validates the environment, once for each isolate. Throws {@link ConfigError}. */
export function configOf(env: Env): Config {
  const known = checked.get(env);
  if (known) return known;
  const result = schema.safeParse(env);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`);
    throw new ConfigError(`The Worker's settings are incomplete: ${issues.join("; ")}.`);
  }
  const config: Config = {
    controlToken: result.data.CONTROL_TOKEN,
    internalToken: result.data.PULSE_RAILWAY_INTERNAL_TOKEN,
    runnerSecrets: [result.data.RUNNER_SHARED_SECRET, result.data.RUNNER_SHARED_SECRET_PREVIOUS].filter(
      (value) => value !== undefined,
    ),
    runnerLostAfterMs: Number(result.data.RUNNER_LOST_AFTER_MS),
    routeTtlMs: Number(result.data.ROUTE_TTL_MS),
    appDomain: result.data.APP_DOMAIN ?? null,
    allowPrivateTargets: result.data.ALLOW_PRIVATE_TARGETS === "1",
    trustClientAddress: result.data.TRUST_CLIENT_ADDRESS === "1",
  };
  checked.set(env, config);
  return config;
}
