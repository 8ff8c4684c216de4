import { JANITOR_LEASE_MS, JANITOR_STALE_MS } from "../protocol/limits.ts";
import type { StateStore } from "../state/store.ts";
import { reportSchema, type Decision, type Report } from "./report.ts";

type Swept = Pick<Report, "decisions" | "errors">;

export interface SweepContext {
  store: StateStore;
  /** Sweeps one app where its controller lives. */
  sweepApp: (name: string, dryRun: boolean) => Promise<Decision[]>;
  /** Looks for orphaned services; null: not in this run. */
  sweepServices: ((dryRun: boolean, mayGoOn: () => boolean) => Promise<Swept>) | null;
  now: () => number;
}

/** Apps whose controllers work at the same time. */
const APPS_AT_ONCE = 4;
/** 49 draining deployments, six at a time, each silent for the 5 s that a contract call may take. */
const APP_LIMIT_MS = 60_000;
/** A decision is about 150 bytes; the published report stays well below a store value's limit. */
const DECISIONS_PUBLISHED = 1_000;
const ERRORS_PUBLISHED = 100;

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
  const holding = holdLease(store, token);
  try {
    const decisions: Decision[] = [];
    const errors: Report["errors"] = [];
    const apps = await store.listWork();
    const work = async (): Promise<void> => {
      for (let app = apps.shift(); app !== undefined && !holding.lost(); app = apps.shift()) {
        try {
          decisions.push(...(await within(APP_LIMIT_MS, context.sweepApp(app, dryRun))));
        } catch (error) {
          errors.push({ app, message: error instanceof Error ? error.message : "unknown error" });
        }
      }
    };
    const swept = context.sweepServices?.(dryRun, () => !holding.lost());
    const services = swept?.catch((error: unknown): Swept => {
      const message = error instanceof Error ? error.message : "unknown error";
      return { decisions: [], errors: [{ app: "*", message }] };
    });
    await Promise.all(Array.from({ length: APPS_AT_ONCE }, work));
    const found = await services;
    decisions.push(...(found?.decisions ?? []));
    errors.push(...(found?.errors ?? []));
    if (holding.lost()) return report("lease_lost", decisions, errors);
    const done = report("completed", decisions, errors);
    if (!dryRun) {
      await store.writeRecord("janitor", "last", JSON.stringify(publishedReport(done)));
    }
    return done;
  } finally {
    holding.end();
    await store.releaseLease("janitor", token).catch(() => false); // it runs out by itself
  }
}

/** What of a report is kept. */
export function publishedReport(report: Report): Report {
  const { decisions, errors } = report;
  return {
    ...report,
    decisions: decisions.slice(0, DECISIONS_PUBLISHED),
    errors: errors.slice(0, ERRORS_PUBLISHED),
  };
}

/** As much of a report's beginning as fits: an Idempotency-Key's record is kept small. */
export function reportWithin(report: Report, limitBytes: number): Report {
  let kept = report;
  for (let entries = report.decisions.length + report.errors.length; entries > 0;) {
    if (new TextEncoder().encode(JSON.stringify(kept)).length <= limitBytes) break;
    entries = Math.floor(entries / 2);
    kept = {
      ...report,
      decisions: report.decisions.slice(0, entries),
      errors: report.errors.slice(0, entries),
    };
  }
  return kept;
}

/** The last published run, and whether it is too long ago. */
export async function lastRun(
  store: StateStore,
  now: number,
): Promise<{ report: Report | null; stale: boolean }> {
  const body = await store.readRecord("janitor", "last");
  const parsed = reportSchema.safeParse(body === null ? null : JSON.parse(body));
  // One that another version wrote says no more than none.
  if (!parsed.success) return { report: null, stale: true };
  return { report: parsed.data, stale: now - Date.parse(parsed.data.finishedAt) > JANITOR_STALE_MS };
}

/** Renews the lease however long the work takes; an answer that it is somebody else's ends the work. */
function holdLease(store: StateStore, token: string): { lost: () => boolean; end: () => void } {
  let lost = false;
  let heldUntil = Date.now() + JANITOR_LEASE_MS;
  const renew = async (): Promise<void> => {
    const askedAt = Date.now();
    if (await store.renewLease("janitor", token, JANITOR_LEASE_MS)) heldUntil = askedAt + JANITOR_LEASE_MS;
    else lost = true;
  };
  // While the store is away nobody else can have the lease, until it has run out.
  const timer = setInterval(() => void renew().catch(() => undefined), JANITOR_LEASE_MS / 3);
  return { lost: () => lost || Date.now() >= heldUntil, end: () => clearInterval(timer) };
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`its controller didn't answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
