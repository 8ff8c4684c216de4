import { STORE_OUTAGE_MS, STORE_RETRY_MS } from "../protocol/limits.ts";
import { StoreUnavailable } from "./store.ts";

/** Whether the store answers, as one isolate of the edge or one app's driver has seen it by its own calls. */
export class StoreHealth {
  readonly #tryMs: number;
  /** Of the last failure that no answer followed. */
  #failedAt = -Infinity;
  #triedAt = -Infinity;
  /** When the store came back from its last outage, epoch milliseconds; 0 where it had none. */
  backAt = 0;

  /** `tryMs`: while the store is away one call tries it at a time; one that takes longer is given up. */
  constructor(tryMs = 0) {
    this.#tryMs = tryMs;
  }

  answered(now: number): void {
    if (this.#failedAt !== -Infinity) this.backAt = now;
    this.#failedAt = -Infinity;
  }

  /** Any error but {@link StoreUnavailable} is a matter of one document, and no reason to leave the store alone. */
  failed(error: unknown, now: number): void {
    if (!(error instanceof StoreUnavailable)) return;
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
