import { z } from "@hono/zod-openapi";
import { runnerId, runnerTarget } from "../apps/app-document.ts";
import { cleanedThings } from "../protocol/cleanup.ts";
import { commandTypes } from "../protocol/control.ts";
import { COMMAND_WAIT_LIMIT_SECONDS } from "../protocol/limits.ts";
import type { HubView } from "../runners/hub-view.ts";
import {
  confinementSchema,
  isConnected,
  isEnrolled,
  protocols,
  runnerStates,
  type RunnerRecord,
} from "../runners/registry.ts";

const timestamp = z.iso.datetime();
/** What a runner says in its own words. */
const fields = z.record(z.string(), z.unknown());

export const runnerPath = z.object({ id: runnerId });

export const runnerPageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(100),
  after: z.string().max(128).optional(),
});

export const commandQuery = z.object({
  /** Seconds to wait for the command's result; 0 doesn't wait. */
  wait: z.coerce.number().min(0).max(COMMAND_WAIT_LIMIT_SECONDS).default(0),
});

export const commandBody = z
  .strictObject({
    type: z.enum(commandTypes),
    projectId: z.string().min(1).max(200).nullable().optional(),
    payload: fields.optional(),
  })
  .openapi("RunnerCommand");

export const drainBody = z
  .strictObject({
    /** False lifts an earlier drain. */
    draining: z.boolean().default(true),
  })
  .openapi("RunnerDrain");

export const cleanupBody = z
  .strictObject({
    /** Deletes nothing. */
    dryRun: z.boolean().default(false),
  })
  .openapi("RunnerCleanup");

export const cleanupView = z
  .object({
    at: timestamp,
    dryRun: z.boolean(),
    /** Bytes that were freed, or would be. */
    freedBytes: z.number(),
    cleaned: z.array(
      z.object({
        what: z.enum(cleanedThings),
        /** Null: of the cache that all projects share. */
        project: z.string().nullable(),
        bytes: z.number(),
        why: z.string(),
      }),
    ),
    /** Over a limit, and in use or the only copy of somebody's work. */
    spared: z.array(z.object({ what: z.enum(cleanedThings), project: z.string(), why: z.string() })),
  })
  .openapi("RunnerCleanupReport");

export const commandView = z
  .object({
    ok: z.literal(true),
    commandId: z.string(),
    /** The event that ended the command, with `wait`. */
    event: fields.optional(),
  })
  .openapi("RunnerCommandSent");

export const credentialView = z
  .object({
    id: z.string(),
    /** Shown once; the store has only its SHA-256. */
    secret: z.string(),
  })
  .openapi("RunnerCredential");

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256: 64 hexadecimal digits in lower case");

/** The fields of a runner target that decide where it goes. */
export const placementBody = runnerTarget
  .pick({ runnerId: true, labels: true, source: true })
  .partial({ source: true })
  .openapi("PlacementWish");

export const placementView = z
  .object({
    runnerId: z.string(),
    /** False also if no source was named. */
    hasSource: z.boolean(),
  })
  .openapi("Placement");

export const sourcesHeaders = z.object({
  /** The archive's SHA-256. The runner refuses an archive with another one. */
  "x-signalbox-sha256": sha256.optional(),
});

export const sourcePath = runnerPath.extend({ sha256 });

export const sourcesView = z.object({ sha256: z.string(), bytes: z.number() }).openapi("Sources");

export const confinementView = z.object(confinementSchema.shape).openapi("Confinement");

export const runnerView = z
  .object({
    id: z.string(),
    state: z.enum(runnerStates),
    connected: z.boolean(),
    reason: z.string(),
    since: timestamp,
    protocol: z.enum(protocols).nullable(),
    epoch: z.number(),
    connectedAt: timestamp.nullable(),
    conflict: z.boolean(),
    drainRequested: z.boolean(),
    ownCredential: z.boolean(),
    /** What it keeps its guests in; null: it has never said, as runners before confinement. */
    confinement: confinementView.nullable().default(null),
    /** Whether it has used its own credential, so that the shared secret no longer opens it. */
    enrolled: z.boolean().default(false),
  })
  .openapi("Runner");

export const runnerDetails = runnerView
  .extend({
    lastHeartbeat: timestamp.nullable(),
    lastHeartbeatAgeMs: z.number().nullable(),
    status: fields.nullable(),
    openStreams: z.number(),
    connections: z.array(
      z.object({
        epoch: z.number(),
        state: z.enum(runnerStates),
        reason: z.string(),
        since: timestamp,
        connectedAt: timestamp,
      }),
    ),
    recentEvents: z.array(fields),
    hubAwakeSince: timestamp,
  })
  .openapi("RunnerDetails");

export const runnerAgentsView = z
  .object({
    agents: z.array(
      z.object({
        name: z.string(),
        /** Whether a project that names none gets it. */
        isDefault: z.boolean(),
        /** What keeps it from running, and the command that mends that. */
        fault: z.object({ missing: z.string(), remedy: z.string() }).nullable(),
      }),
    ),
  })
  .openapi("RunnerAgents");

/** What of a runner changes without a change of its record. */
export function watchedRunner({ status, openStreams, lastHeardAt }: HubView): object {
  return {
    status: status === null ? null : fields.parse(JSON.parse(status)),
    openStreams,
    lastHeartbeat: lastHeardAt === null ? null : iso(lastHeardAt),
  };
}

export function viewRunner(record: RunnerRecord): z.infer<typeof runnerView> {
  return {
    id: record.id,
    state: record.state,
    connected: isConnected(record),
    reason: record.reason,
    since: iso(record.since),
    protocol: record.protocol,
    epoch: record.epoch,
    connectedAt: record.connectedAt === null ? null : iso(record.connectedAt),
    conflict: record.conflict,
    drainRequested: record.drainRequested,
    ownCredential: record.credentialSha256 !== null,
    confinement: record.confinement,
    enrolled: isEnrolled(record),
  };
}

export function viewDetails(record: RunnerRecord, hub: HubView, now: number): z.infer<typeof runnerDetails> {
  return {
    ...viewRunner(record),
    lastHeartbeat: hub.lastHeardAt === null ? null : iso(hub.lastHeardAt),
    lastHeartbeatAgeMs: hub.lastHeardAt === null ? null : Math.max(0, now - hub.lastHeardAt),
    status: hub.status === null ? null : fields.parse(JSON.parse(hub.status)),
    openStreams: hub.openStreams,
    connections: hub.connections.map((connection) => ({
      ...connection,
      since: iso(connection.since),
      connectedAt: iso(connection.connectedAt),
    })),
    recentEvents: z.array(fields).parse(JSON.parse(hub.recentEvents)),
    hubAwakeSince: iso(hub.awakeSince),
  };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
