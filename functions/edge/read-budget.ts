/** A token bucket: so many reads at once, so many a second in the long run. */
export class ReadBudget {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #refilledAt = 0;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** Takes one read unless that would leave less than `reserve` of them. */
  take(now: number, reserve = 0): boolean {
    const elapsedMs = Math.max(0, now - this.#refilledAt);
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsedMs / 1_000) * this.#perSecond);
    this.#refilledAt = now;
    if (this.#tokens < reserve + 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
