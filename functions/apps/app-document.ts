import { z } from "zod";
import {
  DEPLOYMENT_ID_PATTERN,
  RUNNER_ID_PATTERN,
  RUNNER_LABEL_LIMIT,
  SLUG_PATTERN,
} from "../protocol/limits.ts";

/** All times in the document are epoch milliseconds; the control API shows them as RFC 3339. */

export const deploymentId = z
  .string()
  .regex(DEPLOYMENT_ID_PATTERN, "lower-case letters, digits and hyphens, at most 24, no leading hyphen");
export const appName = z
  .string()
  .regex(SLUG_PATTERN, "lower-case letters, digits and hyphens, at most 63, no leading hyphen");

export const runnerId = z
  .string()
  .regex(RUNNER_ID_PATTERN, "must have 1 to 128 of A-Z a-z 0-9 . _ - and start with a letter or digit");

const absolutePath = z
  .string()
  .max(256)
  .regex(/^\/[\w\-./~]*$/, "an absolute path of letters, digits and -._~/");
const seconds = (min: number, max: number) => z.number().int().min(min).max(max);
const host = z
  .string()
  .max(253)
  .regex(
    /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    "a host name in lower case, with no port",
  );

function isReservedVariable(name: string): boolean {
  return name === "PORT" || name === "HOST" || /^(?:PULSE|SIGNALBOX)_/.test(name);
}

const variables = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "a variable's name"), z.string().max(16_384))
  .refine((env) => Object.keys(env).length <= 200, "has more than 200 variables")
  .refine(
    (env) => !Object.keys(env).some(isReservedVariable),
    "sets a variable that Signalbox sets: PORT, HOST or one that starts with PULSE_ or SIGNALBOX_",
  );

export const contracts = ["edge", "none", "pulse"] as const;
/** What one deployment keeps to. */
export type Contract = (typeof contracts)[number];

/** What an operator sets for an app. `PUT` replaces it whole: what is left out returns to its default. */
export const appConfig = z.strictObject({
  /** Host names whose requests go to this app. */
  hosts: z
    .array(host)
    .max(100)
    .refine((hosts) => new Set(hosts).size === hosts.length, "names a host twice")
    .default([]),
  /**
   * What is asked of a backend, decided for each deployment as it is verified: `pulse`, the app answers the contract of `contract.ts`;
   * `edge`, nothing: the edge keeps pages on their version and counts them; `none`, a pure pipe; `auto`, `pulse` where the
   * backend has it, else `edge`.
   */
  contract: z.enum(["auto", ...contracts]).default("auto"),
  /** Where the backend answers the contract. */
  paths: z
    .strictObject({
      meta: absolutePath.default("/_pulse/meta"),
      health: absolutePath.default("/_pulse/health"),
      sessions: absolutePath.default("/_pulse/internal/railway/sessions"),
      reload: absolutePath.default("/_pulse/internal/railway/reload"),
    })
    .prefault({}),
  /** What verification asks where the contract isn't `pulse`: any answer below 400 is healthy; see `rollouts/verify.ts`. */
  healthPath: absolutePath.default("/"),
  /** A superseded deployment is retired at this age of its drain at the latest. */
  drainTtlSeconds: seconds(1, 30 * 86_400).default(86_400),
  /** The previous deployment is kept for a rollback this long even without sessions (the drain deadline wins). */
  previousRetentionSeconds: seconds(0, 30 * 86_400).default(600),
  /** A verified deployment that nobody promotes is retired at this age. */
  readyTtlSeconds: seconds(60, 90 * 86_400).default(7 * 86_400),
  /** Source: pulse-railway verifies for up to 180 s. */
  verifyTimeoutSeconds: seconds(1, 1_800).default(180),
  /** Between telling browsers to reload and unrouting the deployment that they leave. */
  reloadGraceSeconds: seconds(0, 3_600).default(30),
  /**
   * `page`: what a page asks for reaches the version that it was loaded from; `visitor`: the next page, too, which
   * sessions in memory need; `off`: only pins count.
   */
  stickiness: z.enum(["page", "visitor", "off"]).default("page"),
  /** With `visitor`: how long after the last page the next one still comes from its version. */
  visitIdleSeconds: seconds(1, 30 * 86_400).default(1_800),
});
export type AppConfig = z.infer<typeof appConfig>;

/** The host that the backend is told it is opened at: the visitors' one, or the one of its own address. */
const ownHost = z.enum(["public", "own"]).optional();

