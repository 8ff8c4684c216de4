import { StoreUnavailable, type StateStore } from "./store.ts";

/** As the first builds spelled it; it is stored. */
const KIND = "stack";
const ID = "id";
/** Longer than reading and writing one record ever takes. */
const LEASE_MS = 20_000;

/**
 * What tells this installation from any other, even one with the same secrets: made once and kept in the store, so that
 * what it marks is known only to whoever has the documents that go with it. Null: nothing was ever marked.
 */
export function readInstallationId(store: StateStore): Promise<string | null> {
  return store.readRecord(KIND, ID);
}

/** The same, made where there is none. What it returns is remembered. */
export function installationIdOf(store: StateStore): () => Promise<string> {
  let known: string | null = null;
  return async () => (known ??= (await readInstallationId(store)) ?? (await make(store)));
}

async function make(store: StateStore): Promise<string> {
  const id = crypto.randomUUID();
  const lease = await store.acquireLease("stack-id", id, LEASE_MS);
  if (!lease.acquired)
    throw new StoreUnavailable("The installation's id is being made by somebody else: try again");
  try {
    const meanwhile = await readInstallationId(store);
    if (meanwhile !== null) return meanwhile;
    await store.writeRecord(KIND, ID, id);
    return id;
  } finally {
    await store.releaseLease("stack-id", id).catch(() => false); // it runs out by itself
  }
}
