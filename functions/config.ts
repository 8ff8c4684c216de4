import { z } from "zod";
import { parseTrust, type Trust } from "./access/oidc.ts";
import { ConfigError } from "./errors.ts";
import { parseOperatorHost, type OperatorHost } from "./operator-host.ts";
import {
  OWN_REQUESTS_RESERVE,
  REQUESTS_LIMIT,
  ROUTE_TTL_MS,
  RUNNER_LOST_AFTER_MS,
  SOCKETS_LIMIT,
  VISITOR_STREAMS_LIMIT,
} from "./protocol/limits.ts";
import { CALLS_PER_MINUTE, RAILWAY_API_URL, type RailwayToken } from "./railway/client.ts";

export interface Config {
  controlToken: string;
  /** What backends know Signalbox by, in `x-pulse-railway-internal-token`. */
  internalToken: string;
  /** What any runner may connect with, newest first; none while RUNNER_SHARED_SECRET isn't set. */
  runnerSecrets: string[];
  /** Whether the shared secret is good for nothing but enrolling a new runner. */
  requireEnrolment: boolean;
  /** A runner that was silent for so long is lost. */
  runnerLostAfterMs: number;
  /** What a runner's apps may have open at a time, and one visitor of it. */
  runnerRequestsLimit: number;
  runnerSocketsLimit: number;
  runnerVisitorLimit: number;
  /** Whether a visitor's WebSocket gets a connection of its own to the runner, so that it is held back by whoever doesn't read. */
  joinsSockets: boolean;
  routeTtlMs: number;
  /** `NAME.<appDomain>` is app NAME without listing it in its hosts. */
  appDomain: string | null;
  /** `NAME.<previewDomain>` is the preview of project NAME; null: there are no previews. */
  previewDomain: string | null;
  /** Null: the dashboard is on hosts that no app answers for. */
  operatorHost: OperatorHost | null;
  allowPrivateTargets: boolean;
  /** Whether `cf-connecting-ip` comes from Cloudflare (it does there) or from whoever is calling (elsewhere). */
  trustClientAddress: boolean;
  /** Whose signed tokens call the control API. */
  oidcTrust: Trust[];
  /** Null: there is no Railway, and its targets are refused. */
  railway: RailwaySettings | null;
}

/** The one Railway project and environment that deployments go to. */
export interface RailwaySettings {
  token: RailwayToken;
  /** Null: the project token names it. */
  place: { project: string; environment: string } | null;
  /** The service that holds the variables of all deployments. */
  envService: string;
  apiUrl: string;
  callsPerMinute: number;
}

const flag = z.enum(["0", "1"], "must be 0 or 1");
const secret = z
  .string("is not set: `npx wrangler secret put` it")
  .min(16, "must have at least 16 characters");

const railwayId = z.string().regex(/^[\w-]{1,64}$/, "must be an id as Railway shows it");

const streamLimit = (most: number, usual = most) =>
  z.coerce
    .number<string>(`must be a number from 1 to ${most}`)
    .int(`must be a number from 1 to ${most}`)
    .min(1, `must be a number from 1 to ${most}`)
    .max(most, `must be a number from 1 to ${most}`)
    .default(usual);

const schema = z.object({
  CONTROL_TOKEN: secret,
  PULSE_RAILWAY_INTERNAL_TOKEN: secret,
  RUNNER_SHARED_SECRET: secret.optional(),
  RUNNER_SHARED_SECRET_PREVIOUS: secret.optional(),
  RUNNER_ENROLMENT: z.enum(["optional", "required"], "must be optional or required").default("optional"),
  RUNNER_LOST_AFTER_MS: z
    .string()
    .regex(/^\d{3,7}$/, "must be milliseconds from 100 to 9999999")
    .default(String(RUNNER_LOST_AFTER_MS)),
  RUNNER_REQUESTS_LIMIT: streamLimit(REQUESTS_LIMIT - OWN_REQUESTS_RESERVE),
  RUNNER_SOCKETS_LIMIT: streamLimit(SOCKETS_LIMIT),
  RUNNER_VISITOR_LIMIT: streamLimit(REQUESTS_LIMIT, VISITOR_STREAMS_LIMIT),
  RUNNER_JOINED_SOCKETS: flag.default("0"),
  ROUTE_TTL_MS: z
    .string()
    .regex(/^\d{2,6}$/, "must be milliseconds from 10 to 999999")
    .default(String(ROUTE_TTL_MS)),
  APP_DOMAIN: z
    .string()
    .regex(/^[a-z0-9.-]{1,200}$/, "must be a host name in lower case")
    .optional(),
  PREVIEW_DOMAIN: z
    .string()
    .regex(/^[a-z0-9.-]{1,200}$/, "must be a host name in lower case")
    .optional(),
  OPERATOR_HOST: z
    .string()
    .refine(
      (value) => parseOperatorHost(value) !== null,
      "must be a host name in lower case, with a port only if it isn't 80 or 443",
    )
    .optional(),
  ALLOW_PRIVATE_TARGETS: flag.default("0"),
  TRUST_CLIENT_ADDRESS: flag.default("1"),
  OIDC_TRUST: z.string().optional(),
  RAILWAY_TOKEN: z.string().min(1).optional(),
  RAILWAY_API_TOKEN: z.string().min(1).optional(),
  RAILWAY_PROJECT_ID: railwayId.optional(),
  RAILWAY_ENVIRONMENT_ID: railwayId.optional(),
  RAILWAY_ENV_SERVICE: z
    .string()
    .regex(/^[A-Za-z0-9][\w-]{0,31}$/, "must be a service's name: letters, digits, - and _, at most 32")
    .default("pulse-env"),
  RAILWAY_API_URL: z.url({ protocol: /^https?$/, error: "must be a URL" }).default(RAILWAY_API_URL),
  RAILWAY_CALLS_PER_MINUTE: z
    .string()
    .regex(/^[1-9]\d{0,4}$/, "must be a number from 1 to 99999")
    .default(String(CALLS_PER_MINUTE)),
});

