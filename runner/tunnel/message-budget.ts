import { messageCost } from "./message-flow.ts";

/** A WebSocket whose local server has yet to take messages. */
export interface Debtor {
  readonly app: string;
  /** It takes nothing, and others need the room: it is closed. */
  tooSlow(): void;
}

interface Account {
  bytes: number;
  /** Counts up: who has the least was the last to be taken anything from. */
  movedAt: number;
}

/**
 * Memory for WebSocket messages that local servers are slow to take. When there is no room, the one that has taken nothing
 * for longest is closed, of the app that holds most.
 */
export class MessageBudget {
  readonly #limits: { bytes: number; appBytes: number };
  readonly #accounts = new Map<Debtor, Account>();
  readonly #apps = new Map<string, number>();
  #bytes = 0;
  #moves = 0;

  constructor(limits: { bytes: number; appBytes: number }) {
    this.#limits = limits;
  }

  /** Whether there is room, if need be made by closing somebody; false when that is the debtor itself. */
  take(debtor: Debtor, bytes: number): boolean {
    const cost = messageCost(bytes);
    for (;;) {
      const own = this.#apps.get(debtor.app) ?? 0;
      const isAppFull = own + cost > this.#limits.appBytes;
      if (!isAppFull && this.#bytes + cost <= this.#limits.bytes) break;
      const slow = this.#slowest(isAppFull ? debtor.app : this.#fullest());
      if (slow === null || slow === debtor) return false;
      this.release(slow);
      slow.tooSlow();
    }
    const account = this.#accounts.get(debtor);
    if (account === undefined) this.#accounts.set(debtor, { bytes: cost, movedAt: this.#moves });
    else account.bytes += cost;
    this.#add(debtor.app, cost);
    return true;
  }

  /** The local server has taken a message, or a part of one, of this size. */
  give(debtor: Debtor, bytes: number): void {
    const account = this.#accounts.get(debtor);
    if (account === undefined) return;
    const cost = Math.min(account.bytes, messageCost(bytes));
    account.bytes -= cost;
    account.movedAt = this.#moves += 1;
    if (account.bytes === 0) this.#accounts.delete(debtor);
    this.#add(debtor.app, -cost);
  }

  /** It holds nothing any more. */
  release(debtor: Debtor): void {
    const account = this.#accounts.get(debtor);
    if (account === undefined) return;
    this.#accounts.delete(debtor);
    this.#add(debtor.app, -account.bytes);
  }

  #add(app: string, bytes: number): void {
    this.#bytes += bytes;
    const left = (this.#apps.get(app) ?? 0) + bytes;
    if (left > 0) this.#apps.set(app, left);
    else this.#apps.delete(app);
  }

  #fullest(): string {
    let fullest = "";
    let most = 0;
    for (const [app, bytes] of this.#apps) {
      if (bytes <= most) continue;
      fullest = app;
      most = bytes;
    }
    return fullest;
  }

  #slowest(app: string): Debtor | null {
    const debtors = [...this.#accounts].filter(([debtor]) => debtor.app === app);
    // Smaller debts aren't why there is no room.
    const average = (this.#apps.get(app) ?? 0) / debtors.length;
    let slowest: Debtor | null = null;
    let movedAt = Infinity;
    for (const [debtor, account] of debtors) {
      if (account.bytes < average || account.movedAt >= movedAt) continue;
      slowest = debtor;
      movedAt = account.movedAt;
    }
    return slowest;
  }
}
