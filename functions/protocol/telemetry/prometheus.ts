/** Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats */

export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export interface Metric {
  kind: "counter" | "gauge";
  help: string;
  /** Names of its labels. */
  labels?: readonly string[];
}

/** A table of metrics by name. */
export type Metrics = Record<string, Metric>;

/** One value: the metric's name, and a label's value for each of its labels, in their order. */
export type Sample = readonly [name: string, labels: readonly string[], value: number];

/** Every metric of the table, also those without a value: dashboards and alerts find all that they name. */
export function prometheusText(metrics: Metrics, samples: Iterable<Sample>): string {
  const lines = new Map(Object.keys(metrics).map((name) => [name, [] as string[]]));
  for (const [name, values, value] of samples) {
    const labels = metrics[name]?.labels ?? [];
    lines.get(name)?.push(`${seriesName(name, labels, values)} ${value}\n`);
  }
  return Object.entries(metrics)
    .map(
      ([name, { kind, help }]) =>
        `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${(lines.get(name) ?? []).join("")}`,
    )
    .join("");
}

/** `name{label="value"}`. */
export function seriesName(name: string, labels: readonly string[], values: readonly string[]): string {
  const pairs = labels.map((label, index) => `${label}="${escaped(values[index] ?? "")}"`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
