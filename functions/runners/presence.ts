import { z } from "zod";
import {
  CONFLICT_MEMORY_MS,
  CONFLICT_REPLACEMENTS,
  CONFLICT_WINDOW_MS,
  RUNNER_STATUS_INTERVAL_MS,
} from "../protocol/limits.ts";
import type { StateStore } from "../state/store.ts";
import { connection, type Connection } from "./hub-view.ts";
import type { ReportedLoad } from "./status-event.ts";
import {
  deleteRunner,
  isConnected,
  newRunner,
  parseRunner,
  writeRunner,
  type RunnerProtocol,
  type RunnerRecord,
  type RunnerState,
} from "./registry.ts";

/** Shown to people; ten cover more than a minute of a conflict. */
const CONNECTIONS_KEPT = 10;
/** After this much silence a new connection is published as connecting. */
const FIRST_WORD_MS = 1_000;
/** A runner reports its load and labels this often; publishing more often would cost writes for nothing. */
const PLACEMENT_INTERVAL_MS = RUNNER_STATUS_INTERVAL_MS;
const RETRY_FIRST_MS = 1_000;
const RETRY_LIMIT_MS = 60_000;

/**
 * Whether the hub's runner is there, and its record. The hub's own storage has the truth; the registry gets a copy after
 * each change, and later if the store was down.
 */
export class Presence {
  readonly #kv: SyncKvStorage;
  readonly #store: StateStore;
  #record: RunnerRecord | null;
  #revision: number;
  #unpublished: boolean;
  #publishing: Promise<void> | null = null;
  #failures = 0;
  #retryAt = 0;
  #placementDueAt = -Infinity;

  constructor(kv: SyncKvStorage, store: StateStore) {
    this.#kv = kv;
    this.#store = store;
    this.#record = parseRunner(kv.get("record"));
    this.#revision = z.number().catch(0).parse(kv.get("revision"));
    // Builds from before the index published records without tags.
    const isIndexed = this.#record === null || !isConnected(this.#record) || kv.get("indexed") !== undefined;
    this.#unpublished = kv.get("unpublished") !== undefined || !isIndexed;
  }

  get record(): RunnerRecord | null {
    return this.#record;
  }

