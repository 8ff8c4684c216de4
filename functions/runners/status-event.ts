import { isObject, type RunnerEvent } from "../protocol/control.ts";

/** What fits into a hibernating socket's attachment beside the rest. */
const STATUS_LIMIT = 4_000;

/** A status as it is kept: whole, or what can be said of one that is too large. */
export function statusText(event: RunnerEvent): string {
  const text = JSON.stringify(event);
  if (text.length <= STATUS_LIMIT) return text;
  return JSON.stringify({ type: event.type, timestamp: event.timestamp, truncated: true });
}

/** Whether a runner says that it takes nothing new, at the top or, as the seed nests it, in its payload. */
export function isDraining(event: RunnerEvent): boolean {
  return [event, event["payload"], event["status"]].some(
    (part) =>
      isObject(part) &&
      (part["draining"] === true || part["state"] === "draining" || part["status"] === "draining"),
  );
}
