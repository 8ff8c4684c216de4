/**
 * How much a figure has grown that begins anew with each session: agents count tokens and cost since their session began,
 * and don't say when that was.
 */
export function grown(before: number, now: number): number {
  return now >= before ? now - before : now;
}

/** A label's value for a currency, which an agent names. */
export function currencyLabel(currency: string): string {
  return /^[A-Z]{3}$/.test(currency) ? currency : "other";
}
