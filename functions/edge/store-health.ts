import { STORE_OUTAGE_MS, STORE_RETRY_MS } from "../protocol/limits.ts";

/** Whether the store answers, as one isolate has seen it. While it doesn't, one request at a time tries it. */
export class StoreHealth {
  readonly #tryMs: number;
  /** Of the last failure that no answer followed. */
  #failedAt = -Infinity;
  #triedAt = -Infinity;

  /** `tryMs`: a try that takes longer is given up, and another request may try. */
  constructor(tryMs: number) {
    this.#tryMs = tryMs;
  }

  answered(): void {
    this.#failedAt = -Infinity;
  }

  failed(now: number): void {
    this.#failedAt = now;
    this.#triedAt = -Infinity;
  }

  mayAsk(now: number): boolean {
    if (this.#failedAt === -Infinity) return true;
    return now - this.#failedAt >= STORE_RETRY_MS && now - this.#triedAt >= this.#tryMs;
  }

  asks(now: number): void {
    this.#triedAt = now;
  }

  isDown(now: number): boolean {
    return now - this.#failedAt < STORE_OUTAGE_MS;
  }
}