  /** Its latest connections, newest first. */
  get connections(): Connection[] {
    return z.array(connection).safeParse(this.#kv.get("connections")).data ?? [];
  }

  /** When the registry must be tried again; null when it is up to date. */
  get retryAt(): number | null {
    return this.#unpublished ? this.#retryAt : null;
  }

  /** A runner has connected. Returns the epoch of the connection: higher than any before. */
  connected(id: string, protocol: RunnerProtocol, replaces: boolean, now: number): number {
    const epoch = z.number().catch(0).parse(this.#kv.get("epoch")) + 1;
    this.#kv.put("epoch", epoch);
    const before = this.connections;
    if (replaces && before[0]) {
      before[0] = { ...before[0], state: "replaced", reason: "its id connected again", since: now };
    }
    const record = this.#record ?? newRunner(id, now);
    const state = record.drainRequested ? "draining" : "connecting";
    const reason = record.drainRequested
      ? "an operator asked for it"
      : replaces
        ? "connected again"
        : "connected";
    const current = { epoch, state, reason, since: now, connectedAt: now } as const;
    this.#kv.put("connections", [current, ...before].slice(0, CONNECTIONS_KEPT));
    this.#change({ ...record, state, reason, since: now, protocol, epoch, connectedAt: now });
    this.lookForConflict(now);
    if (state === "connecting") this.#retryAt = now + FIRST_WORD_MS;
    return epoch;
  }

  /** The connected runner has said something. */
  heard(now: number): void {
    const record = this.#record;
    if (record?.state === "connecting") this.moved("online", record.reason, now);
  }

  /** Its latest connection is in another state now. */
  moved(state: RunnerState, reason: string, now: number): void {
    const record = this.#record;
    if (!record || (record.state === state && record.reason === reason)) return;
    const [current, ...older] = this.connections;
    if (current) this.#kv.put("connections", [{ ...current, state, reason, since: now }, ...older]);
    this.#change({ ...record, state, reason, since: record.state === state ? record.since : now });
  }

  /** Takes what the runner reports for placement, and publishes it if it changed. */
  reportLoad({ deployments, labels, confinement }: ReportedLoad, now: number): void {
    const record = this.#record;
    if (!record) return;
    const next = {
      ...record,
      deployments: deployments ?? record.deployments,
      labels: labels ?? record.labels,
      confinement: confinement ?? record.confinement,
    };
    const isSame =
      next.deployments === record.deployments &&
      sameLabels(next.labels, record.labels) &&
      JSON.stringify(next.confinement) === JSON.stringify(record.confinement);
    if (isSame) return;
    const pending = this.retryAt;
    this.#change(next);
    if (pending === null) this.#placementDueAt = Math.max(now, this.#placementDueAt + PLACEMENT_INTERVAL_MS);
    this.#retryAt = pending ?? this.#placementDueAt;
  }

  /** Writes an operator's setting; the runner needn't have connected before. */
  setByOperator(
    id: string,
    setting: Partial<Pick<RunnerRecord, "drainRequested" | "credentialSha256">>,
    now: number,
  ): void {
    this.#change({ ...(this.#record ?? newRunner(id, now)), ...setting });
  }

  /** Sets or clears the conflict flag: set while connections of this id keep replacing each other. */
  lookForConflict(now: number): void {
    const record = this.#record;
    if (!record) return;
    const replaced = this.connections.filter(({ state }) => state === "replaced");
    const within = (ms: number): number => replaced.filter(({ since }) => now - since < ms).length;
    const conflict =
      within(CONFLICT_WINDOW_MS) >= CONFLICT_REPLACEMENTS ||
      (record.conflict && within(CONFLICT_MEMORY_MS) > 0);
    if (conflict !== record.conflict) this.#change({ ...record, conflict });
  }

  /** Forgets all but the epoch: a runner that comes back must not look like an old connection. */
  async forget(id: string): Promise<void> {
    const revision = this.#nextRevision(0);
    this.#record = null;
    this.#kv.delete("record");
    this.#kv.delete("connections");
    this.#markPublished();
    await this.#publishing?.catch(() => undefined);
    await deleteRunner(this.#store, id, revision);
  }

  /** Brings the registry up to date; rejects with `StoreUnavailable`, and `retryAt` says when to try again. */
  publish(): Promise<void> {
    this.#publishing ??= this.#publish().finally(() => {
      this.#publishing = null;
    });
    return this.#publishing;
  }

  async #publish(): Promise<void> {
    while (this.#unpublished && this.#record) {
      const record = this.#record;
      try {
        const outcome = await writeRunner(this.#store, record, this.#revision);
        if (!outcome.written) {
          // The store has a newer revision: this hub lost its storage, or a clock was ahead.
          this.#nextRevision(outcome.version);
          continue;
        }
      } catch (error) {
        this.#retryAt = Date.now() + Math.min(RETRY_LIMIT_MS, RETRY_FIRST_MS * 2 ** this.#failures);
        this.#failures += 1;
        throw error;
      }
      this.#failures = 0;
      if (this.#record === record) this.#markPublished();
    }
  }

  #markPublished(): void {
    this.#unpublished = false;
    this.#kv.delete("unpublished");
    if (this.#kv.get("indexed") === undefined) this.#kv.put("indexed", true);
  }

  /**
   * Higher than `above` and any before. It is a time, so that a hub that lost its storage still counts on from what it
   * wrote.
   */
  #nextRevision(above: number): number {
    this.#revision = Math.max(this.#revision + 1, above + 1, Date.now());
    this.#kv.put("revision", this.#revision);
    return this.#revision;
  }

  #change(record: RunnerRecord): void {
    this.#record = record;
    this.#nextRevision(0);
    this.#unpublished = true;
    this.#retryAt = 0;
    this.#kv.put("record", record);
    this.#kv.put("unpublished", true);
  }
}

function sameLabels(one: Record<string, string>, other: Record<string, string>): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
