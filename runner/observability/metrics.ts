import type { Metric, Metrics } from "../../functions/protocol/telemetry/prometheus.ts";

const table = {
  signalbox_runner_connected: { kind: "gauge", help: "1 while there is a connection to the hub." },
  signalbox_runner_draining: { kind: "gauge", help: "1 while the runner takes no new work." },
  signalbox_runner_connection_changes_total: {
    kind: "counter",
    help: "States that the connection entered.",
    labels: ["state"],
  },
  signalbox_runner_uptime_seconds: { kind: "gauge", help: "Seconds since the runner started." },
  signalbox_runner_memory_bytes: { kind: "gauge", help: "Resident memory of the runner itself." },
  signalbox_runner_load: { kind: "gauge", help: "The machine's load over a minute." },
  signalbox_runner_requests_total: {
    kind: "counter",
    help: "Requests and WebSockets by app, deployment and class of the answer's status (failed: none came).",
    labels: ["app", "deployment", "class"],
  },
  signalbox_runner_streams: {
    kind: "gauge",
    help: "Requests and WebSockets that are open.",
    labels: ["kind"],
  },
  signalbox_runner_tunnel_bytes_total: {
    kind: "counter",
    help: "Bytes of the tunnel's messages: in from the hub, out to it.",
    labels: ["direction"],
  },
  signalbox_runner_deployments: { kind: "gauge", help: "Hosted deployments by state.", labels: ["state"] },
  signalbox_runner_projects: { kind: "gauge", help: "Projects." },
  signalbox_runner_dev_servers: {
    kind: "gauge",
    help: "Dev servers of projects by state.",
    labels: ["state"],
  },
  signalbox_runner_builds: { kind: "gauge", help: "Builds that aren't over, by state.", labels: ["state"] },
  signalbox_runner_builds_total: {
    kind: "counter",
    help: "Builds that entered a state.",
    labels: ["state"],
  },
  signalbox_runner_build_tokens_total: {
    kind: "counter",
    help: "Tokens that builds added to their agents' contexts.",
  },
  signalbox_runner_build_cost_total: {
    kind: "counter",
    help: "What builds cost, as their agents count it.",
    labels: ["currency"],
  },
  signalbox_runner_disk_free_bytes: { kind: "gauge", help: "Free bytes of the workspace's disk or quota." },
  signalbox_runner_disk_low_water_bytes: { kind: "gauge", help: "Below it new work is refused." },
  signalbox_runner_disk_reserved_bytes: { kind: "gauge", help: "Bytes promised to work under way." },
  signalbox_runner_disk_evictions_total: { kind: "counter", help: "Caches deleted to make room." },
} as const satisfies Metrics;

export type RunnerMetric = keyof typeof table;

/** Every metric of a runner's `/metrics`. */
export const runnerMetrics: Record<RunnerMetric, Metric> = table;
