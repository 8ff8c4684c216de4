import { isOver, type BuildEvent, type BuildEventsMessage } from "../protocol/builds.ts";
import { BUILD_EVENTS_KEPT, BUILDS_KEPT } from "../protocol/limits.ts";

/** Events that one read answers with. */
const PAGE_EVENTS = 500;

/** A page of a build's events, as JSON; `isOver`: the last of them ended the build. */
export interface BuildEventPage {
  events: string[];
  isOver: boolean;
}

/**
 * Events of a runner's builds, in its hub: whoever watches a build reads them here, whether or not the runner is there.
 * Each number is kept once, in order; the runner sends again what isn't acknowledged.
 */
export class BuildEvents {
  readonly #sql: SqlStorage;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS build_events (build TEXT, seq INTEGER, body TEXT NOT NULL, PRIMARY KEY (build, seq))",
    );
  }

  /** Stores what is new and follows on what is there. Answers the number up to which all is stored. */
  add({ buildId, events }: BuildEventsMessage, onNew: (event: BuildEvent) => void = () => undefined): number {
    let last = this.#last(buildId);
    const before = last;
    for (const event of events) {
      if (event.seq !== last + 1) continue;
      this.#sql.exec(
        "INSERT INTO build_events (build, seq, body) VALUES (?, ?, ?)",
        buildId,
        event.seq,
        JSON.stringify(event),
      );
      last = event.seq;
      onNew(event);
    }
    if (last === before) return last;
    this.#sql.exec(
      "DELETE FROM build_events WHERE build = ? AND seq <= ?",
      buildId,
      last - BUILD_EVENTS_KEPT,
    );
    if (before === 0) this.#forgetOldest();
    for (const wake of this.#waiting.get(buildId) ?? []) wake();
    return last;
  }

  /** Events after a number; it may wait so long for the first one. */
  async read(buildId: string, after: number, waitMs: number): Promise<BuildEventPage> {
    const page = this.#page(buildId, after);
    if (page.events.length > 0 || page.isOver || waitMs <= 0) return page;
    await this.#grown(buildId, waitMs);
    return this.#page(buildId, after);
  }

  forget(project: string): void {
    this.#sql.exec("DELETE FROM build_events WHERE build GLOB ?", `${project}.*`);
  }

  clear(): void {
    this.#sql.exec("DELETE FROM build_events");
  }

  #page(buildId: string, after: number): BuildEventPage {
    const rows = this.#sql
      .exec<{ body: string }>(
        "SELECT body FROM build_events WHERE build = ? AND seq > ? ORDER BY seq LIMIT ?",
        buildId,
        after,
        PAGE_EVENTS,
      )
      .toArray();
    const last = this.#sql
      .exec<{ seq: number; body: string }>(
        "SELECT seq, body FROM build_events WHERE build = ? ORDER BY seq DESC LIMIT 1",
        buildId,
      )
      .toArray()[0];
    const isAtEnd = last !== undefined && after + rows.length >= last.seq;
    return { events: rows.map(({ body }) => body), isOver: isAtEnd && endsBuild(last.body) };
  }

  async #grown(buildId: string, waitMs: number): Promise<void> {
    const waiting = this.#waiting.get(buildId) ?? new Set();
    this.#waiting.set(buildId, waiting);
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      waiting.add(done);
    });
    if (waiting.size === 0) this.#waiting.delete(buildId);
  }

  #last(buildId: string): number {
    const rows = this.#sql
      .exec<{ seq: number | null }>("SELECT MAX(seq) AS seq FROM build_events WHERE build = ?", buildId)
      .toArray();
    return rows[0]?.seq ?? 0;
  }

  /** Builds that began longest ago. */
  #forgetOldest(): void {
    this.#sql.exec(
      `DELETE FROM build_events WHERE build IN (
         SELECT build FROM build_events GROUP BY build ORDER BY MAX(rowid) DESC LIMIT -1 OFFSET ?)`,
      BUILDS_KEPT,
    );
  }
}

function endsBuild(body: string): boolean {
  const event = JSON.parse(body) as BuildEvent;
  return event.type === "state" && isOver(event.state);
}
