import { Problem } from "../errors.ts";
import type { StateStore } from "../state/store.ts";

/** If whoever has it dies, others wait so long. */
const LEASE_MS = 20_000;
const RENEWED_EVERY_MS = 5_000;

/**
 * Moves, renames and deletions of a project decide where it is, each by what it read at its beginning: one of them at a time.
 * Throws `project_busy`.
 */
export async function placing<T>(store: StateStore, slug: string, work: () => Promise<T>): Promise<T> {
  const lease = `project-place:${slug}`;
  const token = crypto.randomUUID();
  if (!(await store.acquireLease(lease, token, LEASE_MS)).acquired)
    throw new Problem(
      "project_busy",
      `Project ${slug} is being moved, renamed or deleted. Try again after that.`,
    );
  const renewals = setInterval(() => {
    store.renewLease(lease, token, LEASE_MS).catch(() => undefined); // the next one may get through
  }, RENEWED_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(renewals);
    await store.releaseLease(lease, token).catch(() => undefined); // it ends by itself
  }
}
