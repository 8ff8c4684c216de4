import { DurableObject } from "cloudflare:workers";
import { parseAuditEntry } from "./audit.ts";
import { EmbeddedIndex } from "./embedded-index.ts";
import { migrate } from "./embedded-schema.ts";
import {
  AUDIT_ENTRIES_KEPT,
  type AppChange,
  type AuditEntry,
  type AuditRow,
  type CommitResult,
  type LeaseResult,
  type NewIdempotencyRecord,
  type IdempotencyRecord,
  type AuditWrite,
  type Page,
  type RecordIndex,
  type RecordTags,
  type RecordWrite,
  type StateStore,
  type StoredApp,
  TOMBSTONE_TTL_MS,
} from "./store.ts";

/** Rows. Each commit adds one idempotency record at most, so this many per commit always catches up. */
const PRUNED_PER_COMMIT = 100;

type AppRow = { name: string; version: number; body: string; is_default: number };

const SELECT_APP = "SELECT name, version, body, is_default FROM apps";

/**
 * The state store in a Durable Object, for installations without Upstash. Callers reach it through `openStore`.
 *
 * SQL is synchronous here and one object has one thread, so a method without `await` is atomic as it stands;
 * `transactionSync` is there to undo a write that throws halfway.
 */
export class EmbeddedStore extends DurableObject implements StateStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly #index: EmbeddedIndex;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#storage = ctx.storage;
    this.#sql = ctx.storage.sql;
    this.#index = new EmbeddedIndex(this.#sql);
    migrate(ctx.storage);
  }

  async resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    return (
      this.#app("WHERE name = (SELECT app FROM hosts WHERE host = ?)", host) ??
      this.#app("WHERE name = ?", appName) ??
      this.#app("WHERE is_default = 1")
    );
  }

  async readApp(name: string): Promise<StoredApp | null> {
    return this.#app("WHERE name = ?", name);
  }

  async listApps(page: Page): Promise<string[]> {
    const { after, limit } = page;
    const rows = this.#sql.exec<{ name: string }>(
      "SELECT name FROM apps WHERE ? IS NULL OR name > ? ORDER BY name LIMIT ?",
      after,
      after,
      limit,
    );
    return rows.toArray().map((row) => row.name);
  }

  async commit(change: AppChange): Promise<CommitResult> {
    const now = Date.now();
    return this.#storage.transactionSync(() => {
      const refusal = this.#refuse(change, now);
      if (refusal) return refusal;
      const version =
        change.body === null ? this.#deleteApp(change, now) : this.#writeApp(change, change.body);
      this.#appendAudit(change.audit);
      this.#keepRecord(change.idempotencyRecord, now);
      this.#prune(now);
      return { outcome: "committed", version };
    });
  }

  async listWork(): Promise<string[]> {
    const rows = this.#sql.exec<{ name: string }>("SELECT name FROM apps WHERE has_work = 1 ORDER BY name");
    return rows.toArray().map((row) => row.name);
  }

  async readIdempotencyRecord(key: string): Promise<IdempotencyRecord | null> {
    return this.#idempotencyRecord(key, Date.now());
  }

  async writeAudit(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): Promise<AuditWrite> {
    const now = Date.now();
    return this.#storage.transactionSync(() => {
      const record = idempotencyRecord ? this.#idempotencyRecord(idempotencyRecord.key, now) : null;
      if (record) return { outcome: "repeated", record };
      this.#appendAudit(audit);
      this.#keepRecord(idempotencyRecord, now);
      this.#prune(now);
      return { outcome: "recorded" };
    });
  }

  async acquireLease(name: string, token: string, ttlMs: number): Promise<LeaseResult> {
    const now = Date.now();
    const held = this.#first<{ token: string; expires_at: number }>(
      "SELECT token, expires_at FROM leases WHERE name = ? AND expires_at > ?",
      name,
      now,
    );
    if (held && held.token !== token) return { acquired: false, expiresInMs: held.expires_at - now };
    this.#sql.exec(
      "INSERT OR REPLACE INTO leases (name, token, expires_at) VALUES (?, ?, ?)",
      name,
      token,
      now + ttlMs,
    );
    return { acquired: true };
  }

  async renewLease(name: string, token: string, ttlMs: number): Promise<boolean> {
    const now = Date.now();
    return this.#changes(
      "UPDATE leases SET expires_at = ? WHERE name = ? AND token = ? AND expires_at > ? RETURNING name",
      now + ttlMs,
      name,
      token,
      now,
    );
  }

  async releaseLease(name: string, token: string): Promise<boolean> {
    return this.#changes(
      "DELETE FROM leases WHERE name = ? AND token = ? AND expires_at > ? RETURNING name",
      name,
      token,
      Date.now(),
    );
  }

  async readRecord(kind: string, id: string): Promise<string | null> {
    const row = this.#first<{ body: string }>("SELECT body FROM records WHERE kind = ? AND id = ?", kind, id);
    return row?.body ?? null;
  }

  async listRecords(kind: string, page: Page): Promise<{ id: string; body: string }[]> {
    const { after, limit } = page;
    return this.#sql
      .exec<{
        id: string;
        body: string;
      }>(
        "SELECT id, body FROM records WHERE kind = ? AND (? IS NULL OR id > ?) ORDER BY id LIMIT ?",
        kind,
        after,
        after,
        limit,
      )
      .toArray();
  }

  async findRecords(kind: string, tags: RecordTags, limit: number): Promise<{ id: string; body: string }[]> {
    return this.#index.find(kind, tags, limit);
  }

  async writeRecord(
    kind: string,
    id: string,
    body: string,
    version?: number,
    index?: RecordIndex,
  ): Promise<RecordWrite> {
    return this.#storage.transactionSync(() => {
      const newest = version === undefined ? null : this.#recordVersion(kind, id);
      if (version !== undefined && newest !== null && newest > version)
        return { written: false, version: newest };
      this.#sql.exec("DELETE FROM record_tombstones WHERE kind = ? AND id = ?", kind, id);
      this.#sql.exec(
        "INSERT OR REPLACE INTO records (kind, id, body, version) VALUES (?, ?, ?, ?)",
        kind,
        id,
        body,
        version ?? null,
      );
      this.#index.put(kind, id, version === undefined ? undefined : index);
      return { written: true };
    });
  }

  async deleteRecord(kind: string, id: string, version?: number): Promise<boolean> {
    const now = Date.now();
    return this.#storage.transactionSync(() => {
      if (version !== undefined) {
        const newest = this.#recordVersion(kind, id);
        if (newest !== null && newest > version) return false;
        this.#sql.exec(
          "INSERT OR REPLACE INTO record_tombstones (kind, id, version, expires_at) VALUES (?, ?, ?, ?)",
          kind,
          id,
          version,
          now + TOMBSTONE_TTL_MS,
        );
        this.#prune(now);
      }
      this.#index.put(kind, id, undefined);
      return this.#changes("DELETE FROM records WHERE kind = ? AND id = ? RETURNING id", kind, id);
    });
  }

  async listAudit(query: { app: string | null; limit: number; before: string | null }): Promise<AuditRow[]> {
    const { app, limit } = query;
    const before = query.before === null ? Number.MAX_SAFE_INTEGER : rowOf(query.before);
    type Row = { id: number; entry: string };
    const rows =
      app === null
        ? this.#sql.exec<Row>(
            "SELECT id, entry FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
            before,
            limit,
          )
        : this.#sql.exec<Row>(
            "SELECT id, entry FROM audit WHERE app = ? AND id < ? ORDER BY id DESC LIMIT ?",
            app,
            before,
            limit,
          );
    return rows.toArray().map((row) => ({ ...parseAuditEntry(row.entry), id: cursorOf(row.id) }));
  }

  #refuse(change: AppChange, now: number): CommitResult | null {
    const { app, idempotencyRecord } = change;
    const record = idempotencyRecord ? this.#idempotencyRecord(idempotencyRecord.key, now) : null;
    if (record) return { outcome: "repeated", record };
    const held = this.#first<{ version: number }>("SELECT version FROM apps WHERE name = ?", app);
    const deleted = this.#first<{ version: number }>(
      "SELECT version FROM app_tombstones WHERE name = ? AND expires_at > ?",
      app,
      now,
    );
    const version = (held ?? deleted)?.version ?? 0;
    if (version !== change.expectedVersion) return { outcome: "conflict", version };
    if (change.body === null) return held ? null : { outcome: "conflict", version };
    const taken = this.#first<{ host: string; app: string }>(
      `SELECT hosts.host, hosts.app FROM json_each(?) AS wanted JOIN hosts ON hosts.host = wanted.value
       WHERE hosts.app <> ? ORDER BY wanted.key LIMIT 1`,
      JSON.stringify(change.hosts),
      app,
    );
    return taken ? { outcome: "host_taken", host: taken.host, app: taken.app } : null;
  }

  #deleteApp({ app: name, expectedVersion }: AppChange, now: number): number {
    this.#sql.exec("DELETE FROM apps WHERE name = ?", name);
    this.#sql.exec(
      "INSERT OR REPLACE INTO app_tombstones (name, version, expires_at) VALUES (?, ?, ?)",
      name,
      expectedVersion + 1,
      now + TOMBSTONE_TTL_MS,
    );
    this.#sql.exec("DELETE FROM hosts WHERE app = ?", name);
    return 0;
  }

  #writeApp(change: AppChange, body: string): number {
    const { app, isDefault, hasWork } = change;
    const version = change.expectedVersion + 1;
    const hosts = JSON.stringify(change.hosts);
    this.#sql.exec("DELETE FROM app_tombstones WHERE name = ?", app);
    if (isDefault) this.#sql.exec("UPDATE apps SET is_default = 0 WHERE is_default = 1 AND name <> ?", app);
    this.#sql.exec(
      `INSERT INTO apps (name, version, body, is_default, has_work) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body,
         is_default = excluded.is_default, has_work = excluded.has_work`,
      app,
      version,
      body,
      isDefault ? 1 : 0,
      hasWork ? 1 : 0,
    );
    this.#sql.exec(
      "DELETE FROM hosts WHERE app = ? AND host NOT IN (SELECT value FROM json_each(?))",
      app,
      hosts,
    );
    // SQLite reads "ON CONFLICT" after a bare FROM as a join condition; the WHERE keeps them apart.
    this.#sql.exec(
      "INSERT INTO hosts (host, app) SELECT value, ? FROM json_each(?) WHERE true ON CONFLICT (host) DO NOTHING",
      app,
      hosts,
    );
    return version;
  }

  /** Of the record, or of its deletion; null where nobody has given one. */
  #recordVersion(kind: string, id: string): number | null {
    const row = this.#first<{ version: number | null }>(
      `SELECT version FROM records WHERE kind = ? AND id = ? UNION ALL
       SELECT version FROM record_tombstones WHERE kind = ? AND id = ?`,
      kind,
      id,
      kind,
      id,
    );
    return row?.version ?? null;
  }

  #appendAudit(audit: AuditEntry): void {
    this.#sql.exec("INSERT INTO audit (app, entry) VALUES (?, ?)", audit.app, JSON.stringify(audit));
    this.#sql.exec("DELETE FROM audit WHERE id <= (SELECT MAX(id) FROM audit) - ?", AUDIT_ENTRIES_KEPT);
  }

  #keepRecord(idempotencyRecord: NewIdempotencyRecord | null, now: number): void {
    if (!idempotencyRecord) return;
    this.#sql.exec(
      "INSERT OR REPLACE INTO operations (key, fingerprint, result, expires_at) VALUES (?, ?, ?, ?)",
      idempotencyRecord.key,
      idempotencyRecord.fingerprint,
      idempotencyRecord.result,
      now + idempotencyRecord.ttlSeconds * 1000,
    );
  }

  #prune(now: number): void {
    for (const table of ["operations", "leases", "record_tombstones", "app_tombstones"]) {
      this.#sql.exec(
        `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expires_at <= ? LIMIT ?)`,
        now,
        PRUNED_PER_COMMIT,
      );
    }
  }

  #app(where: string, ...bindings: (string | null)[]): StoredApp | null {
    const row = this.#first<AppRow>(`${SELECT_APP} ${where}`, ...bindings);
    if (!row) return null;
    return { name: row.name, version: row.version, body: row.body, isDefault: row.is_default === 1 };
  }

  #idempotencyRecord(key: string, now: number): IdempotencyRecord | null {
    return this.#first<{ fingerprint: string; result: string }>(
      "SELECT fingerprint, result FROM operations WHERE key = ? AND expires_at > ?",
      key,
      now,
    );
  }

  #first<T extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]): T | null {
    return this.#sql.exec<T>(query, ...bindings).toArray()[0] ?? null;
  }

  /** Whether a statement that ends in RETURNING touched a row; `rowsWritten` counts index entries, too. */
  #changes(statement: string, ...bindings: SqlStorageValue[]): boolean {
    return this.#first(statement, ...bindings) !== null;
  }
}

/** Padded so that cursors sort as text. */
function cursorOf(id: number): string {
  return String(id).padStart(16, "0");
}

/** Zero for what was never one of our cursors: nothing is older than that. */
function rowOf(cursor: string): number {
  return /^\d{1,16}$/.test(cursor) ? Number(cursor) : 0;
}
