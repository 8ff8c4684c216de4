/** Null: no limit. */
export interface Limits {
  /** Seconds since somebody used it. */
  ageSeconds: number | null;
  /** The projects used last that keep theirs. */
  count: number | null;
  /** All of them together. */
  bytes: number | null;
}

export interface CleanupPolicy {
  /** Packages and framework caches of idle projects. */
  caches: Limits;
  /** The cache that all projects share. */
  packages: Pick<Limits, "ageSeconds" | "bytes">;
  /** Files of idle projects whose remote has everything. */
  projects: Limits;
}

const DAY = 24 * 60 * 60;
const GIB = 1024 ** 3;

/** Deletes on its own only what comes back with an install. */
export const cleanupPolicy: CleanupPolicy = {
  // Long enough for a holiday; an install brings them back in seconds.
  caches: { ageSeconds: 14 * DAY, count: null, bytes: 20 * GIB },
  packages: { ageSeconds: 30 * DAY, bytes: 5 * GIB },
  projects: { ageSeconds: null, count: null, bytes: null },
};

export interface Candidate {
  project: string;
  usedAt: number;
  bytes: number;
}

/**
 * The candidates that are over a limit, longest unused first, each with that limit. `mayGo` is asked once for each in that order;
 * who may not go counts on, so that others go in its place.
 */
export async function overLimit<T extends Candidate>(
  candidates: readonly T[],
  { ageSeconds, count, bytes }: Limits,
  now: number,
  mayGo: (candidate: T) => Promise<boolean>,
): Promise<{ candidate: T; why: string }[]> {
  const oldestFirst = candidates.toSorted((one, other) => one.usedAt - other.usedAt);
  let left = oldestFirst.length;
  let leftBytes = oldestFirst.reduce((sum, candidate) => sum + candidate.bytes, 0);
  const over: { candidate: T; why: string }[] = [];
  for (const candidate of oldestFirst) {
    const isOld = ageSeconds !== null && now - candidate.usedAt > ageSeconds * 1_000;
    const why = isOld
      ? `unused for more than ${duration(ageSeconds)}`
      : count !== null && left > count
        ? `${left} projects have some, the limit is ${count}`
        : bytes !== null && leftBytes > bytes
          ? `all together have more than ${bytes} bytes`
          : null;
    if (why === null) break;
    if (!(await mayGo(candidate))) continue;
    left--;
    leftBytes -= candidate.bytes;
    over.push({ candidate, why });
  }
  return over;
}

function duration(seconds: number): string {
  return seconds >= DAY ? `${Math.round(seconds / DAY)} days` : `${seconds} s`;
}
