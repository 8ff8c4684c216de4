import type { Sample } from "../protocol/telemetry/prometheus.ts";
import type { WorkerMetric } from "./metrics.ts";

/** What a request turned out to be for. Filled in on its way, so that counting it needs no look at its answer. */
export interface Served {
  app: string;
  deployment: string;
}

const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"] as const;
/** Upper bounds in seconds. */
const BUCKETS = [0.01, 0.05, 0.1, 0.5, 1, 5] as const;
/** Series of requests in one isolate; what comes after is counted as `other`. */
const SERIES_LIMIT = 2_000;
const NOBODY = "-";
const OTHER = "other";

/** Of one app. */
interface AppCounts {
  deployments: Map<string, Uint32Array>;
  buckets: Uint32Array;
  seconds: number;
}

/**
 * What this isolate has counted since the last flush. Counting a request is two look-ups and an increment: nothing is
 * allocated once its series is there.
 */
export class Counters {
  /** Body bytes through the tunnel. */
  bytesIn = 0;
  bytesOut = 0;
  /** Requests and WebSockets sent to runners. */
  streams = 0;
  #apps = new Map<string, AppCounts>();
  #series = 0;
  #others = new Map<string, { name: WorkerMetric; labels: readonly string[]; value: number }>();

  request(served: Served, status: number, ms: number): void {
    const app = this.#app(served.app === "" ? NOBODY : served.app);
    let classes = app.deployments.get(served.deployment);
    if (classes === undefined) {
      const deployment = this.#series >= SERIES_LIMIT ? OTHER : served.deployment;
      classes = app.deployments.get(deployment);
      if (classes === undefined) {
        classes = new Uint32Array(CLASSES.length);
        app.deployments.set(deployment, classes);
        this.#series += 1;
      }
    }
    const index = Math.floor(status / 100) - 1;
    if (index >= 0 && index < CLASSES.length) classes[index]! += 1;
    const seconds = ms / 1_000;
    app.seconds += seconds;
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > (BUCKETS[bucket] ?? 0)) bucket += 1;
    app.buckets[bucket]! += 1;
  }

  /** For what happens seldom. */
  add(name: WorkerMetric, labels: readonly string[] = [], value = 1): void {
    const key = `${name} ${labels.join(" ")}`;
    const known = this.#others.get(key);
    if (known === undefined) this.#others.set(key, { name, labels, value });
    else known.value += value;
  }

  get isEmpty(): boolean {
    const isQuiet = this.bytesIn === 0 && this.bytesOut === 0 && this.streams === 0;
    return isQuiet && this.#apps.size === 0 && this.#others.size === 0;
  }

  /** All of it, and begins anew. */
  take(): Sample[] {
    if (this.bytesIn > 0) this.add("signalbox_tunnel_bytes_total", ["in"], this.bytesIn);
    if (this.bytesOut > 0) this.add("signalbox_tunnel_bytes_total", ["out"], this.bytesOut);
    if (this.streams > 0) this.add("signalbox_tunnel_streams_total", [], this.streams);
    const samples: Sample[] = [...this.#others.values()].map(({ name, labels, value }) => [
      name,
      labels,
      value,
    ]);
    for (const [app, counts] of this.#apps) samples.push(...samplesOf(app, counts));
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.streams = 0;
    this.#others = new Map();
    this.#apps = new Map();
    this.#series = 0;
    return samples;
  }

  #app(name: string): AppCounts {
    let app = this.#apps.get(name);
    if (app !== undefined) return app;
    const kept = this.#series >= SERIES_LIMIT ? OTHER : name;
    app = this.#apps.get(kept);
    if (app === undefined) {
      app = { deployments: new Map(), buckets: new Uint32Array(BUCKETS.length + 1), seconds: 0 };
      this.#apps.set(kept, app);
    }
    return app;
  }
}

function samplesOf(app: string, { deployments, buckets, seconds }: AppCounts): Sample[] {
  const samples: Sample[] = [];
  for (const [deployment, classes] of deployments) {
    CLASSES.forEach((name, index) => {
      const value = classes[index] ?? 0;
      if (value > 0)
        samples.push([
          "signalbox_requests_total",
          [app, deployment === "" ? NOBODY : deployment, name],
          value,
        ]);
    });
  }
  let sum = 0;
  buckets.forEach((count, index) => {
    sum += count;
    const bound = BUCKETS[index];
    samples.push([
      "signalbox_request_seconds_bucket",
      [app, bound === undefined ? "+Inf" : String(bound)],
      sum,
    ]);
  });
  samples.push(["signalbox_request_seconds_sum", [app], seconds]);
  samples.push(["signalbox_request_seconds_count", [app], sum]);
  return samples;
}

/** This isolate's. */
export const counters = new Counters();
