import { z } from "zod";
import type { EventType, RunnerEvent } from "../protocol/control.ts";
import { RECENT_EVENT_LIMIT_BYTES, RECENT_EVENTS_KEPT } from "../protocol/limits.ts";

/** Too frequent to list, and each would be a write. The build or server that they belong to has them. */
const CHATTY: ReadonlySet<EventType> = new Set([
  "runner-status",
  "log-chunk",
  "build-stream",
  "build-progress",
]);

/** No id or time is longer. */
const NAME_LIMIT = 200;

const storedEvent = z.record(z.string(), z.unknown());

/** The last few events of a runner, for people who want to know what it is doing. */
export class RecentEvents {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS recent_events (id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
  }

  add(event: RunnerEvent): void {
    if (CHATTY.has(event.type)) return;
    const whole = JSON.stringify(event);
    const body = whole.length <= RECENT_EVENT_LIMIT_BYTES ? whole : JSON.stringify(withoutRest(event));
    this.#sql.exec("INSERT INTO recent_events (body) VALUES (?)", body);
    this.#sql.exec(
      "DELETE FROM recent_events WHERE id <= (SELECT MAX(id) FROM recent_events) - ?",
      RECENT_EVENTS_KEPT,
    );
  }

  /** Newest first. */
  list(): Record<string, unknown>[] {
    return this.#sql
      .exec<{ body: string }>("SELECT body FROM recent_events ORDER BY id DESC")
      .toArray()
      .map(({ body }) => storedEvent.parse(JSON.parse(body)));
  }

  clear(): void {
    this.#sql.exec("DELETE FROM recent_events");
  }
}

/** The fields that identify an event, cut to a length that no id has. */
function withoutRest({ type, timestamp, commandId, projectId }: RunnerEvent): Record<string, unknown> {
  const cut = (text: string | undefined): string | undefined => text?.slice(0, NAME_LIMIT);
  const named = { timestamp: cut(timestamp), commandId: cut(commandId), projectId: cut(projectId) };
  return { type, ...named, truncated: true };
}
