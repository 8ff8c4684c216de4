import { z } from "zod";
import { isPrintable } from "../protocol/printable.ts";
import { isObject, type Fields, type RunnerEvent } from "../protocol/control.ts";
import { parseConfinement, type HostedConfinement } from "../protocol/runner-api.ts";
import { RUNNER_LABEL_LIMIT, RUNNER_LABELS_LIMIT } from "../protocol/limits.ts";

/** What fits into a hibernating socket's attachment beside the rest. */
const STATUS_LIMIT = 4_000;

/** No time is longer. */
const TIMESTAMP_LIMIT = 64;

/** The status to keep. If it is too large, its smallest fields that fit. */
export function statusText(event: RunnerEvent): string {
  const text = JSON.stringify(event);
  if (text.length <= STATUS_LIMIT) return text;
  const { type, timestamp, payload } = event;
  const kept: Fields = { type, timestamp: timestamp.slice(0, TIMESTAMP_LIMIT), truncated: true };
  if (!isObject(payload)) return JSON.stringify(kept);
  // Placement needs the small ones. The large one is a count for each service.
  const fields = Object.entries(payload).map(([name, value]) => ({
    name,
    value,
    length: JSON.stringify({ [name]: value }).length,
  }));
  fields.sort((one, other) => one.length - other.length);
  let room = STATUS_LIMIT - JSON.stringify({ ...kept, payload: {} }).length;
  const fitting = fields.filter(({ length }) => (room -= length) >= 0);
  return JSON.stringify({
    ...kept,
    payload: Object.fromEntries(fitting.map(({ name, value }) => [name, value])),
  });
}

/** What a status says of a runner that others look up: placement goes by its load and labels. */
export interface ReportedLoad {
  deployments: number | undefined;
  labels: Record<string, string> | undefined;
  confinement: HostedConfinement | null;
}

const reportedLoad = z.object({
  deployments: z.number().int().min(0).optional().catch(undefined),
  labels: z.record(z.string(), z.unknown()).optional().catch(undefined),
});

/** Leaves out labels that a target can't name or a person can't read. */
export function reportedLoadOf(event: RunnerEvent): ReportedLoad {
  const { deployments, labels } = reportedLoad.safeParse(event["payload"]).data ?? {};
  const fits = (pair: [string, unknown]): pair is [string, string] =>
    pair[0] !== "" &&
    pair[0].length <= RUNNER_LABEL_LIMIT &&
    typeof pair[1] === "string" &&
    pair[1].length <= RUNNER_LABEL_LIMIT &&
    isPrintable(pair[0]) &&
    isPrintable(pair[1]);
  const known = labels && Object.entries(labels).filter(fits).slice(0, RUNNER_LABELS_LIMIT);
  const { payload } = event;
  const confinement = parseConfinement(isObject(payload) ? payload["confinement"] : null);
  return { deployments, labels: known && Object.fromEntries(known), confinement };
}

/** Whether a runner says that it takes no new work: at the top, or in the payload, where a SentryVibe runner puts it. */
export function isDraining(event: RunnerEvent): boolean {
  return [event, event["payload"], event["status"]].some(
    (part) =>
      isObject(part) &&
      (part["draining"] === true || part["state"] === "draining" || part["status"] === "draining"),
  );
}
