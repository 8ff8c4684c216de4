import type { Metric, Metrics } from "../protocol/telemetry/prometheus.ts";

/**
 * No label has a value that a visitor chooses: apps and deployments are those of routing
 * tables, everything else is one of a few words.
 */
const table = {
  signalbox_requests_total: {
    kind: "counter",
    help: "Public requests by app, deployment and class of the answer's status (- is no app, or no deployment).",
    labels: ["app", "deployment", "class"],
  },
  signalbox_request_seconds_bucket: {
    kind: "counter",
    help: "Public requests by the seconds until the answer's head.",
    labels: ["app", "le"],
  },
  signalbox_request_seconds_sum: {
    kind: "counter",
    help: "Seconds until the answer's head, in all.",
    labels: ["app"],
  },
  signalbox_request_seconds_count: {
    kind: "counter",
    help: "Public requests whose time was taken.",
    labels: ["app"],
  },
  signalbox_page_sockets_total: { kind: "counter", help: "Sockets that pages have opened." },
  signalbox_decisions_total: {
    kind: "counter",
    help: "Decisions about apps: promote, rollback, fail, retire, removed and so on, done or refused.",
    labels: ["decision", "outcome"],
  },
  signalbox_rollout_steps_total: {
    kind: "counter",
    help: "Steps of rollouts that ended.",
    labels: ["step", "status"],
  },
  signalbox_draining_deployments: {
    kind: "gauge",
    help: "Draining deployments in the janitor's last run.",
    labels: ["app"],
  },
  signalbox_draining_sessions: {
    kind: "gauge",
    help: "Pages and sessions left on draining deployments in the janitor's last run, where they could be counted.",
    labels: ["app"],
  },
  signalbox_janitor_stale: { kind: "gauge", help: "1 when the janitor hasn't run for three minutes." },
  signalbox_janitor_age_seconds: {
    kind: "gauge",
    help: "Seconds since the janitor's last run; nothing before the first.",
  },
  signalbox_janitor_last_run_timestamp_seconds: { kind: "gauge", help: "When the janitor last ran." },
  signalbox_janitor_draining_deployments: {
    kind: "gauge",
    help: "Draining deployments in the janitor's last run, of all apps.",
  },
  signalbox_janitor_deletions: { kind: "gauge", help: "Deployments that the janitor's last run retired." },
  signalbox_janitor_errors: { kind: "gauge", help: "Apps that the janitor's last run couldn't sweep." },
  signalbox_runners: { kind: "gauge", help: "Runners by state.", labels: ["state"] },
  signalbox_runners_conflicting: { kind: "gauge", help: "Runners whose id two processes use." },
  signalbox_runners_low_on_disk: {
    kind: "gauge",
    help: "Connected runners whose disk is below its low-water mark.",
  },
  signalbox_runner_disk_free_bytes_min: {
    kind: "gauge",
    help: "Free bytes of the connected runner that has the fewest.",
  },
  signalbox_runner_connections_total: {
    kind: "counter",
    help: "Connections of runners that began, and how they ended.",
    labels: ["event"],
  },
  signalbox_tunnel_streams: { kind: "gauge", help: "Requests and WebSockets open through runners." },
  signalbox_tunnel_streams_total: { kind: "counter", help: "Requests and WebSockets sent to runners." },
  signalbox_tunnel_bytes_total: {
    kind: "counter",
    help: "Bytes of bodies and messages through the tunnel: in from runners, out to them.",
    labels: ["direction"],
  },
  signalbox_builds: { kind: "gauge", help: "Builds that aren't over, by state.", labels: ["state"] },
  signalbox_builds_total: {
    kind: "counter",
    help: "Builds that entered a state.",
    labels: ["state"],
  },
  signalbox_build_tokens_total: {
    kind: "counter",
    help: "Tokens that builds added to their agents' contexts.",
  },
  signalbox_build_cost_total: {
    kind: "counter",
    help: "What builds cost, as their agents count it.",
    labels: ["currency"],
  },
  signalbox_spans_total: {
    kind: "counter",
    help: "Spans of traces that were sent, and that were lost on the way or for want of room.",
    labels: ["outcome"],
  },
} as const satisfies Metrics;

export type WorkerMetric = keyof typeof table;

/** Every metric of the Worker. */
export const workerMetrics: Record<WorkerMetric, Metric> = table;
