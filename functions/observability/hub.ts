import { DurableObject } from "cloudflare:workers";
import type { Sample } from "../protocol/telemetry/prometheus.ts";
import { workerMetrics, type WorkerMetric } from "./metrics.ts";

/** What is known of one runner. */
export interface RunnerFacts {
  state: string;
  conflict: boolean;
  streams: number;
  /** Null: it hasn't said. */
  freeBytes: number | null;
  lowOnDisk: boolean;
  /** Builds that aren't over, by state. */
  builds: Record<string, number>;
}

/** Series kept; what comes after is counted under `other`. A scrape of all of them is about 500 KB. */
const SERIES_LIMIT = 5_000;
/** Deployments come and go: a series that nobody added to for a week is forgotten. */
const SERIES_KEPT_MS = 7 * 86_400_000;
/** Isolates live for hours at most; a flush is repeated within minutes. */
const ISOLATE_KEPT_MS = 3_600_000;
const SWEEP_EVERY_MS = 600_000;
const RUNNERS_LIMIT = 10_000;
/** A disconnected runner that nobody deletes. */
const RUNNER_KEPT_MS = 30 * 86_400_000;

/**
 * Sums up what isolates count and what runners' hubs say of their runners: one object for an installation, which a scrape
 * reads. A Worker has many isolates and none hears of the others.
 */
export class MetricsHub extends DurableObject<object> {
  readonly #sql: SqlStorage;
  #sweptAt = 0;

  constructor(ctx: DurableObjectState, env: object) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS series (key TEXT PRIMARY KEY, value REAL NOT NULL, at INTEGER NOT NULL)",
    );
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS isolates (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at INTEGER NOT NULL)",
    );
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS runners (id TEXT PRIMARY KEY, facts TEXT NOT NULL, at INTEGER NOT NULL)",
    );
  }

  /** Adds a flush of an isolate. The same flush again changes nothing. */
  async add(isolate: string, sequence: number, samples: Sample[]): Promise<void> {
    const now = Date.now();
    this.#sweep(now);
    const last = this.#sql
      .exec<{ sequence: number }>("SELECT sequence FROM isolates WHERE id = ?", isolate)
      .toArray();
    if ((last[0]?.sequence ?? 0) >= sequence) return;
    this.#sql.exec(
      "INSERT OR REPLACE INTO isolates (id, sequence, at) VALUES (?, ?, ?)",
      isolate,
      sequence,
      now,
    );
    for (const sample of samples) this.#addOne(sample, now);
  }

  /** Null forgets it. */
  async runner(id: string, facts: RunnerFacts | null): Promise<void> {
    if (facts === null) this.#sql.exec("DELETE FROM runners WHERE id = ?", id);
    else if (this.#known("runners", "id", id) || this.#count("runners") < RUNNERS_LIMIT) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO runners (id, facts, at) VALUES (?, ?, ?)",
        id,
        JSON.stringify(facts),
        Date.now(),
      );
    }
  }

  /** {@link Sample}s, as JSON. */
  async read(): Promise<string> {
    const rows = this.#sql.exec<{ key: string; value: number }>("SELECT key, value FROM series").toArray();
    const series = rows.map(({ key, value }): Sample => {
      const [name = "", ...labels] = JSON.parse(key) as string[];
      return [name, labels, value];
    });
    const known = this.#sql.exec<{ facts: string }>("SELECT facts FROM runners").toArray();
    return JSON.stringify([
      ...series,
      ...runnerSamples(known.map(({ facts }) => JSON.parse(facts) as RunnerFacts)),
    ]);
  }

  #addOne([name, labels, value]: Sample, now: number): void {
    const key = JSON.stringify([name, ...labels]);
    const isNew = !this.#known("series", "key", key);
    const kept = isNew && this.#count("series") >= SERIES_LIMIT ? overflowKey(name, labels) : key;
    this.#sql.exec(
      `INSERT INTO series (key, value, at) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET value = value + excluded.value, at = excluded.at`,
      kept,
      value,
      now,
    );
  }

  #known(table: "series" | "runners", column: "key" | "id", value: string): boolean {
    return this.#sql.exec(`SELECT 1 FROM ${table} WHERE ${column} = ?`, value).toArray().length > 0;
  }

  #count(table: "series" | "runners"): number {
    return this.#sql.exec<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`).one().n;
  }

  #sweep(now: number): void {
    if (now - this.#sweptAt < SWEEP_EVERY_MS) return;
    this.#sweptAt = now;
    this.#sql.exec("DELETE FROM series WHERE at < ?", now - SERIES_KEPT_MS);
    this.#sql.exec("DELETE FROM isolates WHERE at < ?", now - ISOLATE_KEPT_MS);
    this.#sql.exec("DELETE FROM runners WHERE at < ?", now - RUNNER_KEPT_MS);
  }
}

/** Apps and deployments become `other`; a class, a bucket or a state stays what it is. */
function overflowKey(name: string, values: readonly string[]): string {
  const metric = workerMetrics[name as WorkerMetric];
  const kept = values.map((value, index) =>
    ["app", "deployment"].includes(metric.labels?.[index] ?? "") ? "other" : value,
  );
  return JSON.stringify([name, ...kept]);
}

const CONNECTED: ReadonlySet<string> = new Set(["connecting", "online", "draining"]);

function runnerSamples(runners: RunnerFacts[]): Sample[] {
  const states = new Map<string, number>();
  const builds = new Map<string, number>();
  for (const runner of runners) {
    states.set(runner.state, (states.get(runner.state) ?? 0) + 1);
    for (const [state, count] of Object.entries(runner.builds))
      builds.set(state, (builds.get(state) ?? 0) + count);
  }
  const connected = runners.filter(({ state }) => CONNECTED.has(state));
  const free = connected.flatMap(({ freeBytes }) => freeBytes ?? []);
  return [
    ...[...states].map(([state, count]): Sample => ["signalbox_runners", [state], count]),
    ...[...builds].map(([state, count]): Sample => ["signalbox_builds", [state], count]),
    ["signalbox_runners_conflicting", [], runners.filter(({ conflict }) => conflict).length],
    ["signalbox_runners_low_on_disk", [], connected.filter(({ lowOnDisk }) => lowOnDisk).length],
    ...(free.length === 0 ? [] : [["signalbox_runner_disk_free_bytes_min", [], Math.min(...free)] as Sample]),
    ["signalbox_tunnel_streams", [], connected.reduce((sum, { streams }) => sum + streams, 0)],
  ];
}
