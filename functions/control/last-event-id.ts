import { Problem } from "../errors.ts";

/** Where a reconnecting client left off; null for a new one. */
export function lastEventId(request: Request): number | null {
  const text = request.headers.get("last-event-id");
  if (text === null) return null;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const message = "must be the id of an event of this stream";
  throw new Problem("invalid_request", `Last-Event-ID ${message}.`, {
    errors: [{ field: "header.last-event-id", message }],
  });
}
