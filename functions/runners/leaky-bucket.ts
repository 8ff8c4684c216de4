/** Counts what came lately: it leaks at a steady rate. */
export class LeakyBucket {
  readonly #perSecond: number;
  #level = 0;
  #at = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** Adds to it and returns what is in it. */
  add(amount: number, now: number): number {
    this.#level = Math.max(0, this.#level - ((now - this.#at) / 1_000) * this.#perSecond) + amount;
    this.#at = now;
    return this.#level;
  }
}
