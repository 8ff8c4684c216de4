import { callObject } from "../durable-object-call.ts";
import { STORE_TIMEOUT_MS } from "../protocol/limits.ts";
import type { EmbeddedStore } from "./embedded.ts";
import {
  checkResultSize,
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
  StoreUnavailable,
} from "./store.ts";

/** The one object that holds an installation's state. */
export const EMBEDDED_STORE_NAME = "state";

type Stub = DurableObjectStub<EmbeddedStore>;

/** Calls the one {@link EmbeddedStore}; RPC has no timeout and no error of its own, so both are made here. */
export class EmbeddedStoreClient implements StateStore {
  readonly #namespace: DurableObjectNamespace<EmbeddedStore>;
  readonly #timeoutMs: number;

  constructor(namespace: DurableObjectNamespace<EmbeddedStore>, timeoutMs = STORE_TIMEOUT_MS) {
    this.#namespace = namespace;
    this.#timeoutMs = timeoutMs;
  }

  resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    return this.#call("resolve", true, (stub) => stub.resolve(host, appName));
  }

  readApp(name: string): Promise<StoredApp | null> {
    return this.#call("readApp", true, (stub) => stub.readApp(name));
  }

  listApps(page: Page): Promise<string[]> {
    return this.#call("listApps", true, (stub) => stub.listApps(page));
  }

  async commit(change: AppChange): Promise<CommitResult> {
    checkResultSize(change.idempotencyRecord);
    return this.#call<CommitResult>(
      "commit",
      change.idempotencyRecord !== null,
      async (stub) => await stub.commit(change),
    );
  }

  listWork(): Promise<string[]> {
    return this.#call("listWork", true, (stub) => stub.listWork());
  }

  readIdempotencyRecord(key: string): Promise<IdempotencyRecord | null> {
    return this.#call("readIdempotencyRecord", true, (stub) => stub.readIdempotencyRecord(key));
  }

  async writeAudit(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): Promise<AuditWrite> {
    checkResultSize(idempotencyRecord);
    return this.#call<AuditWrite>(
      "writeAudit",
      idempotencyRecord !== null,
      async (stub) => await stub.writeAudit(audit, idempotencyRecord),
    );
  }

  acquireLease(name: string, token: string, ttlMs: number): Promise<LeaseResult> {
    return this.#call<LeaseResult>(
      "acquireLease",
      true,
      async (stub) => await stub.acquireLease(name, token, ttlMs),
    );
  }

  renewLease(name: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#call("renewLease", true, (stub) => stub.renewLease(name, token, ttlMs));
  }

  releaseLease(name: string, token: string): Promise<boolean> {
    return this.#call("releaseLease", false, (stub) => stub.releaseLease(name, token));
  }

  readRecord(kind: string, id: string): Promise<string | null> {
    return this.#call("readRecord", true, (stub) => stub.readRecord(kind, id));
  }

  listRecords(kind: string, page: Page): Promise<{ id: string; body: string }[]> {
    return this.#call("listRecords", true, (stub) => stub.listRecords(kind, page));
  }

  writeRecord(
    kind: string,
    id: string,
    body: string,
    version?: number,
    index?: RecordIndex,
  ): Promise<RecordWrite> {
    return this.#call<RecordWrite>(
      "writeRecord",
      version !== undefined,
      async (stub) => await stub.writeRecord(kind, id, body, version, index),
    );
  }

  findRecords(kind: string, tags: RecordTags, limit: number): Promise<{ id: string; body: string }[]> {
    return this.#call("findRecords", true, (stub) => stub.findRecords(kind, tags, limit));
  }

  deleteRecord(kind: string, id: string, version?: number): Promise<boolean> {
    return this.#call("deleteRecord", false, (stub) => stub.deleteRecord(kind, id, version));
  }

  listAudit(query: { app: string | null; limit: number; before: string | null }): Promise<AuditRow[]> {
    return this.#call("listAudit", true, (stub) => stub.listAudit(query));
  }

  /** `isRepeatable`: carried out twice, it leaves the same and answers the same. */
  async #call<T>(method: string, isRepeatable: boolean, send: (stub: Stub) => Promise<T>): Promise<T> {
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => timeout.reject(new Error(`no answer within ${this.#timeoutMs} ms`)),
      this.#timeoutMs,
    );
    const deadline = Date.now() + this.#timeoutMs;
    const open = (): Stub => this.#namespace.getByName(EMBEDDED_STORE_NAME);
    try {
      return await Promise.race([callObject({ open, send, isRepeatable, deadline }), timeout.promise]);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown error";
      throw new StoreUnavailable(
        `State store: ${method} failed in the embedded store (${reason}): try again`,
      );
    } finally {
      clearTimeout(timer);
    }
  }
}
