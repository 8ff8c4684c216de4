/**
 * Delays between attempts: doubling, with full jitter, so that a thousand runners cut off by one deploy don't come
 * back as one.
 */
export class Backoff {
  readonly #firstMs: number;
  readonly #limitMs: number;
  readonly #random: () => number;
  #attempts = 0;

  constructor(firstMs: number, limitMs: number, random: () => number = Math.random) {
    this.#firstMs = firstMs;
    this.#limitMs = limitMs;
    this.#random = random;
  }

  /** How long to wait before the next attempt. */
  nextMs(): number {
    const ceiling = Math.min(this.#limitMs, this.#firstMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return Math.round(this.#random() * ceiling);
  }

  /** Only a connection that proved stable starts over; one that opens and closes at once must not. */
  reset(): void {
    this.#attempts = 0;
  }
}
