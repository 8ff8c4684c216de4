import type { BuildEventsMessage } from "../../functions/protocol/builds.ts";
import type { EventLog } from "./event-log.ts";

/** One frame's events. */
const BATCH_EVENTS = 100;
/** An acknowledgement takes one round trip; after this the frame or its answer is lost. */
const RESEND_AFTER_MS = 10_000;

interface Entry {
  log: EventLog;
  /** Stored by the hub up to here. */
  acked: number;
  /** When events after `acked` were sent that aren't acknowledged yet; null: none are under way. */
  sentAt: number | null;
  sentTo: number;
}

/**
 * Brings the events of all builds to the hub at least once, in order, one frame of a build under way at a time. Where it
 * stands needn't be on disk: the hub says what it has.
 */
export class Outbox {
  readonly #entries = new Map<string, Entry>();
  readonly #send: (message: BuildEventsMessage) => boolean;
  readonly #timer: NodeJS.Timeout;

  /** `send` answers false while there is no connection. */
  constructor(send: (message: BuildEventsMessage) => boolean, resendAfterMs: number = RESEND_AFTER_MS) {
    this.#send = send;
    this.#timer = setInterval(() => this.#resend(resendAfterMs), resendAfterMs);
    this.#timer.unref();
  }

  add(buildId: string, log: EventLog): void {
    this.#entries.set(buildId, { log, acked: 0, sentAt: null, sentTo: 0 });
    this.pump(buildId);
  }

  remove(buildId: string): void {
    this.#entries.delete(buildId);
  }

  /** There may be more to send. */
  pump(buildId: string): void {
    const entry = this.#entries.get(buildId);
    if (entry === undefined || entry.sentAt !== null) return;
    const events = entry.log.after(entry.acked, BATCH_EVENTS);
    const last = events.at(-1);
    if (last === undefined || !this.#send({ buildId, events })) return;
    entry.sentAt = performance.now();
    entry.sentTo = last.seq;
  }

  /** The hub has stored everything up to a number. */
  acknowledged(buildId: string, seq: number): void {
    const entry = this.#entries.get(buildId);
    if (entry === undefined || !Number.isSafeInteger(seq)) return;
    // A hub that lost its storage says less than before, and gets all of it again.
    entry.acked = Math.min(Math.max(seq, 0), entry.log.seq);
    entry.sentAt = null;
    this.pump(buildId);
  }

  /** A new connection: what was under way may be lost. */
  connected(): void {
    for (const [buildId, entry] of this.#entries) {
      entry.sentAt = null;
      this.pump(buildId);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#entries.clear();
  }

  #resend(afterMs: number): void {
    for (const [buildId, entry] of this.#entries) {
      if (entry.sentAt === null || performance.now() - entry.sentAt < afterMs) continue;
      entry.sentAt = null;
      this.pump(buildId);
    }
  }
}
