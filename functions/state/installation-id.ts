import { StoreUnavailable, type StateStore } from "./store.ts";

/** The stored spelling of the first builds. */
const KIND = "stack";
const ID = "id";
/** Longer than reading and writing one record ever takes. */
const LEASE_MS = 20_000;

/**
 * Tells this installation from any other, even one with the same secrets. It is kept in the store, beside the documents
 * of what it marks. Null: nothing was ever marked.
 */
export function readInstallationId(store: StateStore): Promise<string | null> {
  return store.readRecord(KIND, ID);
}

/** Reads the id or makes it, once: the function returned remembers it. */
export function installationIdOf(store: StateStore): () => Promise<string> {
  let known: string | null = null;
  return async () => (known ??= (await readInstallationId(store)) ?? (await make(store)));
}

async function make(store: StateStore): Promise<string> {
  const id = crypto.randomUUID();
  const lease = await store.acquireLease("stack-id", id, LEASE_MS);
  if (!lease.acquired)
    throw new StoreUnavailable("The installation's id is being made by another request: try again");
  try {
    const meanwhile = await readInstallationId(store);
    if (meanwhile !== null) return meanwhile;
    await store.writeRecord(KIND, ID, id);
    return id;
  } finally {
    await store.releaseLease("stack-id", id).catch(() => false); // it runs out by itself
  }
}
