import type { AppChange, CommitResult, Page, StateStore } from "../../functions/state/store.ts";

/** Milliseconds that no test outlasts. */
export const LONG = 60_000;

/** A call of each method, for what must hold for all of them. */
export function everyMethod(store: StateStore): { method: keyof StateStore; call: () => Promise<unknown> }[] {
  return [
    { method: "resolve", call: () => store.resolve("shop.example.com", "shop") },
    { method: "readApp", call: () => store.readApp("shop") },
    { method: "listApps", call: () => store.listApps(all) },
    {
      method: "commit",
      call: () => store.commit(change("shop", 0, { idempotencyRecord: operation("key") })),
    },
    { method: "listWork", call: () => store.listWork() },
    { method: "readIdempotencyRecord", call: () => store.readIdempotencyRecord("key") },
    {
      method: "writeAudit",
      call: () => store.writeAudit(change("shop", 0).audit, operation("other-key")),
    },
    { method: "acquireLease", call: () => store.acquireLease("janitor", "one", LONG) },
    { method: "renewLease", call: () => store.renewLease("janitor", "one", LONG) },
    { method: "releaseLease", call: () => store.releaseLease("janitor", "one") },
    { method: "writeRecord", call: () => store.writeRecord("runner", "r1", "{}") },
    { method: "readRecord", call: () => store.readRecord("runner", "r1") },
    { method: "listRecords", call: () => store.listRecords("runner", all) },
    { method: "findRecords", call: () => store.findRecords("runner", ["online"], 10) },
    { method: "deleteRecord", call: () => store.deleteRecord("runner", "r1") },
    { method: "listAudit", call: () => store.listAudit({ app: null, limit: 10, before: null }) },
  ];
}

/** A change with nothing special about it, but for `parts`. */
export function change(app: string, expectedVersion: number, parts: Partial<AppChange> = {}): AppChange {
  return {
    app,
    expectedVersion,
    body: "{}",
    hosts: [],
    isDefault: false,
    hasWork: false,
    audit: {
      at: 1_700_000_000_000 + expectedVersion,
      app,
      actor: "operator",
      action: "test",
      fromVersion: expectedVersion,
      toVersion: expectedVersion + 1,
      details: {},
    },
    idempotencyRecord: null,
    ...parts,
  };
}

export function operation(key: string): NonNullable<AppChange["idempotencyRecord"]> {
  return { key, fingerprint: `print-${key}`, result: `result-${key}`, ttlSeconds: 60 };
}

export function repeated(key: string): Extract<CommitResult, { outcome: "repeated" }> {
  return { outcome: "repeated", record: { fingerprint: `print-${key}`, result: `result-${key}` } };
}

export function committed(version: number): CommitResult {
  return { outcome: "committed", version };
}

export const all: Page = { after: null, limit: 1_000 };
