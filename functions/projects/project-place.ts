import { Problem } from "../errors.ts";
import type { StateStore } from "../state/store.ts";

/** If whoever has it dies, others wait so long. */
const LEASE_MS = 20_000;
const RENEWED_EVERY_MS = 5_000;

/** Of whoever decides where projects are. */
export interface Placing {
  /** False: somebody else may be deciding by now. */
  readonly isSure: boolean;
  /** Throws `project_busy` unless it is sure. To be called before what decides. */
  require(): void;
}

/**
 * Moves, renames and deletions of a project decide where it is, each by what it read at its beginning: one of them at a time, of
 * each of these slugs. Throws `project_busy`.
 */
export async function placing<T>(
  store: StateStore,
  slugs: readonly string[],
  work: (placing: Placing) => Promise<T>,
  { leaseMs = LEASE_MS, renewedEveryMs = RENEWED_EVERY_MS } = {},
): Promise<T> {
  const token = crypto.randomUUID();
  const held: string[] = [];
  let lost: string | null = null;
  let until = performance.now() + leaseMs;
  const renew = async (): Promise<void> => {
    const next = performance.now() + leaseMs;
    for (const slug of held) if (!(await store.renewLease(leaseOf(slug), token, leaseMs))) lost ??= slug;
    until = next;
  };
  const renewals = setInterval(() => {
    renew().catch(() => undefined); // the next one may get through; until then the time counts
  }, renewedEveryMs);
  try {
    for (const slug of new Set(slugs)) {
      if (!(await store.acquireLease(leaseOf(slug), token, leaseMs)).acquired)
        throw new Problem(
          "project_busy",
          `Project ${slug} is being moved, renamed or deleted. Try again after that.`,
        );
      held.push(slug);
    }
    const isSure = (): boolean => lost === null && performance.now() < until;
    return await work({
      get isSure() {
        return isSure();
      },
      require() {
        if (isSure()) return;
        const slug = lost ?? held.join(" or ");
        throw new Problem(
          "project_busy",
          `Somebody else may be moving, renaming or deleting project ${slug} by now. Try again.`,
        );
      },
    });
  } finally {
    clearInterval(renewals);
    for (const slug of held) await store.releaseLease(leaseOf(slug), token).catch(() => undefined); // it ends by itself
  }
}

function leaseOf(slug: string): string {
  return `project-place:${slug}`;
}
