import {
  checkResultSize,
  StoreUnavailable,
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
} from "../../functions/state/store.ts";

/** Where a call of the store fails: before it is carried out, or after, with its answer lost. */
export type Fault = "before" | "after";

interface StoredRecord {
  kind: string;
  id: string;
  body: string;
  version: number | undefined;
  index: RecordIndex | undefined;
}

/** A state store in memory, for tests of what works on one: it counts its calls and fails where it is told to. */
export class MemoryStore implements StateStore {
  readonly apps = new Map<string, StoredApp & { hosts: string[]; hasWork: boolean }>();
  /** Oldest first. */
  readonly audit: AuditEntry[] = [];
  readonly leases = new Map<string, { token: string; expiresAt: number }>();
  readonly records = new Map<string, StoredRecord>();
  readonly #deletedApps = new Map<string, number>();
  readonly #deletedRecords = new Map<string, number>();
  readonly #operations = new Map<string, IdempotencyRecord & { expiresAt: number }>();
  readonly #now: () => number;
  calls = 0;
  /** Asked before and after each call, with its number from 1 on. */
  fault: (call: number, phase: Fault) => boolean = () => false;

  constructor(now: () => number) {
    this.#now = now;
  }

  resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    return this.#call(() => {
      const all = [...this.apps.values()];
      const byHost = all.find(({ hosts }) => hosts.includes(host));
      const byName = appName === null ? undefined : this.apps.get(appName);
      return storedApp(byHost ?? byName ?? all.find(({ isDefault }) => isDefault));
    });
  }

  readApp(name: string): Promise<StoredApp | null> {
    return this.#call(() => storedApp(this.apps.get(name)));
  }

  listApps(page: Page): Promise<string[]> {
    return this.#call(() => pageOf([...this.apps.keys()], (name) => name, page));
  }

  commit(change: AppChange): Promise<CommitResult> {
    return this.#call(() => {
      checkResultSize(change.idempotencyRecord);
      const repeated = this.#operation(change.idempotencyRecord?.key);
      if (repeated) return { outcome: "repeated", record: repeated };
      const held = this.apps.get(change.app);
      const version = held?.version ?? this.#deletedApps.get(change.app) ?? 0;
      if (version !== change.expectedVersion || (change.body === null && !held))
        return { outcome: "conflict", version };
      const taken = change.body === null ? null : this.#takenHost(change);
      if (taken) return taken;
      this.audit.push(change.audit);
      this.#record(change.idempotencyRecord);
      if (change.body === null) {
        this.apps.delete(change.app);
        this.#deletedApps.set(change.app, version + 1);
        return { outcome: "committed", version: 0 };
      }
      this.#deletedApps.delete(change.app);
      if (change.isDefault) for (const app of this.apps.values()) app.isDefault = false;
      const { app: name, body, hosts, isDefault, hasWork } = change;
      this.apps.set(name, { name, version: version + 1, body, hosts, isDefault, hasWork });
      return { outcome: "committed", version: version + 1 };
    });
  }

  listWork(): Promise<string[]> {
    return this.#call(() =>
      [...this.apps.values()]
        .filter(({ hasWork }) => hasWork)
        .map(({ name }) => name)
        .sort(),
    );
  }

  readIdempotencyRecord(key: string): Promise<IdempotencyRecord | null> {
    return this.#call(() => this.#operation(key));
  }

  writeAudit(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): Promise<AuditWrite> {
    return this.#call(() => {
      checkResultSize(idempotencyRecord);
      const record = this.#operation(idempotencyRecord?.key);
      if (record) return { outcome: "repeated", record };
      this.audit.push(audit);
      this.#record(idempotencyRecord);
      return { outcome: "recorded" };
    });
  }

  acquireLease(name: string, token: string, ttlMs: number): Promise<LeaseResult> {
    return this.#call(() => {
      const held = this.leases.get(name);
      if (held && held.expiresAt > this.#now() && held.token !== token) {
        return { acquired: false, expiresInMs: held.expiresAt - this.#now() };
      }
      this.leases.set(name, { token, expiresAt: this.#now() + ttlMs });
      return { acquired: true };
    });
  }

  renewLease(name: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#call(() => {
      if (!this.#holds(name, token)) return false;
      this.leases.set(name, { token, expiresAt: this.#now() + ttlMs });
      return true;
    });
  }

  releaseLease(name: string, token: string): Promise<boolean> {
    return this.#call(() => this.#holds(name, token) && this.leases.delete(name));
  }

  readRecord(kind: string, id: string): Promise<string | null> {
    return this.#call(() => this.records.get(keyOf(kind, id))?.body ?? null);
  }

  listRecords(kind: string, page: Page): Promise<{ id: string; body: string }[]> {
    return this.#call(() => pageOf(this.#ofKind(kind), ({ id }) => id, page).map(idAndBody));
  }

  findRecords(kind: string, tags: RecordTags, limit: number): Promise<{ id: string; body: string }[]> {
    return this.#call(() =>
      this.#ofKind(kind)
        .flatMap(({ index, ...record }) => (index ? [{ ...record, index }] : []))
        .filter(({ index }) => tags.every((tag) => index.tags.includes(tag)))
        .sort((one, other) => one.index.rank - other.index.rank || (one.id < other.id ? -1 : 1))
        .slice(0, limit)
        .map(idAndBody),
    );
  }

  writeRecord(
    kind: string,
    id: string,
    body: string,
    version?: number,
    index?: RecordIndex,
  ): Promise<RecordWrite> {
    return this.#call(() => {
      const key = keyOf(kind, id);
      const newest = this.#recordVersion(key);
      if (version !== undefined && newest !== undefined && newest > version)
        return { written: false, version: newest };
      this.#deletedRecords.delete(key);
      this.records.set(key, { kind, id, body, version, index: version === undefined ? undefined : index });
      return { written: true };
    });
  }

  deleteRecord(kind: string, id: string, version?: number): Promise<boolean> {
    return this.#call(() => {
      const key = keyOf(kind, id);
      if (version !== undefined) {
        const newest = this.#recordVersion(key);
        if (newest !== undefined && newest > version) return false;
        this.#deletedRecords.set(key, version);
      }
      return this.records.delete(key);
    });
  }

  listAudit(query: { app: string | null; limit: number; before: string | null }): Promise<AuditRow[]> {
    return this.#call(() =>
      this.audit
        .map((entry, index) => ({ ...entry, id: String(index).padStart(16, "0") }))
        .filter(({ id, app }) => isBefore(id, query.before) && (query.app === null || app === query.app))
        .toReversed()
        .slice(0, query.limit),
    );
  }

  #operation(key: string | undefined): IdempotencyRecord | null {
    const found = key === undefined ? undefined : this.#operations.get(key);
    if (!found || found.expiresAt <= this.#now()) return null;
    return { fingerprint: found.fingerprint, result: found.result };
  }

  #record(idempotencyRecord: NewIdempotencyRecord | null): void {
    if (!idempotencyRecord) return;
    const { key, fingerprint, result, ttlSeconds } = idempotencyRecord;
    this.#operations.set(key, { fingerprint, result, expiresAt: this.#now() + ttlSeconds * 1_000 });
  }

  #takenHost(change: AppChange): CommitResult | null {
    for (const host of change.hosts) {
      const holder = [...this.apps.values()].find(
        ({ name, hosts }) => name !== change.app && hosts.includes(host),
      );
      if (holder) return { outcome: "host_taken", host, app: holder.name };
    }
    return null;
  }

  #ofKind(kind: string): StoredRecord[] {
    return [...this.records.values()].filter((record) => record.kind === kind);
  }

  #recordVersion(key: string): number | undefined {
    return this.records.get(key)?.version ?? this.#deletedRecords.get(key);
  }

  #holds(name: string, token: string): boolean {
    const held = this.leases.get(name);
    return held !== undefined && held.token === token && held.expiresAt > this.#now();
  }

  async #call<T>(carryOut: () => T): Promise<T> {
    this.calls += 1;
    const number = this.calls;
    // A real store answers later, never within the same turn.
    await Promise.resolve();
    if (this.fault(number, "before")) throw new StoreUnavailable("The store is away.");
    const answer = carryOut();
    await Promise.resolve();
    if (this.fault(number, "after")) throw new StoreUnavailable("The store's answer was lost.");
    return answer;
  }
}

function storedApp(found: StoredApp | undefined): StoredApp | null {
  if (!found) return null;
  const { name, version, body, isDefault } = found;
  return { name, version, body, isDefault };
}

function keyOf(kind: string, id: string): string {
  return JSON.stringify([kind, id]);
}

function pageOf<T>(all: T[], idOf: (one: T) => string, { after, limit }: Page): T[] {
  return all
    .filter((one) => after === null || idOf(one) > after)
    .sort((one, other) => (idOf(one) < idOf(other) ? -1 : 1))
    .slice(0, limit);
}

function idAndBody({ id, body }: StoredRecord): { id: string; body: string } {
  return { id, body };
}

/** Nothing is before a cursor that this store never gave out. */
function isBefore(id: string, before: string | null): boolean {
  return before === null || (/^\d{16}$/.test(before) && id < before);
}
