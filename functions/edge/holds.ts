import { HELD_REQUESTS_LIMIT } from "../protocol/limits.ts";

/** A request that waits for a paused app to resume. */
export interface Hold {
  seenAt: number;
  /** It made room for another app's. */
  evicted: boolean;
}

/**
 * The requests that one isolate holds. Apps share the room: when it is full, the app that holds most gives up one
 * request, so that a crowd before one app doesn't turn away the visitors of another.
 */
export class Holds {
  readonly #byApp = new Map<string, Set<Hold>>();
  readonly #limit: number;
  readonly #leaseMs: number;

  /** `leaseMs`: a request that wasn't seen for so long is gone; when its client leaves, not even `finally` runs. */
  constructor(leaseMs: number, limit = HELD_REQUESTS_LIMIT) {
    this.#leaseMs = leaseMs;
    this.#limit = limit;
  }

  /** Null when there is no room and no app holds more than this one would. */
  take(app: string, now: number): Hold | null {
    if (this.#size() >= this.#limit) this.#forgetTheGone(now);
    const own = this.#byApp.get(app) ?? new Set();
    if (this.#size() >= this.#limit && !this.#evictFor(own.size + 1)) return null;
    const hold = { seenAt: now, evicted: false };
    this.#byApp.set(app, own.add(hold));
    return hold;
  }

  release(app: string, hold: Hold): void {
    const own = this.#byApp.get(app);
    own?.delete(hold);
    if (own?.size === 0) this.#byApp.delete(app);
  }

  #size(): number {
    let size = 0;
    for (const { size: held } of this.#byApp.values()) size += held;
    return size;
  }

  #forgetTheGone(now: number): void {
    for (const [app, holds] of this.#byApp) {
      for (const hold of holds) if (now - hold.seenAt > this.#leaseMs) this.release(app, hold);
    }
  }

  /** The oldest of the app that holds most goes: it has waited longest. */
  #evictFor(share: number): boolean {
    let most: Set<Hold> = new Set();
    for (const holds of this.#byApp.values()) if (holds.size > most.size) most = holds;
    if (most.size <= share) return false;
    for (const oldest of most) {
      oldest.evicted = true;
      most.delete(oldest);
      return true;
    }
    return false;
  }
}
