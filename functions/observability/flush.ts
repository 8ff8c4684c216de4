import type { Sample } from "../protocol/telemetry/prometheus.ts";
import { counters } from "./counters.ts";
import type { MetricsHub, RunnerFacts } from "./hub.ts";

/** Missing where a wrangler.toml is older than the Worker: nothing is counted then. */
export interface MetricsBinding {
  METRICS_HUB?: DurableObjectNamespace<MetricsHub>;
}

/** A flush that is so late isn't under way any more: the platform ended the request that it belonged to. */
const LATE_MS = 30_000;

/** Tells this isolate from others, so that the hub knows a repeated flush. Made late: no isolate may draw it at start. */
let isolate: string | null = null;
let sequence = 0;
/** What was sent and not yet confirmed. */
let unconfirmed: { sequence: number; samples: Sample[] } | null = null;
let dueAt = 0;
/** 0: none is under way. */
let flushingSince = 0;
let flushedAt = 0;

/**
 * Sends what this isolate has counted to the hub after `intervalMs`, as part of a request that is there anyway. All
 * requests until then share the flush; without traffic there is none. 0: never.
 */
export function flushLater(
  env: MetricsBinding,
  intervalMs: number,
  waitUntil: (work: Promise<unknown>) => void,
): void {
  if (intervalMs === 0) return;
  const now = Date.now();
  if (dueAt !== 0 && now < dueAt + LATE_MS) return;
  dueAt = now + intervalMs;
  waitUntil(
    sleep(intervalMs).then(() => {
      dueAt = 0;
      return flush(env);
    }),
  );
}

/** For a Durable Object, which a timer would keep awake: now, unless the last flush was less than `intervalMs` ago. */
export function flushIfDue(
  env: MetricsBinding,
  intervalMs: number,
  waitUntil: (work: Promise<unknown>) => void,
): void {
  if (intervalMs === 0 || Date.now() < flushedAt + intervalMs) return;
  waitUntil(flush(env));
}

/** Never rejects: what couldn't be sent goes with the next flush, once. */
async function flush(env: MetricsBinding): Promise<void> {
  const now = Date.now();
  if (env.METRICS_HUB === undefined || now - flushingSince < LATE_MS) return;
  flushingSince = now;
  flushedAt = now;
  isolate ??= crypto.randomUUID();
  try {
    for (;;) {
      if (unconfirmed === null) {
        if (counters.isEmpty) return;
        unconfirmed = { sequence: ++sequence, samples: counters.take() };
      }
      await hubOf(env.METRICS_HUB).add(isolate, unconfirmed.sequence, unconfirmed.samples);
      unconfirmed = null;
    }
  } catch {
    return; // the next flush repeats it, and the hub knows what it has
  } finally {
    flushingSince = 0;
  }
}

/** What a runner's hub says of its runner; null: it is forgotten. Never rejects. */
export async function tellRunner(env: MetricsBinding, id: string, facts: RunnerFacts | null): Promise<void> {
  if (env.METRICS_HUB === undefined) return;
  try {
    await hubOf(env.METRICS_HUB).runner(id, facts);
  } catch {
    return; // its next word says the same
  }
}

/** All that has been counted; none where there is no hub. */
export async function readMetrics(env: MetricsBinding): Promise<Sample[]> {
  return env.METRICS_HUB === undefined ? [] : (JSON.parse(await hubOf(env.METRICS_HUB).read()) as Sample[]);
}

function hubOf(namespace: DurableObjectNamespace<MetricsHub>): DurableObjectStub<MetricsHub> {
  return namespace.getByName("all");
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