export const urlTarget = z.strictObject({
  kind: z.literal("url"),
  /** Origin of the backend: scheme, host and port, nothing after. */
  url: z.string().max(2_048),
  host: ownHost,
});
const command = z.string().trim().min(1).max(8_192);

export const runnerTarget = z.strictObject({
  kind: z.literal("runner"),
  /** Where it runs; without one, the least loaded runner that has the source. */
  runnerId: runnerId.optional(),
  /** What the runner must say of itself, where none is named. */
  labels: z.record(z.string().min(1).max(RUNNER_LABEL_LIMIT), z.string().max(RUNNER_LABEL_LIMIT)).optional(),
  /** An archive that was uploaded to the runner before. */
  source: z.strictObject({
    sha256: z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hexadecimal"),
  }),
  /** Without one, the lockfile decides. */
  install: command.optional(),
  build: command.optional(),
  /** Listens on `PORT`. */
  start: command,
  env: variables.optional(),
  /** Asked until it answers, before verification; without one, the port has to be open. */
  healthPath: absolutePath.optional(),
  /** The host that it is told it is opened at; `local` (localhost and its port) is for development servers. */
  host: z.enum(["public", "local"]).optional(),
});

/** A service of the Railway project that the Worker is set up for, made of exactly one of `image`, `repo`, `upload`. */
export const railwayTarget = z
  .strictObject({
    kind: z.literal("railway"),
    image: z
      .string()
      .max(512)
      .regex(/^[a-z0-9][\w./:@-]*$/i, "an image's name, like ghcr.io/owner/name:tag")
      .optional(),
    repo: z
      .strictObject({
        repo: z.string().regex(/^[\w.-]{1,100}\/[\w.-]{1,100}$/, "a GitHub repository, like owner/name"),
        branch: z
          .string()
          .regex(/^[\w./+@#-]{1,255}$/, "a branch's name")
          .optional(),
        /** What is built whatever the branch holds; without one, the branch's newest commit. */
        commit: z
          .string()
          .regex(/^[0-9a-f]{40}$/, "a commit's full SHA")
          .optional(),
      })
      .optional(),
    /** An archive that is sent afterwards: `PUT /apps/{app}/deployments/{id}/source`. */
    upload: z.literal(true).optional(),
    /** Listens on `PORT`. Without one, the image or Railway's builder decides. */
    start: command.optional(),
    build: command.optional(),
    /** Where the Dockerfile lies in the source. */
    dockerfile: z
      .string()
      .regex(/^[\w\-./]{1,256}$/, "a path of letters, digits and -._/")
      .optional(),
    /** Railway takes the service for up once this answers 200; with contract `pulse` the app's health path. */
    healthPath: absolutePath.optional(),
    env: variables
      .refine(
        (env) => !Object.keys(env).some((name) => name.startsWith("RAILWAY_")),
        "sets a variable that Railway sets or reads: one that starts with RAILWAY_",
      )
      .optional(),
    host: ownHost,
  })
  .refine(
    ({ image, repo, upload }) => [image, repo, upload].filter((one) => one !== undefined).length === 1,
    "needs exactly one of image, repo and upload",
  )
  .refine(
    ({ image, build, dockerfile }) =>
      image === undefined || (build === undefined && dockerfile === undefined),
    "has an image, which is built already: leave out build and dockerfile",
  );

export const target = z.discriminatedUnion("kind", [urlTarget, runnerTarget, railwayTarget]);
export type Target = z.infer<typeof target>;

export const deploymentStates = ["pending", "ready", "active", "draining", "failed", "removed"] as const;
export type DeploymentState = (typeof deploymentStates)[number];

const time = z.number().int().nonnegative();

const retirement = z.strictObject({
  reason: z.enum(["drained", "deadline", "deleted", "expired", "app-deleted"]),
  requestedAt: time,
  /** When browsers were told to reload, and how many sockets heard it (null: the backend couldn't be asked). */
  reload: z.strictObject({ at: time, sockets: z.number().int().nullable() }).nullable(),
  /** From here on no table names it; the backend is deleted once no table can be older than this. */
  unroutedAt: time.nullable(),
});

const deployment = z.strictObject({
  id: deploymentId,
  name: z.string(),
  /** Order of creation within the app; what "older" means for the minimum version. */
  sequence: z.number().int().positive(),
  state: z.enum(deploymentStates),
  stateSince: time,
  createdAt: time,
  target,
  promoteWhenReady: z.boolean(),
  /** Null until it is verified. */
  contract: z.enum(contracts).nullable().default(null),
  /** Origin that requests go to, once the provider has one. */
  url: z.string().nullable(),
  /** What the provider needs to find its own resources again; never a secret. */
  resources: z.record(z.string(), z.string()),
  /** Pending: the time at which it fails. Ready: the time at which it is retired. */
  deadline: time.nullable(),
  /** Draining: absolute, never moved by the janitor. */
  drainDeadline: time.nullable(),
  retirement: retirement.nullable(),
  redeploy: z.strictObject({ requestedAt: time, deadline: time, provisioned: z.boolean() }).nullable(),
  failure: z.strictObject({ code: z.string(), reason: z.string(), at: time }).nullable(),
  /** Failed: whether the provider has taken its resources away. */
  cleanedUp: z.boolean(),
});
export type Deployment = z.infer<typeof deployment>;

export const pause = z.strictObject({
  /** `hold` queues requests, `refuse` answers 503 at once. */
  mode: z.enum(["hold", "refuse"]),
  message: z.string().max(500).default("This app is paused for maintenance. Please try again shortly."),
  retryAfterSeconds: seconds(1, 86_400).default(30),
  /** The longest that a request is held before it is answered 504. */
  maxHoldSeconds: seconds(1, 300).default(30),
});

export const appDocument = z.strictObject({
  schema: z.literal(1),
  name: appName,
  version: z.number().int().positive(),
  createdAt: time,
  updatedAt: time,
  config: appConfig,
  nextSequence: z.number().int().positive(),
  active: deploymentId.nullable(),
  previous: z.strictObject({ id: deploymentId, retainUntil: time }).nullable(),
  canary: z.strictObject({ id: deploymentId, weight: z.number().min(0).max(100) }).nullable(),
  minimum: z.strictObject({ id: deploymentId, sequence: z.number().int().positive() }).nullable(),
  paused: pause.extend({ since: time }).nullable(),
  /** Set once the app is being deleted: no new visitors, everything retires, then the document goes. */
  deletingSince: time.nullable(),
  deployments: z.record(z.string(), deployment),
});
export type AppDocument = z.infer<typeof appDocument>;

/** Reads a stored document. Throws when it isn't one, which means that somebody else wrote to this store. */
export function parseAppDocument(body: string): AppDocument {
  const app = appDocument.parse(JSON.parse(body));
  const { contract } = app.config;
  if (contract === "auto") return app;
  // Earlier documents have one contract for all.
  for (const deployment of Object.values(app.deployments)) {
    if (deployment.state !== "pending") deployment.contract ??= contract;
  }
  return app;
}

/** What a deployment keeps to; null while its verification has to find out. */
export function contractOf(app: AppDocument, { contract }: Pick<Deployment, "contract">): Contract | null {
  if (contract !== null) return contract;
  return app.config.contract === "auto" ? null : app.config.contract;
}

/** A document from which no deployment has been made yet; above version 1 where an app of this name was deleted. */
export function newAppDocument(name: string, config: AppConfig, now: number, version = 1): AppDocument {
  return {
    schema: 1,
    name,
    version,
    createdAt: now,
    updatedAt: now,
    config,
    nextSequence: 1,
    active: null,
    previous: null,
    canary: null,
    minimum: null,
    paused: null,
    deletingSince: null,
    deployments: {},
  };
}

/** A deployment by its id, which comes from outside and may be the name of something that every object has. */
export function deploymentOf(app: AppDocument, id: string | null | undefined): Deployment | undefined {
  return id != null && Object.hasOwn(app.deployments, id) ? app.deployments[id] : undefined;
}

/** Whether requests may reach it; a pending one only with the internal token. */
export function isRoutable(deployment: Deployment): boolean {
  return (
    deployment.url !== null &&
    deployment.retirement?.unroutedAt == null &&
    (deployment.state === "ready" || deployment.state === "active" || deployment.state === "draining")
  );
}

/** Rule 9: nobody stays on it, whatever its state. */
export function isTooOld(app: AppDocument, deployment: Deployment): boolean {
  return app.minimum !== null && deployment.sequence < app.minimum.sequence;
}

export function isFinished(deployment: Deployment): boolean {
  return deployment.state === "removed" || (deployment.state === "failed" && deployment.cleanedUp);
}

/** Whether reconcile or the janitor still has something to do for it. */
export function hasWork(deployment: Deployment): boolean {
  switch (deployment.state) {
    case "pending":
    case "draining":
      return true;
    case "ready":
      // A ready one waits for its promotion or, at the latest, for its expiry.
      return true;
    case "active":
      return deployment.redeploy !== null;
    case "failed":
      return !deployment.cleanedUp;
    case "removed":
      return false;
  }
}
