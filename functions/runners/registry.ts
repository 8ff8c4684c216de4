import { z } from "zod";
import { RUNNER_SUBPROTOCOL } from "../protocol/limits.ts";
import type { Page, RecordIndex, RecordTags, RecordWrite, StateStore } from "../state/store.ts";

export const protocols = [RUNNER_SUBPROTOCOL, "sentryvibe"] as const;
export type RunnerProtocol = (typeof protocols)[number];

/**
 * Where a runner stands. `connecting` and `replaced` are a connection's first and last state: accepted but not heard
 * from, and ended by a newer one of the same id. `lost` was silent for too long, `offline` has closed.
 */
export const runnerStates = ["connecting", "online", "draining", "replaced", "lost", "offline"] as const;
export type RunnerState = (typeof runnerStates)[number];

const KIND = "runner";

/** Tags of the registry's index. Labels are tags of those that are placeable, so that no search mixes in others. */
const CONNECTED = "connected";
const PLACEABLE = "placeable";

/** Records of another version are rare, and whoever has thousands of them gets short pages. */
const PAGE_READS_LIMIT = 10;

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
  /** Two runners use the id and keep replacing each other. */
  conflict: z.boolean(),
  /** An operator asked it to take nothing new. */
  drainRequested: z.boolean(),
  /** Of the runner's own secret, in hex; the secret itself is nowhere. */
  credentialSha256: z.string().nullable(),
  /** What placement goes by, as the runner last said it. Builds from before the index kept none of it here. */
  deployments: z.number().default(0),
  labels: z.record(z.string(), z.string()).default({}),
});

/** What is known of a runner without asking its hub. The hub alone writes it, when something changes. */
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
  };
}

/** Whether there is a socket to it. */
export function isConnected(record: Pick<RunnerRecord, "state">): boolean {
  return record.state === "connecting" || record.state === "online" || record.state === "draining";
}

/** Whether a deployment may be placed on it. */
export function isPlaceable(record: RunnerRecord): boolean {
  return record.state === "online" && record.protocol === RUNNER_SUBPROTOCOL;
}

export function hasLabels(record: RunnerRecord, labels: Record<string, string>): boolean {
  return Object.entries(labels).every(([name, value]) => record.labels[name] === value);
}

/** Null for what isn't a record, or another version's. */
export function parseRunner(value: unknown): RunnerRecord | null {
  return runnerRecord.safeParse(value).data ?? null;
}

export async function readRunner(store: StateStore, id: string): Promise<RunnerRecord | null> {
  const body = await store.readRecord(KIND, id);
  return body === null ? null : parseRunner(JSON.parse(body));
}

/** A page of all runners. Records of another version aren't shown, and a page isn't the shorter for them. */
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

/** Runners that have a socket, at most `limit` of them. */
export async function connectedRunners(store: StateStore, limit: number): Promise<RunnerRecord[]> {
  return parsed(await store.findRecords(KIND, [CONNECTED], limit));
}

/** Runners with all the labels on which a deployment may be placed, those with the fewest deployments first. */
export async function placeableRunners(
  store: StateStore,
  labels: Record<string, string>,
  limit: number,
): Promise<RunnerRecord[]> {
  const [first, ...others] = labelTags(labels);
  return parsed(await store.findRecords(KIND, first === undefined ? [PLACEABLE] : [first, ...others], limit));
}

/** `revision` rises with every change of a runner's record; an older one doesn't replace a newer one. */
export function writeRunner(store: StateStore, record: RunnerRecord, revision: number): Promise<RecordWrite> {
  return store.writeRecord(KIND, record.id, JSON.stringify(record), revision, indexOf(record));
}

export async function deleteRunner(store: StateStore, id: string, revision: number): Promise<void> {
  await store.deleteRecord(KIND, id, revision);
}

/** Undefined for a runner that isn't there: however many of them there have been, nobody who searches meets them. */
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
