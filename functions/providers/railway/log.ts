import type { RailwayLogLine } from "../../railway/operations.ts";
import type { BuildLog } from "../provider.ts";

const LINE_LIMIT = 4_000;

/**
 * Follows a log that Railway gives by time. The cursor is the newest line's time in microseconds, and lines of that
 * very time are told apart by their number, which is kept here: after a restart some of them may be left out, never
 * shown twice.
 */
export class LogFollower {
  #cursor = 0;
  #seenAtCursor = Infinity;

  /** From where on to ask; null: from the beginning. */
  since(log: BuildLog): string | null {
    return dateOf(log.cursor);
  }

  /** Passes on what is new. */
  take(lines: readonly RailwayLogLine[], log: BuildLog): void {
    if (log.cursor !== this.#cursor) {
      this.#cursor = log.cursor;
      this.#seenAtCursor = Infinity;
    }
    const timed = lines
      .map(({ timestamp, message }) => ({ at: microseconds(timestamp), message }))
      .filter(({ at }) => at >= this.#cursor)
      .sort((one, other) => one.at - other.at);
    const known = Math.min(timed.filter(({ at }) => at === this.#cursor).length, this.#seenAtCursor);
    const fresh = timed.slice(known);
    const newest = fresh.at(-1)?.at;
    if (newest === undefined) return;
    const before = newest === this.#cursor ? known : 0;
    this.#seenAtCursor = before + fresh.filter(({ at }) => at === newest).length;
    this.#cursor = newest;
    log.append(
      fresh.flatMap(({ message }) => linesOf(message)),
      newest,
    );
  }
}

/** A message as lines that can be shown: without colours, without an end. */
export function linesOf(message: string): string[] {
  const plain = message.replaceAll(/\u001b\[[\d;]*[A-Za-z]/g, "").replace(/\s+$/, "");
  return plain.split(/\r?\n/).map((line) => line.slice(0, LINE_LIMIT));
}

/** The time that Railway is to look from; it knows nothing finer than a date does. */
export function dateOf(cursor: number): string | null {
  return cursor === 0 ? null : new Date(Math.floor(cursor / 1_000)).toISOString();
}

/** Nanoseconds, as Railway gives them, are more than a number can tell apart. */
export function microseconds(timestamp: string): number {
  const ms = Date.parse(timestamp);
  if (Number.isNaN(ms)) return 0;
  const digits = /\.\d{3}(\d{1,3})/.exec(timestamp)?.[1] ?? "";
  return ms * 1_000 + Number(digits.padEnd(3, "0"));
}
