import { SendCredit } from "../protocol/flow.ts";

/** The connection's credit for bodies: those that wait for it get one frame's worth each, in turn. */
export class Turns {
  readonly #credit: SendCredit;
  readonly #waiting: { wantedBytes: number; resolve: (granted: number) => void }[] = [];

  constructor(initialBytes: number) {
    this.#credit = new SendCredit(initialBytes);
  }

  get bytes(): number {
    return this.#credit.bytes;
  }

  /** Up to `wantedBytes`; 0 when the connection has ended. */
  take(wantedBytes: number): Promise<number> {
    if (this.#waiting.length === 0 && this.#credit.bytes > 0) {
      return Promise.resolve(this.#credit.take(wantedBytes));
    }
    return new Promise((resolve) => this.#waiting.push({ wantedBytes, resolve }));
  }

  grant(bytes: number): void {
    this.#credit.grant(bytes);
    while (this.#credit.bytes > 0) {
      const next = this.#waiting.shift();
      if (!next) return;
      next.resolve(this.#credit.take(next.wantedBytes));
    }
  }

  end(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve(0);
  }
}
