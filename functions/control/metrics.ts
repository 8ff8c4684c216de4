import { isAboutDrain, type Report } from "../janitor/report.ts";
import { lastRun } from "../janitor/sweep.ts";
import { readMetrics } from "../observability/flush.ts";
import { workerMetrics, type WorkerMetric } from "../observability/metrics.ts";
import {
  PROMETHEUS_TYPE,
  prometheusText,
  seriesName,
  type Sample,
} from "../protocol/telemetry/prometheus.ts";
import { requireCaller, requireScope } from "./caller.ts";
import type { ControlContext } from "./context.ts";

/** Apps with a series of their own; the others are summed up. */
const APPS_LIMIT = 200;

/**
 * Prometheus text, or JSON by `Accept`. One record of the store and one call of the hub that sums up: a scrape must not
 * loop over apps or runners.
 */
export async function serveMetrics(request: Request, context: ControlContext): Promise<Response> {
  // For programs: the cookie of a sign-in opens the control API and nothing else.
  const caller = await requireCaller(request, { ...context, dashboardCaller: () => Promise.resolve(null) });
  requireScope(caller, "GET", "/metrics");
  const now = context.now();
  const [{ report, stale }, counted] = await Promise.all([
    lastRun(context.store, now),
    readMetrics(context.env),
  ]);
  const samples = [...counted, ...janitorSamples(report, stale, now)];
  const headers = { "cache-control": "no-store" };
  if (request.headers.get("accept")?.includes("application/json")) {
    const values = samples.map(([name, labels, value]) => [
      seriesName(name, workerMetrics[name as WorkerMetric].labels ?? [], labels),
      value,
    ]);
    return Response.json(Object.fromEntries(values), { headers });
  }
  return new Response(prometheusText(workerMetrics, samples), {
    headers: { ...headers, "content-type": PROMETHEUS_TYPE },
  });
}

function janitorSamples(report: Report | null, stale: boolean, now: number): Sample[] {
  const finishedAt = report === null ? 0 : Date.parse(report.finishedAt);
  const drains = report?.decisions.filter(isAboutDrain) ?? [];
  const deployments = new Map<string, number>();
  const sessions = new Map<string, number>();
  for (const { app, sessions: left } of drains) {
    const label = deployments.has(app) || deployments.size < APPS_LIMIT ? app : "other";
    deployments.set(label, (deployments.get(label) ?? 0) + 1);
    sessions.set(label, (sessions.get(label) ?? 0) + (left ?? 0));
  }
  return [
    ["signalbox_janitor_stale", [], stale ? 1 : 0],
    ...(report === null ? [] : [["signalbox_janitor_age_seconds", [], (now - finishedAt) / 1_000] as Sample]),
    ["signalbox_janitor_last_run_timestamp_seconds", [], finishedAt / 1_000],
    ["signalbox_janitor_draining_deployments", [], drains.length],
    [
      "signalbox_janitor_deletions",
      [],
      report?.decisions.filter(({ action }) => action === "delete").length ?? 0,
    ],
    ["signalbox_janitor_errors", [], report?.errors.length ?? 0],
    ...[...deployments].map(([app, count]): Sample => ["signalbox_draining_deployments", [app], count]),
    ...[...sessions].map(([app, count]): Sample => ["signalbox_draining_sessions", [app], count]),
  ];
}
