/** What the rules of apps need of a store: read a document, and write it back if nobody else wrote in between. */
export interface AppStore {
  readApp(name: string): Promise<StoredApp | null>;

  /** Writes document, hosts, default, audit entry and idempotency record together, or none of them. */
  commit(change: AppChange): Promise<CommitResult>;
}

export interface StoredApp {
  name: string;
  /** Starts at 1, rises by one with each commit, deletions among them: see {@link AppChange.expectedVersion}. */
  version: number;
  /** The document as JSON text. */
  body: string;
  /** Whether requests for hosts that nobody claims go to this app. */
  isDefault: boolean;
}

export interface AppChange {
  app: string;
  /**
   * The version that the change was computed from; 0 when the app must not exist yet. A deletion is a version, too: for
   * {@link TOMBSTONE_TTL_MS} an app of the same name goes on from there, which a conflict tells. So no version ever
   * means two documents, and whoever slept through a deletion can't write onto what came after it.
   */
  expectedVersion: number;
  /** The next document as JSON text, or null to delete the app (its hosts and default go with it). */
  body: string | null;
  /** All hosts of the next document, lower case. A host that another app holds refuses the whole commit. */
  hosts: string[];
  /** True makes this the default app (taking over from another), false makes it not the default. */
  isDefault: boolean;
  /** Whether reconcile still has something to do here. */
  hasWork: boolean;
  audit: AuditEntry;
  /** Makes the commit happen at most once, however often it is sent. */
  idempotencyRecord: NewIdempotencyRecord | null;
}

export type NewIdempotencyRecord = IdempotencyRecord & { key: string; ttlSeconds: number };

export interface IdempotencyRecord {
  /** Hash of the request that the key stands for: the same key with another request is an error. */
  fingerprint: string;
  /** What to answer when the request is repeated; stores refuse more than `IDEMPOTENCY_RESULT_LIMIT_BYTES`. */
  result: string;
}

export type CommitResult =
  | { outcome: "committed"; version: number }
  /** Somebody else wrote first; `version` is what the store holds now, or has deleted (0: neither). */
  | { outcome: "conflict"; version: number }
  /** A request with this key has happened before. */
  | { outcome: "repeated"; record: IdempotencyRecord }
  | { outcome: "host_taken"; host: string; app: string };

export interface AuditEntry {
  /** Epoch milliseconds. */
  at: number;
  app: string | null;
  actor: string;
  action: string;
  fromVersion: number | null;
  toVersion: number | null;
  /** Small JSON-able facts; never a secret. */
  details: Record<string, string | number | boolean | null>;
}

/** How long the version of a deleted app or record is remembered: longer than any request is under way. */
export const TOMBSTONE_TTL_MS = 24 * 60 * 60 * 1_000;
