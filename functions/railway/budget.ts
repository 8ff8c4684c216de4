const MINUTE_MS = 60_000;
/** Below this part of Railway's own allowance, what is left of it is spread over what is left of its window. */
const SCARCE = 0.1;

/**
 * Limits the calls of one token: to a number a minute by our own count, and to what Railway's headers leave. Each isolate
 * has its own and can't see the others' calls, so Railway's count matters too.
 */
export class CallBudget {
  readonly #perMinute: number;
  readonly #calls: number[] = [];
  #blockedUntil = 0;

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
  }

  /** When the next call may be made; in the past or now means: now. `share`: of the budget, how much it may use up. */
  readyAt(now: number, share = 1): number {
    while (this.#calls[0] !== undefined && this.#calls[0] <= now - MINUTE_MS) this.#calls.shift();
    const oldest = this.#calls.at(-Math.max(1, Math.floor(this.#perMinute * share)));
    return Math.max(this.#blockedUntil, oldest === undefined ? 0 : oldest + MINUTE_MS);
  }

  spend(now: number): void {
    this.#calls.push(now);
  }

  /** Takes in what an answer's headers say. Returns when the next call may be made, for an answer that was 429. */
  observe(status: number, headers: Headers, now: number): number {
    const remaining = numberOf(headers.get("x-ratelimit-remaining"));
    const limit = numberOf(headers.get("x-ratelimit-limit"));
    const resetAt = timeOf(headers.get("x-ratelimit-reset"), now);
    if (status === 429) {
      const at = timeOf(headers.get("retry-after"), now) ?? resetAt ?? now + MINUTE_MS / 6;
      this.#blockedUntil = Math.max(this.#blockedUntil, at);
    } else if (remaining !== null && limit !== null && resetAt !== null && remaining < limit * SCARCE) {
      this.#blockedUntil = Math.max(this.#blockedUntil, now + (resetAt - now) / (remaining + 1));
    }
    return this.#blockedUntil;
  }
}

function numberOf(text: string | null): number | null {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** Epoch milliseconds, within an hour from now: proxies and versions write seconds, epoch seconds or a date. */
function timeOf(text: string | null, now: number): number | null {
  if (text === null) return null;
  const value = numberOf(text);
  const at =
    value === null
      ? Date.parse(text)
      : value > 1e12
        ? value
        : value > 1e9
          ? value * 1_000
          : now + value * 1_000;
  return Number.isNaN(at) ? null : Math.min(Math.max(at, now), now + 60 * MINUTE_MS);
}
