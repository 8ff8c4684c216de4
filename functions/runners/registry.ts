import { z } from "zod";
import { RUNNER_SUBPROTOCOL } from "../protocol/limits.ts";
import type { Page, RecordWrite, StateStore } from "../state/store.ts";

export const protocols = [RUNNER_SUBPROTOCOL, "sentryvibe"] as const;
export type RunnerProtocol = (typeof protocols)[number];

/**
 * Where a runner stands. `connecting` and `replaced` are a connection's first and last state: accepted but not heard
 * from, and ended by a newer one of the same id. `lost` was silent for too long, `offline` has closed.
 */
export const runnerStates = ["connecting", "online", "draining", "replaced", "lost", "offline"] as const;
export type RunnerState = (typeof runnerStates)[number];

const KIND = "runner";

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
  };
}

/** Whether there is a socket to it. */
export function isConnected(record: Pick<RunnerRecord, "state">): boolean {
  return record.state === "connecting" || record.state === "online" || record.state === "draining";
}

/** Null for what isn't a record, or another version's. */
export function parseRunner(value: unknown): RunnerRecord | null {
  return runnerRecord.safeParse(value).data ?? null;
}

export async function readRunner(store: StateStore, id: string): Promise<RunnerRecord | null> {
  const body = await store.readRecord(KIND, id);
  return body === null ? null : parseRunner(JSON.parse(body));
}

export async function listRunners(store: StateStore, page: Page): Promise<RunnerRecord[]> {
  const rows = await store.listRecords(KIND, page);
  return rows.map(({ body }) => parseRunner(JSON.parse(body))).filter((record) => record !== null);
}

/** Runners in pages of at most `limit`, all of them: most of the records may be of runners that are long gone. */
export async function* runnerPages(store: StateStore, limit: number): AsyncGenerator<RunnerRecord[]> {
  for (let after: string | null = null; ;) {
    const rows = await store.listRecords(KIND, { after, limit });
    yield rows.map(({ body }) => parseRunner(JSON.parse(body))).filter((record) => record !== null);
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit) return;
    after = last.id;
  }
}

/** `revision` rises with every change of a runner's record; an older one doesn't replace a newer one. */
export function writeRunner(store: StateStore, record: RunnerRecord, revision: number): Promise<RecordWrite> {
  return store.writeRecord(KIND, record.id, JSON.stringify(record), revision);
}

export async function deleteRunner(store: StateStore, id: string, revision: number): Promise<void> {
  await store.deleteRecord(KIND, id, revision);
}
