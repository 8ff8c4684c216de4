import { z } from "zod";
import { RUNNER_SUBPROTOCOL } from "../protocol/limits.ts";
import { confinementLevels } from "../protocol/runner-api.ts";
import type { Page, RecordIndex, RecordTags, RecordWrite, StateStore } from "../state/store.ts";

export const protocols = [RUNNER_SUBPROTOCOL, "sentryvibe"] as const;
export type RunnerProtocol = (typeof protocols)[number];

/**
 * `connecting`: accepted, but nothing was heard yet. `replaced`: ended by a newer connection of the same id. `lost`: silent
 * for too long. `offline`: closed.
 */
export const runnerStates = ["connecting", "online", "draining", "replaced", "lost", "offline"] as const;
export type RunnerState = (typeof runnerStates)[number];

const KIND = "runner";

/** Tags of the registry's index. Only placeable runners have their labels as tags, so a search finds no others. */
const CONNECTED = "connected";
const PLACEABLE = "placeable";

/** Skipped records of another schema are rare; with thousands of them pages get short. */
const PAGE_READS_LIMIT = 10;

export const confinementSchema = z.object({
  level: z.enum(confinementLevels),
  network: z.enum(["own", "shared"]),
  allowed: z.array(z.string()).nullable(),
  why: z.string().nullable(),
});

const runnerRecord = z.object({
  schema: z.literal(1),
  id: z.string(),
  state: z.enum(runnerStates),
  /** Why it is in this state, in words. */
  reason: z.string(),
  /** Epoch milliseconds. */
  since: z.number(),
  /** Of its latest connection; null before the first. */
  protocol: z.enum(protocols).nullable(),
  epoch: z.number().int(),
  connectedAt: z.number().nullable(),
  /** Two runners use this id and keep replacing each other. */
  conflict: z.boolean(),
  /** Drained by an operator. */
  drainRequested: z.boolean(),
  /** Hex, of the runner's own secret, which is stored nowhere. */
  credentialSha256: z.string().nullable(),
  /** For placement, from the runner's last status. Records from before the index lack both. */
  deployments: z.number().default(0),
  labels: z.record(z.string(), z.string()).default({}),
  /** What it keeps its guests in, by its last status; null: it has never said. */
  confinement: confinementSchema.nullable().default(null),
});

/** What can be read of a runner without a call of its hub, which alone writes it. */
export type RunnerRecord = z.infer<typeof runnerRecord>;

export function newRunner(id: string, now: number): RunnerRecord {
  return {
    schema: 1,
    id,
    state: "offline",
    reason: "never connected",
    since: now,
    protocol: null,
    epoch: 0,
    connectedAt: null,
    conflict: false,
    drainRequested: false,
    credentialSha256: null,
    deployments: 0,
    labels: {},
    confinement: null,
  };
}

/** Whether it has a socket. */
export function isConnected(record: Pick<RunnerRecord, "state">): boolean {
  return record.state === "connecting" || record.state === "online" || record.state === "draining";
}

/** Whether it takes new deployments. */
export function isPlaceable(record: RunnerRecord): boolean {
  return record.state === "online" && record.protocol === RUNNER_SUBPROTOCOL;
}

export function hasLabels(record: RunnerRecord, labels: Record<string, string>): boolean {
  return Object.entries(labels).every(([name, value]) => record.labels[name] === value);
}

/** Null for anything else, and for another schema's record. */
export function parseRunner(value: unknown): RunnerRecord | null {
  return runnerRecord.safeParse(value).data ?? null;
}

export async function readRunner(store: StateStore, id: string): Promise<RunnerRecord | null> {
  const body = await store.readRecord(KIND, id);
  return body === null ? null : parseRunner(JSON.parse(body));
}

/** A page of all runners, without records of another schema. */
export async function listRunners(store: StateStore, { after, limit }: Page): Promise<RunnerRecord[]> {
  const found: RunnerRecord[] = [];
  let from = after;
  for (let reads = 0; reads < PAGE_READS_LIMIT; reads++) {
    const wanted = limit - found.length;
    const rows = await store.listRecords(KIND, { after: from, limit: wanted });
    found.push(...parsed(rows));
    from = rows.at(-1)?.id ?? null;
    if (rows.length < wanted || found.length === limit) break;
  }
  return found;
}

/** Runners with a socket, `limit` at most. */
export async function connectedRunners(store: StateStore, limit: number): Promise<RunnerRecord[]> {
  return parsed(await store.findRecords(KIND, [CONNECTED], limit));
}

/** Runners with all the labels that take new deployments, those with the fewest first. */
export async function placeableRunners(
  store: StateStore,
  labels: Record<string, string>,
  limit: number,
): Promise<RunnerRecord[]> {
  const [first, ...others] = labelTags(labels);
  return parsed(await store.findRecords(KIND, first === undefined ? [PLACEABLE] : [first, ...others], limit));
}

/** `revision` rises with every change: a late write never replaces a newer record. */
export function writeRunner(store: StateStore, record: RunnerRecord, revision: number): Promise<RecordWrite> {
  return store.writeRecord(KIND, record.id, JSON.stringify(record), revision, indexOf(record));
}

export async function deleteRunner(store: StateStore, id: string, revision: number): Promise<void> {
  await store.deleteRecord(KIND, id, revision);
}

/** Undefined for a runner without a socket: searches needn't skip those that have gone. */
function indexOf(record: RunnerRecord): RecordIndex | undefined {
  if (!isConnected(record)) return undefined;
  const tags: RecordTags = isPlaceable(record)
    ? [CONNECTED, PLACEABLE, ...labelTags(record.labels)]
    : [CONNECTED];
  return { tags, rank: record.deployments };
}

function labelTags(labels: Record<string, string>): string[] {
  return Object.entries(labels).map((label) => `label:${JSON.stringify(label)}`);
}

function parsed(rows: { body: string }[]): RunnerRecord[] {
  return rows.map(({ body }) => parseRunner(JSON.parse(body))).filter((record) => record !== null);
}
