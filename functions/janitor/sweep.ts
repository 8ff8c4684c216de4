import { z } from "zod";
import { JANITOR_LEASE_MS, JANITOR_STALE_MS } from "../protocol/limits.ts";
import type { StateStore } from "../state/store.ts";
import type { Decision } from "./decide.ts";

export const decisionSchema = z.object({
  app: z.string(),
  deployment: z.string(),
  action: z.enum(["delete", "keep"]),
  reason: z.enum([
    "deadline_passed",
    "no_sessions",
    "live_sessions",
    "sessions_unknown",
    "kept_for_rollback",
    "already_retiring",
    "no_longer_draining",
  ]),
  detail: z.string(),
}) satisfies z.ZodType<Decision>;

export const reportSchema = z.object({
  /** `lease_held`: another janitor is at work, this one did nothing. */
  outcome: z.enum(["completed", "lease_held", "lease_lost"]),
  dryRun: z.boolean(),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  decisions: z.array(decisionSchema),
  /** Apps that couldn't be looked at, with the reason; the next run looks again. */
  errors: z.array(z.object({ app: z.string(), message: z.string() })),
});
export type Report = z.infer<typeof reportSchema>;

export interface SweepContext {
  store: StateStore;
  /** Sweeps one app where its controller lives. */
  sweepApp: (name: string, dryRun: boolean) => Promise<Decision[]>;
  now: () => number;
}

/** Apps whose controllers work at the same time. */
const APPS_AT_ONCE = 4;
/** A decision is about 150 bytes; the published report stays well below a store value's limit. */
const DECISIONS_PUBLISHED = 1_000;

/** One run of the janitor over all apps with work, under a lease that only its holder gives back. */
export async function sweep(dryRun: boolean, context: SweepContext): Promise<Report> {
  const { store } = context;
  const startedAt = new Date(context.now()).toISOString();
  const report = (outcome: Report["outcome"], decisions: Decision[], errors: Report["errors"]): Report => ({
    outcome,
    dryRun,
    startedAt,
    finishedAt: new Date(context.now()).toISOString(),
    decisions,
    errors,
  });
  const token = crypto.randomUUID();
  const lease = await store.acquireLease("janitor", token, JANITOR_LEASE_MS);
  if (!lease.acquired) return report("lease_held", [], []);
  try {
    const decisions: Decision[] = [];
    const errors: Report["errors"] = [];
    const apps = await store.listWork();
    for (let start = 0; start < apps.length; start += APPS_AT_ONCE) {
      if (start > 0 && !(await store.renewLease("janitor", token, JANITOR_LEASE_MS))) {
        return report("lease_lost", decisions, errors);
      }
      await Promise.all(
        apps.slice(start, start + APPS_AT_ONCE).map(async (name) => {
          try {
            decisions.push(...(await context.sweepApp(name, dryRun)));
          } catch (error) {
            errors.push({ app: name, message: error instanceof Error ? error.message : "unknown error" });
          }
        }),
      );
    }
    const done = report("completed", decisions, errors);
    if (!dryRun) {
      const published = { ...done, decisions: done.decisions.slice(0, DECISIONS_PUBLISHED) };
      await store.writeRecord("janitor", "last", JSON.stringify(published));
    }
    return done;
  } finally {
    await store.releaseLease("janitor", token).catch(() => false); // it runs out by itself
  }
}

/** The last published run, and whether it is too long ago. */
export async function lastRun(
  store: StateStore,
  now: number,
): Promise<{ report: Report | null; stale: boolean }> {
  const body = await store.readRecord("janitor", "last");
  if (body === null) return { report: null, stale: true };
  const report = reportSchema.parse(JSON.parse(body));
  return { report, stale: now - Date.parse(report.finishedAt) > JANITOR_STALE_MS };
}
