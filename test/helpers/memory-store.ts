import {
  StoreUnavailable,
  type AppChange,
  type AuditEntry,
  type AuditRow,
  type CommitResult,
  type LeaseResult,
  type Operation,
  type OperationRecord,
  type OperationResult,
  type RecordWrite,
  type StateStore,
  type StoredApp,
} from "../../functions/state/store.ts";

/** Where a call of the store fails: before it is carried out, or after, with its answer lost. */
export type Fault = "before" | "after";

/** The state store in memory, for tests of what works on one: it counts its calls and fails where it is told to. */
export class MemoryStore implements StateStore {
  readonly apps = new Map<string, StoredApp & { hasWork: boolean }>();
  readonly audit: AuditEntry[] = [];
  readonly leases = new Map<string, { token: string; expiresAt: number }>();
  readonly records = new Map<string, string>();
  readonly #deleted = new Map<string, number>();
  readonly #operations = new Map<string, OperationRecord>();
  readonly #now: () => number;
  calls = 0;
  /** Asked before and after each call, with its number from 1 on. */
  fault: (call: number, phase: Fault) => boolean = () => false;

  constructor(now: () => number) {
    this.#now = now;
  }

  resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    const found = [...this.apps.values()].find(
      ({ body, name }) => JSON.parse(body).config.hosts.includes(host) || name === appName,
    );
    return this.#call(() => found ?? null);
  }

  readApp(name: string): Promise<StoredApp | null> {
    return this.#call(() => this.apps.get(name) ?? null);
  }

  listApps(): Promise<string[]> {
    return this.#call(() => [...this.apps.keys()].sort());
  }

  commit(change: AppChange): Promise<CommitResult> {
    return this.#call(() => {
      const repeated = change.operation && this.#operations.get(change.operation.key);
      if (repeated) return { outcome: "repeated", record: repeated };
      const held = this.apps.get(change.app)?.version;
      const version = held ?? this.#deleted.get(change.app) ?? 0;
      if (version !== change.expectedVersion || (change.body === null && held === undefined))
        return { outcome: "conflict", version };
      this.audit.push(change.audit);
      const { app: name, body, isDefault, hasWork, operation } = change;
      if (operation) this.#operations.set(operation.key, operation);
      if (body === null && this.apps.delete(name)) this.#deleted.set(name, version + 1);
      if (body !== null) this.apps.set(name, { name, version: version + 1, body, isDefault, hasWork });
      return { outcome: "committed", version: body === null ? 0 : version + 1 };
    });
  }

  listWork(): Promise<string[]> {
    return this.#call(() => [...this.apps.values()].filter((app) => app.hasWork).map(({ name }) => name));
  }

  readOperation(key: string): Promise<OperationRecord | null> {
    return this.#call(() => this.#operations.get(key) ?? null);
  }

  recordOperation(audit: AuditEntry, operation: Operation | null): Promise<OperationResult> {
    return this.#call(() => {
      const record = operation && this.#operations.get(operation.key);
      if (record) return { outcome: "repeated", record };
      this.audit.push(audit);
      if (operation) this.#operations.set(operation.key, operation);
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
    return this.#call(() => this.records.get(`${kind}/${id}`) ?? null);
  }

  listRecords(): Promise<{ id: string; body: string }[]> {
    return this.#call(() => []);
  }

  findRecords(): Promise<{ id: string; body: string }[]> {
    return this.#call(() => []);
  }

  writeRecord(kind: string, id: string, body: string): Promise<RecordWrite> {
    return this.#call(() => {
      this.records.set(`${kind}/${id}`, body);
      return { written: true };
    });
  }

  deleteRecord(kind: string, id: string): Promise<boolean> {
    return this.#call(() => this.records.delete(`${kind}/${id}`));
  }

  listAudit(): Promise<AuditRow[]> {
    return this.#call(() => this.audit.map((entry, index) => ({ ...entry, id: String(index) })));
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
