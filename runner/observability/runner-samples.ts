import { loadavg } from "node:os";
import { isObject, type Fields } from "../../functions/protocol/control.ts";
import { prometheusText, type Sample } from "../../functions/protocol/telemetry/prometheus.ts";
import type { Counts } from "./counts.ts";
import { runnerMetrics, type RunnerMetric } from "./metrics.ts";

/** What a scrape shows beside the counts. */
export interface RunnerGauges {
  isConnected: boolean;
  isDraining: boolean;
  requests: number;
  webSockets: number;
  bytesIn: number;
  bytesOut: number;
  /** The parts' fields of `/health`. */
  status: Fields;
}

/** The text of a runner's `/metrics`. Nothing is measured for it: it shows what is known. */
export function runnerMetricsText(counts: Counts, gauges: RunnerGauges): string {
  const one = (name: RunnerMetric, value: unknown): Sample[] =>
    typeof value === "number" && Number.isFinite(value) ? [[name, [], value]] : [];
  const byState = (name: RunnerMetric, states: unknown): Sample[] =>
    isObject(states)
      ? Object.entries(states).flatMap(([state, count]) =>
          typeof count === "number" ? [[name, [state], count] as Sample] : [],
        )
      : [];
  const { status } = gauges;
  const disk = isObject(status["disk"]) ? status["disk"] : {};
  return prometheusText(runnerMetrics, [
    ["signalbox_runner_connected", [], gauges.isConnected ? 1 : 0],
    ["signalbox_runner_draining", [], gauges.isDraining ? 1 : 0],
    ["signalbox_runner_uptime_seconds", [], process.uptime()],
    ["signalbox_runner_memory_bytes", [], process.memoryUsage.rss()],
    ["signalbox_runner_load", [], loadavg()[0] ?? 0],
    ["signalbox_runner_streams", ["request"], gauges.requests],
    ["signalbox_runner_streams", ["websocket"], gauges.webSockets],
    ["signalbox_runner_tunnel_bytes_total", ["in"], gauges.bytesIn],
    ["signalbox_runner_tunnel_bytes_total", ["out"], gauges.bytesOut],
    ...byState("signalbox_runner_deployments", status["deploymentStates"]),
    ...one("signalbox_runner_projects", status["projects"]),
    ...byState("signalbox_runner_dev_servers", status["devServers"]),
    ...byState("signalbox_runner_builds", status["builds"]),
    ...one("signalbox_runner_disk_free_bytes", disk["freeBytes"]),
    ...one("signalbox_runner_disk_low_water_bytes", disk["lowWaterBytes"]),
    ...one("signalbox_runner_disk_reserved_bytes", disk["reservedBytes"]),
    ...one("signalbox_runner_disk_evictions_total", disk["evictions"]),
    ...counts.samples(),
  ]);
}
