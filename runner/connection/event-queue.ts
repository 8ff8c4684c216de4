/** A disconnected runner keeps its newest thousand events. Builds have their own outbox on disk. */
const EVENTS_LIMIT = 1_000;
const EVENT_BYTES_LIMIT = 8 * 1024 * 1024;

/** Encoded events that wait for a connection. Bounded: the oldest go first. */
export class EventQueue {
  readonly #texts: string[] = [];
  #length = 0;
  #dropped = 0;

  get size(): number {
    return this.#texts.length;
  }

  push(text: string): void {
    this.#texts.push(text);
    this.#length += text.length;
    while (
      this.#texts.length > EVENTS_LIMIT ||
      (this.#length > EVENT_BYTES_LIMIT && this.#texts.length > 1)
    ) {
      this.shift();
      this.#dropped += 1;
    }
  }

  shift(): string | undefined {
    const text = this.#texts.shift();
    this.#length -= text?.length ?? 0;
    return text;
  }

  /** How many were dropped since this was last asked. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}
