import { StoreUnavailable } from "../state/store.ts";

/** What one app's driver knows of the store's outages, from its own calls. */
export class StoreOutages {
  #isAway = false;
  /** When the store came back from its last outage, epoch milliseconds; 0 where it had none. */
  backAt = 0;

  answered(now: number): void {
    if (this.#isAway) this.backAt = now;
    this.#isAway = false;
  }

  failed(error: unknown): void {
    if (error instanceof StoreUnavailable) this.#isAway = true;
  }
}
