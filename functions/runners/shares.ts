import { Problem } from "../errors.ts";

/** What all streams of one kind may be, and what one app and one visitor may have of them. */
export interface ShareLimits {
  all: number;
  app: number;
  visitor: number;
}

/** An open stream, as far as others may want its place. */
export interface Holder {
  readonly app: string;
  /** Null where nobody trustworthy says who asks. */
  readonly visitor: string | null;
  /** When a byte last moved, or it opened. */
  readonly movedAt: number;
  /** It counts as idle after so long without one. */
  readonly idleAfterMs: number;
  /** Ends the stream and tells its client why. */
  giveWay(): void;
}

/** What one app may have of a runner's streams: so one alone never has all of them. */
const APP_SHARE = 3 / 4;
const RETRY = { headers: { "retry-after": "2" } };

export function shareLimits(all: number, visitor: number): ShareLimits {
  return { all, app: Math.ceil(all * APP_SHARE), visitor };
}

/**
 * Who has how many of a runner's streams of one kind: requests, or WebSockets. When room is short, the oldest idle stream of
 * the app that has most makes room, and there of the visitor who has most.
 */
export class Shares {
  readonly #limits: ShareLimits;
  readonly #what: string;
  readonly #now: () => number;
  readonly #byApp = new Map<string, Set<Holder>>();
  readonly #byVisitor = new Map<string, number>();
  #count = 0;

  constructor(limits: ShareLimits, what: string, now: () => number = Date.now) {
    this.#limits = limits;
    this.#what = what;
    this.#now = now;
  }

  get count(): number {
    return this.#count;
  }

  /** Makes room for one more stream. Throws a Problem that names whose share is used up. */
  makeRoom(app: string, visitor: string | null): void {
    const { all, app: most, visitor: mostOfVisitor } = this.#limits;
    if (visitor !== null && (this.#byVisitor.get(visitor) ?? 0) >= mostOfVisitor) {
      const detail = `You have ${mostOfVisitor} ${this.#what} open, which is the share of one visitor. Close some first.`;
      throw new Problem("visitor_share_used_up", detail, RETRY);
    }
    const own = this.#byApp.get(app)?.size ?? 0;
    if (own >= most) {
      if (this.#end(app, { idleOnly: true })) return;
      const detail = `App ${app} has ${most} ${this.#what} open, which is its share of the runner. Try again shortly.`;
      throw new Problem("app_share_used_up", detail, RETRY);
    }
    if (this.#count < all) return;
    const largest = this.#largest();
    // Each app gets an equal part in any case.
    const part = all / (this.#byApp.size + (own === 0 ? 1 : 0));
    const idleOnly = own + 1 > part || largest.size <= part;
    if (this.#end(largest.app, { idleOnly })) return;
    if (largest.app === app) {
      const detail = `App ${app} has ${own} of the ${all} ${this.#what} of the runner open. Try again shortly.`;
      throw new Problem("app_share_used_up", detail, RETRY);
    }
    throw new Problem(
      "runner_overloaded",
      `The runner has ${all} ${this.#what} open. Try again shortly.`,
      RETRY,
    );
  }

  add(holder: Holder): void {
    let holders = this.#byApp.get(holder.app);
    if (holders === undefined) this.#byApp.set(holder.app, (holders = new Set()));
    if (holders.has(holder)) return;
    holders.add(holder);
    this.#count += 1;
    const { visitor } = holder;
    if (visitor !== null) this.#byVisitor.set(visitor, (this.#byVisitor.get(visitor) ?? 0) + 1);
  }

  remove(holder: Holder): void {
    const holders = this.#byApp.get(holder.app);
    if (!holders?.delete(holder)) return;
    if (holders.size === 0) this.#byApp.delete(holder.app);
    this.#count -= 1;
    const { visitor } = holder;
    if (visitor === null) return;
    const left = (this.#byVisitor.get(visitor) ?? 0) - 1;
    if (left > 0) this.#byVisitor.set(visitor, left);
    else this.#byVisitor.delete(visitor);
  }

  #largest(): { app: string; size: number } {
    let largest = { app: "", size: 0 };
    for (const [app, { size }] of this.#byApp) if (size > largest.size) largest = { app, size };
    return largest;
  }

  /** Ends one stream of an app; false if there is none to end. */
  #end(app: string, { idleOnly }: { idleOnly: boolean }): boolean {
    const now = this.#now();
    const holders = [...(this.#byApp.get(app) ?? [])];
    const idle = holders.filter(({ movedAt, idleAfterMs }) => now - movedAt >= idleAfterMs);
    const candidates = idle.length > 0 || idleOnly ? idle : holders;
    let chosen: Holder | null = null;
    for (const one of candidates) if (chosen === null || this.#isBefore(one, chosen)) chosen = one;
    if (chosen === null) return false;
    chosen.giveWay();
    // Its own end has removed it, unless it had ended already.
    this.remove(chosen);
    return true;
  }

  #isBefore(one: Holder, other: Holder): boolean {
    const difference = this.#countOf(one.visitor) - this.#countOf(other.visitor);
    return difference === 0 ? one.movedAt < other.movedAt : difference > 0;
  }

  #countOf(visitor: string | null): number {
    return visitor === null ? 0 : (this.#byVisitor.get(visitor) ?? 0);
  }
}