/** The variables and secrets that are read here, as the platform hands them over. */
export type ConfigEnv = { [Name in keyof z.input<typeof schema>]?: string };

const checked = new WeakMap<ConfigEnv, Config>();

/** Validates the environment, once for each isolate. Throws {@link ConfigError}. */
export function configOf(env: ConfigEnv): Config {
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
    requireEnrolment: result.data.RUNNER_ENROLMENT === "required",
    runnerLostAfterMs: Number(result.data.RUNNER_LOST_AFTER_MS),
    runnerRequestsLimit: result.data.RUNNER_REQUESTS_LIMIT,
    runnerSocketsLimit: result.data.RUNNER_SOCKETS_LIMIT,
    runnerVisitorLimit: result.data.RUNNER_VISITOR_LIMIT,
    joinsSockets: result.data.RUNNER_JOINED_SOCKETS === "1",
    routeTtlMs: Number(result.data.ROUTE_TTL_MS),
    appDomain: result.data.APP_DOMAIN ?? null,
    previewDomain: result.data.PREVIEW_DOMAIN ?? null,
    operatorHost: parseOperatorHost(result.data.OPERATOR_HOST ?? ""),
    allowPrivateTargets: result.data.ALLOW_PRIVATE_TARGETS === "1",
    trustClientAddress: result.data.TRUST_CLIENT_ADDRESS === "1",
    oidcTrust: trustOf(result.data),
    railway: railwayOf(result.data),
  };
  checked.set(env, config);
  return config;
}

function trustOf({ OIDC_TRUST, ALLOW_PRIVATE_TARGETS }: z.infer<typeof schema>): Trust[] {
  const trust = parseTrust(OIDC_TRUST ?? "[]", { allowHttp: ALLOW_PRIVATE_TARGETS === "1" });
  if (trust !== null) return trust;
  throw new ConfigError(
    'OIDC_TRUST must be a JSON list such as [{"repository":"you/shop","branch":"main","scopes":["deploy:shop"]}].',
  );
}

/** A project token wins over an account's, as with Railway's own tools. */
function railwayOf(data: z.infer<typeof schema>): RailwaySettings | null {
  const { RAILWAY_PROJECT_ID: project, RAILWAY_ENVIRONMENT_ID: environment } = data;
  const token: RailwayToken | null =
    data.RAILWAY_TOKEN !== undefined
      ? { kind: "project", value: data.RAILWAY_TOKEN }
      : data.RAILWAY_API_TOKEN !== undefined
        ? { kind: "account", value: data.RAILWAY_API_TOKEN }
        : null;
  if (token === null) return null;
  const place = project !== undefined && environment !== undefined ? { project, environment } : null;
  if (place === null && (token.kind === "account" || project !== undefined || environment !== undefined)) {
    throw new ConfigError(
      "The Worker's settings are incomplete: set RAILWAY_PROJECT_ID and RAILWAY_ENVIRONMENT_ID, both; only a " +
        "project's own token (RAILWAY_TOKEN) names them itself, if both are left out.",
    );
  }
  const { RAILWAY_ENV_SERVICE, RAILWAY_API_URL, RAILWAY_CALLS_PER_MINUTE } = data;
  return {
    token,
    place,
    envService: RAILWAY_ENV_SERVICE,
    apiUrl: RAILWAY_API_URL,
    callsPerMinute: Number(RAILWAY_CALLS_PER_MINUTE),
  };
}
