import { IDEMPOTENCY_RESULT_LIMIT_BYTES } from "../protocol/limits.ts";
import type {
  AppStore,
  AuditEntry,
  NewIdempotencyRecord,
  IdempotencyRecord,
  StoredApp,
} from "../apps/app-store.ts";

export {
  TOMBSTONE_TTL_MS,
  type AppChange,
  type AuditEntry,
  type CommitResult,
  type NewIdempotencyRecord,
  type IdempotencyRecord,
  type StoredApp,
} from "../apps/app-store.ts";

/**
 * What the control plane keeps, and the only ways to change it.
 *
 * An app is one JSON document, changed by compare-and-set on its version and by nothing else. A store knows
 * the document's name and version; what is inside it belongs to `apps/`.
 *
 * Every method rejects with {@link StoreUnavailable} when the store can't be reached or doesn't answer in time.
 * After that rejection a write may or may not have happened: repeat it with the same `idempotencyRecord.key` to find out.
 */
export interface StateStore extends AppStore {
  /**
   * The document that serves a host: the app that lists `host`, else the app called `appName`, else the default
   * app. One store command, since it is what routing tables are made from.
   */
  resolve(host: string, appName: string | null): Promise<StoredApp | null>;

  /** Names in alphabetical order, at most `limit`, strictly after `after`. */
  listApps(page: Page): Promise<string[]>;

  /** Names of the apps whose last commit said `hasWork`: all that a sweep has to look at. */
  listWork(): Promise<string[]>;

  /** What an earlier change recorded under this Idempotency-Key, until its time to live has passed. */
  readIdempotencyRecord(key: string): Promise<IdempotencyRecord | null>;

  /**
   * For changes that are no app's document: writes audit entry and idempotency record together. Nothing is written when
   * the request has happened before.
   */
  writeAudit(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): Promise<AuditWrite>;

  /** Takes a free or expired lease; `token` identifies the holder. */
  acquireLease(name: string, token: string, ttlMs: number): Promise<LeaseResult>;
  /** False when the lease is no longer this holder's. */
  renewLease(name: string, token: string, ttlMs: number): Promise<boolean>;
  /** False when the lease was no longer this holder's; another holder's lease is never touched. */
  releaseLease(name: string, token: string): Promise<boolean>;

  /** Registries: small JSON records by kind and id (runners, projects, the janitor's last report). */
  readRecord(kind: string, id: string): Promise<string | null>;
  /** Ids in alphabetical order, at most `limit`, strictly after `after`. */
  listRecords(kind: string, page: Page): Promise<{ id: string; body: string }[]>;
  /**
   * With a version, which must rise from write to write, an older record never takes the place of a newer one or of a
   * newer deletion, however late it arrives. Without one the last writer wins.
   *
   * `index` is where `findRecords` finds it, written together with the record. It belongs to the version that it came
   * with: a write that gives none, and one without a version, take the record out of the index.
   */
  writeRecord(
    kind: string,
    id: string,
    body: string,
    version?: number,
    index?: RecordIndex,
  ): Promise<RecordWrite>;
  /**
   * Records that have all of the tags, at most `limit`, the lowest rank first, then in alphabetical order. What it costs
   * goes by the rarest of the tags, never by all records, and never by more than {@link RECORDS_EXAMINED}.
   */
  findRecords(kind: string, tags: RecordTags, limit: number): Promise<{ id: string; body: string }[]>;
  /**
   * False when there was none, or a newer one. What a deletion with a version has deleted stays so for older writes:
   * for {@link TOMBSTONE_TTL_MS}, longer than any request is under way.
   */
  deleteRecord(kind: string, id: string, version?: number): Promise<boolean>;

  /** Newest first, at most `limit`, strictly older than `before` (an entry's id). */
  listAudit(query: { app: string | null; limit: number; before: string | null }): Promise<AuditRow[]>;
}

export interface Page {
  after: string | null;
  limit: number;
}

export type AuditWrite =
  | { outcome: "recorded" }
  /** A request with this key has happened before. */
  | { outcome: "repeated"; record: IdempotencyRecord };

/** `version` is what the store holds, or has deleted, at that id. */
export type RecordWrite = { written: true } | { written: false; version: number };

/** At least one, since what has none isn't in the index. */
export type RecordTags = readonly [string, ...string[]];

export interface RecordIndex {
  tags: RecordTags;
  rank: number;
}

export type LeaseResult = { acquired: true } | { acquired: false; expiresInMs: number };

/** `id` sorts by age and is a cursor for `before`. */
export type AuditRow = AuditEntry & { id: string };

/** The store can't be reached, refused the connection or didn't answer in time. Safe to try again later. */
export class StoreUnavailable extends Error {
  override name = "StoreUnavailable";
}

/** Throws where an answer is too large to be kept for a repetition: whoever asked must keep less of it. */
export function checkResultSize(idempotencyRecord: NewIdempotencyRecord | null): void {
  if (idempotencyRecord === null) return;
  const bytes = new TextEncoder().encode(idempotencyRecord.result).length;
  if (bytes <= IDEMPOTENCY_RESULT_LIMIT_BYTES) return;
  throw new RangeError(
    `The record of an Idempotency-Key would hold ${bytes} bytes, past ${IDEMPOTENCY_RESULT_LIMIT_BYTES}.`,
  );
}

/** The newest audit entries that a store keeps, per installation. Source: about 200 B each, 4 MB in all. */
export const AUDIT_ENTRIES_KEPT = 20_000;

/**
 * How many records with the rarest tag a search examines for the other tags. So many take some 20 ms, during which the
 * store does nothing else.
 */
export const RECORDS_EXAMINED = 10_000;
