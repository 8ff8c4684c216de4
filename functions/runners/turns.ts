import { frameBudget, SendCredit } from "../protocol/flow.ts";
import { CONNECTION_WINDOW_BYTES } from "../protocol/limits.ts";

interface Waiting {
  stream: SendCredit;
  wantedBytes: number;
  resolve: (granted: number) => void;
}

/**
 * The connection's credit for bodies. Waiting streams get one frame's worth each, in turn. A stream with a slow receiver
 * gets less, to leave room for the others.
 */
export class Turns {
  readonly #credit: SendCredit;
  readonly #waiting = new Set<Waiting>();
  readonly #short: () => void;

  /** `short` is told when a stream must wait and little is left. */
  constructor(initialBytes: number, short: () => void = () => undefined) {
    this.#credit = new SendCredit(initialBytes);
    this.#short = short;
  }

  get bytes(): number {
    return this.#credit.bytes;
  }

  get isShort(): boolean {
    return this.#waiting.size > 0 && this.#credit.bytes < CONNECTION_WINDOW_BYTES / 2;
  }

  /** Up to `wantedBytes` of the stream's credit and of the connection's; 0 when either has ended. */
  take(stream: SendCredit, wantedBytes: number): Promise<number> {
    return new Promise((resolve) => {
      this.#waiting.add({ stream, wantedBytes, resolve });
      this.look();
      if (this.isShort) this.#short();
    });
  }

  /** Gives credit of the connection back, or grants more. */
  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.look();
  }

  /** A stream's credit has grown: it may be its turn. */
  look(): void {
    for (const waiting of this.#waiting) {
      if (this.#credit.bytes === 0) return;
      const { stream, wantedBytes, resolve } = waiting;
      const granted = Math.min(wantedBytes, frameBudget(stream, this.#credit));
      if (granted === 0) continue;
      this.#waiting.delete(waiting);
      this.#credit.take(granted);
      resolve(stream.take(granted));
    }
  }

  /** A stream has ended: it waits no more. */
  leave(stream: SendCredit): void {
    for (const waiting of this.#waiting) {
      if (waiting.stream !== stream) continue;
      this.#waiting.delete(waiting);
      waiting.resolve(0);
    }
    // Others of its app may have waited for what it had.
    if (this.#waiting.size > 0) this.look();
  }

  end(): void {
    for (const { resolve } of this.#waiting) resolve(0);
    this.#waiting.clear();
  }
}
