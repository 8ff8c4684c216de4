import type { Sample } from "../../functions/protocol/telemetry/prometheus.ts";
import type { RunnerMetric } from "./metrics.ts";

/** Series of one metric; what comes after is counted as `other`. */
const SERIES_LIMIT = 500;

/** What a runner counts from its start on. */
export class Counts {
  readonly #series = new Map<RunnerMetric, Map<string, { labels: readonly string[]; value: number }>>();

  add(name: RunnerMetric, labels: readonly string[] = [], value = 1): void {
    let series = this.#series.get(name);
    if (series === undefined) this.#series.set(name, (series = new Map()));
    const key = labels.join("\n");
    const known = series.get(key);
    if (known !== undefined) known.value += value;
    else if (series.size < SERIES_LIMIT) series.set(key, { labels, value });
    else this.#addOther(series, labels, value);
  }

  samples(): Sample[] {
    return [...this.#series].flatMap(([name, series]) =>
      [...series.values()].map(({ labels, value }): Sample => [name, labels, value]),
    );
  }

  #addOther(
    series: Map<string, { labels: readonly string[]; value: number }>,
    labels: readonly string[],
    value: number,
  ): void {
    const key = "other";
    const known = series.get(key);
    if (known === undefined) series.set(key, { labels: labels.map(() => "other"), value });
    else known.value += value;
  }
}

/** Of an answer's status; null: none came. */
export function classOf(status: number | null): string {
  return status === null ? "failed" : `${Math.floor(status / 100)}xx`;
}

/** A tunnel service as labels: a deployment's is `APP/ID`, a project's `project:SLUG`. */
export function serviceLabels(service: string): [app: string, deployment: string] {
  const [app = "", rest = "-"] = service.split("/", 2);
  return [app, rest];
}
