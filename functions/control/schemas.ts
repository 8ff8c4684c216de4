import { z } from "@hono/zod-openapi";
import {
  appConfig,
  appName,
  contracts,
  deploymentId,
  deploymentStates,
  pause,
  target,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import { LOG_PAGE_LINES, LOG_WAIT_LIMIT_SECONDS } from "../protocol/limits.ts";
import type { StoredApp } from "../state/store.ts";

/** The control API's bodies: validators, from which the OpenAPI document is generated. */

const timestamp = z.iso.datetime();

export const appPath = z.object({ app: appName });
export const deploymentPath = z.object({ app: appName, id: deploymentId });
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(100),
  after: z.string().max(64).optional(),
});
export const auditQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(100),
  before: z.string().max(64).optional(),
  app: appName.optional(),
});

/** A whole number in a query: digits only, where `Number` would take `1e3` and ` 7`. */
const digits = (most: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, "must be a whole number")
    .transform(Number)
    .refine((value) => value <= most, `must be at most ${most}`);
export const logQuery = z.object({
  /** Where the last page ended; 0 is the beginning. */
  cursor: digits(Number.MAX_SAFE_INTEGER).default(0),
  limit: digits(LOG_PAGE_LINES)
    .refine((value) => value > 0, "must be at least 1")
    .default(LOG_PAGE_LINES),
  /** Seconds to wait for the first line; 0 doesn't wait. */
  wait: digits(LOG_WAIT_LIMIT_SECONDS).default(0),
  follow: z.enum(["0", "1"]).default("0"),
});

export const appBody = appConfig
  .extend({
    /** Answers every host that no app lists. Setting it takes it from the former default app in one step. */
    default: z.boolean().default(false),
  })
  .openapi("AppConfig");

export const deploymentBody = z
  .strictObject({
    id: deploymentId.optional(),
    /** Generated ids start with it: `NAME-YYMMDD-HHMMSS`. */
    name: deploymentId.default("prod"),
    target,
    promote: z.boolean().default(true),
  })
  .openapi("NewDeployment");

export const canaryBody = z
  .strictObject({ id: deploymentId, weight: z.number().min(0).max(100) })
  .openapi("Canary");
export const pauseBody = pause.partial({ mode: true }).openapi("Pause");
/** `null` lifts the minimum. */
export const minimumBody = z.strictObject({ id: deploymentId.nullable() }).openapi("Minimum");
export const janitorBody = z.strictObject({ dryRun: z.boolean().default(false) }).openapi("JanitorRun");

export const deploymentView = z
  .object({
    id: z.string(),
    app: z.string(),
    name: z.string(),
    state: z.enum(deploymentStates),
    stateSince: timestamp,
    createdAt: timestamp,
    sequence: z.number(),
    target,
    promote: z.boolean(),
    /** What it keeps to, as its verification found out; null until then, and in answers that earlier builds kept. */
    contract: z.enum(contracts).nullable().default(null),
    url: z.string().nullable(),
    drainDeadline: timestamp.nullable(),
    retirement: z
      .object({
        reason: z.string(),
        requestedAt: timestamp,
        reloadedAt: timestamp.nullable(),
        reloadedSockets: z.number().nullable(),
        unroutedAt: timestamp.nullable(),
      })
      .nullable(),
    redeploying: z.boolean(),
    failure: z.object({ code: z.string(), reason: z.string(), at: timestamp }).nullable(),
  })
  .openapi("Deployment");

export const logView = z
  .object({
    lines: z.array(
      z.object({
        at: z.string(),
        stream: z.enum(["stdout", "stderr", "system"]),
        text: z.string(),
        /** What wrote it: install, build, start. */
        step: z.string().optional(),
      }),
    ),
    /** Where to go on. */
    cursor: z.number(),
    /** Lines between the asked cursor and these were too old to be kept. */
    truncated: z.boolean(),
    /** Nothing will ever follow. */
    complete: z.boolean(),
    /** Why there is nothing, where that needs words. */
    detail: z.string().optional(),
  })
  .openapi("Log");

export const appView = appConfig
  .extend({
    name: z.string(),
    version: z.number(),
    default: z.boolean(),
    createdAt: timestamp,
    updatedAt: timestamp,
    active: z.string().nullable(),
    previous: z.object({ id: z.string(), retainUntil: timestamp }).nullable(),
    canary: z.object({ id: z.string(), weight: z.number() }).nullable(),
    minimum: z.string().nullable(),
    paused: pause.extend({ since: timestamp }).nullable(),
    deleting: z.boolean(),
    deployments: z.array(deploymentView),
  })
  .openapi("App");

export const auditView = z
  .object({
    id: z.string(),
    at: timestamp,
    app: z.string().nullable(),
    actor: z.string(),
    action: z.string(),
    fromVersion: z.number().nullable(),
    toVersion: z.number().nullable(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  })
  .openapi("AuditEntry");

export const problemView = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    code: z.string(),
    detail: z.string(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  })
  .openapi("Problem");

export function viewApp(app: AppDocument, stored: Pick<StoredApp, "isDefault">): z.infer<typeof appView> {
  return {
    ...app.config,
    name: app.name,
    version: app.version,
    default: stored.isDefault,
    createdAt: iso(app.createdAt),
    updatedAt: iso(app.updatedAt),
    active: app.active,
    previous: app.previous && { id: app.previous.id, retainUntil: iso(app.previous.retainUntil) },
    canary: app.canary,
    minimum: app.minimum?.id ?? null,
    paused: app.paused && { ...app.paused, since: iso(app.paused.since) },
    deleting: app.deletingSince !== null,
    deployments: viewDeployments(app),
  };
}

/** Newest first. */
export function viewDeployments(app: AppDocument): z.infer<typeof deploymentView>[] {
  return Object.values(app.deployments)
    .sort((one, other) => other.sequence - one.sequence)
    .map((deployment) => viewDeployment(app, deployment));
}

export function viewDeployment(app: AppDocument, deployment: Deployment): z.infer<typeof deploymentView> {
  const { retirement, failure } = deployment;
  return {
    id: deployment.id,
    app: app.name,
    name: deployment.name,
    state: deployment.state,
    stateSince: iso(deployment.stateSince),
    createdAt: iso(deployment.createdAt),
    sequence: deployment.sequence,
    target: deployment.target,
    promote: deployment.promoteWhenReady,
    contract: deployment.contract,
    url: deployment.url,
    drainDeadline: isoOrNull(deployment.drainDeadline),
    retirement: retirement && {
      reason: retirement.reason,
      requestedAt: iso(retirement.requestedAt),
      reloadedAt: isoOrNull(retirement.reload?.at ?? null),
      reloadedSockets: retirement.reload?.sockets ?? null,
      unroutedAt: isoOrNull(retirement.unroutedAt),
    },
    redeploying: deployment.redeploy !== null,
    failure: failure && { code: failure.code, reason: failure.reason, at: iso(failure.at) },
  };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

function isoOrNull(time: number | null): string | null {
  return time === null ? null : iso(time);
}
