import { requireBearer } from "../auth.ts";
import type { ControlContext } from "./context.ts";
import { clientAddress } from "../client-address.ts";
import { isAboutDrain } from "../janitor/report.ts";
import { lastRun } from "../janitor/sweep.ts";

/** Prometheus text, or JSON by `Accept`. Reads the janitor's last report only: a scrape must not loop over apps. */
export async function serveMetrics(request: Request, context: ControlContext): Promise<Response> {
  const client = clientAddress(request, context.config) ?? "";
  await requireBearer(
    request,
    context.config.controlToken,
    client,
    "Send the control token as a Bearer token.",
  );
  const { report, stale } = await lastRun(context.store, context.now());
  const values = {
    signalbox_janitor_stale: stale ? 1 : 0,
    signalbox_janitor_last_run_timestamp_seconds: report ? Date.parse(report.finishedAt) / 1_000 : 0,
    signalbox_janitor_draining_deployments: report?.decisions.filter(isAboutDrain).length ?? 0,
    signalbox_janitor_deletions: report?.decisions.filter(({ action }) => action === "delete").length ?? 0,
    signalbox_janitor_errors: report?.errors.length ?? 0,
  };
  const headers = { "cache-control": "no-store" };
  if (request.headers.get("accept")?.includes("application/json")) return Response.json(values, { headers });
  const text = Object.entries(values).map(([name, value]) => `# TYPE ${name} gauge\n${name} ${value}\n`);
  return new Response(text.join(""), {
    headers: { ...headers, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
  });
}
