import { parseAppDocument, type AppDocument } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import {
  EXPIRED_TABLE_WAIT_MS,
  LAST_GOOD_TABLE_MS,
  STORE_OUTAGE_MS,
  STORE_RETRY_MS,
  STORE_TIMEOUT_MS,
} from "../protocol/limits.ts";
import { StoreUnavailable, type StateStore, type StoredApp } from "../state/store.ts";
import { ReadBudget } from "./read-budget.ts";

/** What an isolate knows of one host: the app that serves it, or that none does. */
export interface RouteTable {
  app: AppDocument | null;
  /** When the store was asked, epoch milliseconds. */
  readAt: number;
}

interface Entry {
  table: RouteTable | null;
  /** Whether an app lists the host or is named by it; other hosts get the default app or none. */
  claimed: boolean;
  flight: Flight | null;
  failedAt: number;
  usedAt: number;
}

interface Flight {
  landed: Promise<RouteTable>;
  startedAt: number;
}

type WaitUntil = (work: Promise<unknown>) => void;

/** Hosts that one isolate remembers: about a hundred bytes each, apart from the documents, which they share. */
const HOSTS_LIMIT = 2_000;
/**
 * A read that takes longer isn't waited for any more and another may start: it belongs to the request that started it,
 * and when that request is cancelled it never settles.
 */
const FLIGHT_LIMIT_MS = STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS;
/**
 * Reads of hosts that no app claims, as far as is known. A flood of made-up host names costs no more than this, and
 * since each remembered host costs one, it takes the flood minutes to push out a host that somebody still asks for.
 */
const STRANGER_READS_BURST = 200;
const STRANGER_READS_PER_SECOND = 10;

/**
 * The routing tables of one isolate.
 *
 * Until half its time to live a table is served as it is; until the end it is served while one request refreshes
 * it in the background, so a busy host never waits. After that a request waits for the store, but briefly, and not
 * at all while the store is known to be down: the last good table is served for hours.
 */
export class RouteTables {
  readonly #entries = new Map<string, Entry>();
  /** The newest document of each app: hosts of an app share it, and it is parsed once for each change. */
  readonly #documents = new Map<string, { body: string; app: AppDocument }>();
  readonly #store: () => RouteSource;
  readonly #ttlMs: number;
  readonly #sharedCache: SharedTables | null;
  readonly #now: () => number;

  /** The newest answer for any host that no app claims: it is the same for all of them. */
  #unclaimed: RouteTable | null = null;
  #unclaimedAskedAt = -Infinity;
  readonly #strangerReads = new ReadBudget(STRANGER_READS_BURST, STRANGER_READS_PER_SECOND);

  /** The store failed then, and hasn't answered since. */
  #storeFailedAt: number | null = null;
  #storeTriedAt = -Infinity;

  constructor(options: {
    store: () => RouteSource;
    ttlMs: number;
    sharedCache?: SharedTables | null;
    now?: () => number;
  }) {
    this.#store = options.store;
    this.#ttlMs = options.ttlMs;
    this.#sharedCache = options.sharedCache ?? null;
    this.#now = options.now ?? Date.now;
  }

  /**
   * The table for a host. `waitUntil` keeps a background refresh alive after the response.
   * Throws `store_unavailable` when nothing is known of the host and the store can't be asked.
   */
  async get(host: string, appName: string | null, waitUntil: WaitUntil): Promise<RouteTable> {
    const now = this.#now();
    const entry = this.#entries.get(host);
    if (!entry) return this.#cold(newEntry(now), host, appName, now, waitUntil);
    entry.usedAt = now;
    if (entry.table === null) return this.#cold(entry, host, appName, now, waitUntil);
    if (isYounger(entry.table, this.#ttlMs / 2, now)) return entry.table;

    const flight = this.#refresh(entry, host, appName, now, waitUntil);
    const table = this.#newest(entry, entry.table);
    const isEnough = this.#isDown(entry, now) ? LAST_GOOD_TABLE_MS : this.#ttlMs;
    if (flight === null || isYounger(table, isEnough, now)) return lastGood(table, now);
    // Deployments are deleted once no table of twice the time to live can name them: older ones aren't served untried.
    const patienceMs = isYounger(table, 2 * this.#ttlMs, now) ? EXPIRED_TABLE_WAIT_MS : FLIGHT_LIMIT_MS;
    return (await settled(flight, patienceMs)) ?? lastGood(this.#newest(entry, table), now);
  }

  /** Reads the store now, for a rollout that asks for what was written a moment ago. */
  async fresh(host: string, appName: string | null, waitUntil: WaitUntil): Promise<RouteTable> {
    const now = this.#now();
    const { table, claimed } = await this.#readStore(host, appName, now, waitUntil);
    const entry = this.#entries.get(host) ?? this.#remember(host, newEntry(now));
    this.#keep(entry, table, claimed);
    return table;
  }

  async #cold(
    entry: Entry,
    host: string,
    appName: string | null,
    now: number,
    waitUntil: WaitUntil,
  ): Promise<RouteTable> {
    const flight = this.#refresh(entry, host, appName, now, waitUntil);
    if (flight !== null) {
      if (!this.#entries.has(host)) this.#remember(host, entry);
      const table = (await settled(flight, FLIGHT_LIMIT_MS)) ?? entry.table;
      if (table !== null) return table;
    }
    throw new Problem(
      "store_unavailable",
      "This host isn't cached here yet, and the state store can't be asked just now.",
      { headers: { "retry-after": "2" } },
    );
  }

  #remember(host: string, entry: Entry): Entry {
    if (this.#entries.size >= HOSTS_LIMIT) this.#forgetLeastRecentlyUsed();
    this.#entries.set(host, entry);
    return entry;
  }

  /** A walk over all of them, which the budget for new hosts keeps rare; in return a request only sets a number. */
  #forgetLeastRecentlyUsed(): void {
    let oldest: string | undefined;
    let usedAt = Infinity;
    for (const [host, entry] of this.#entries) {
      if (entry.usedAt >= usedAt) continue;
      oldest = host;
      ({ usedAt } = entry);
    }
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  /** Joins the read that is under way, or starts one; null when now isn't the time for one. */
  #refresh(
    entry: Entry,
    host: string,
    appName: string | null,
    now: number,
    waitUntil: WaitUntil,
  ): Promise<RouteTable> | null {
    if (entry.flight && now - entry.flight.startedAt < FLIGHT_LIMIT_MS) return entry.flight.landed;
    if (now - entry.failedAt < STORE_RETRY_MS || !this.#mayTryStore(now)) return null;
    if (!entry.claimed && !this.#mayAskForStranger(entry, now)) return null;
    if (this.#storeFailedAt !== null) this.#storeTriedAt = now;
    const flight: Flight = { landed: this.#fly(entry, host, appName, now, waitUntil), startedAt: now };
    entry.flight = flight;
    waitUntil(
      flight.landed
        .catch(() => undefined)
        .finally(() => {
          if (entry.flight === flight) entry.flight = null;
        }),
    );
    return flight.landed;
  }

  async #fly(
    entry: Entry,
    host: string,
    appName: string | null,
    now: number,
    waitUntil: WaitUntil,
  ): Promise<RouteTable> {
    try {
      const { table, claimed } =
        (await this.#readShared(host, appName)) ?? (await this.#readStore(host, appName, now, waitUntil));
      this.#keep(entry, table, claimed);
      return table;
    } catch (error) {
      entry.failedAt = this.#now();
      throw error;
    }
  }

  /** While the store is down one request of the isolate tries it once in a while, and all others leave it alone. */
  #mayTryStore(now: number): boolean {
    if (this.#storeFailedAt === null) return true;
    return now - this.#storeFailedAt >= STORE_RETRY_MS && now - this.#storeTriedAt >= FLIGHT_LIMIT_MS;
  }

  #isDown(entry: Entry, now: number): boolean {
    return now - Math.max(entry.failedAt, this.#storeFailedAt ?? -Infinity) < STORE_OUTAGE_MS;
  }

  /** One read for each half of a time to live keeps what all strangers get fresh; more are a matter of the budget. */
  #mayAskForStranger(entry: Entry, now: number): boolean {
    if (entry.table !== null && now - this.#unclaimedAskedAt >= this.#ttlMs / 2) {
      this.#unclaimedAskedAt = now;
      return true;
    }
    // Half of it is for hosts that were never seen, which have nothing to be served from.
    return this.#strangerReads.take(now, entry.table === null ? 0 : STRANGER_READS_BURST / 2);
  }

  async #readShared(host: string, appName: string | null): Promise<Answer | null> {
    const found = await this.#sharedCache?.match(sharedKey(host, appName));
    if (!found || !isYounger(found, this.#ttlMs / 2, this.#now())) return null;
    return this.#answer(found.stored, found.readAt, host, appName);
  }

  async #readStore(host: string, appName: string | null, now: number, waitUntil: WaitUntil): Promise<Answer> {
    let stored: StoredApp | null;
    try {
      stored = await this.#store().resolve(host, appName);
    } catch (error) {
      // Anything else is a matter of one document, and no reason to leave the store alone.
      if (error instanceof StoreUnavailable) {
        this.#storeFailedAt = this.#now();
        this.#storeTriedAt = -Infinity;
      }
      throw error;
    }
    this.#storeFailedAt = null;
    const answer = this.#answer(stored, now, host, appName);
    if (this.#sharedCache)
      waitUntil(this.#sharedCache.put(sharedKey(host, appName), { stored, readAt: now }));
    return answer;
  }

  #answer(stored: StoredApp | null, readAt: number, host: string, appName: string | null): Answer {
    if (stored === null) return { table: { app: null, readAt }, claimed: false };
    let known = this.#documents.get(stored.name);
    if (known?.body !== stored.body) {
      known = { body: stored.body, app: parseAppDocument(stored.body) };
      // Forgetting them all only means parsing again.
      if (this.#documents.size >= HOSTS_LIMIT) this.#documents.clear();
      this.#documents.set(stored.name, known);
    }
    const { app } = known;
    return { table: { app, readAt }, claimed: app.name === appName || app.config.hosts.includes(host) };
  }

  #keep(entry: Entry, table: RouteTable, claimed: boolean): void {
    entry.failedAt = -Infinity;
    if (!claimed && isNewer(table, this.#unclaimed)) this.#unclaimed = table;
    const fromTheFuture = entry.table !== null && entry.table.readAt > this.#now();
    if (!isNewer(table, entry.table) && !fromTheFuture) return;
    entry.table = table;
    entry.claimed = claimed;
  }

  #newest(entry: Entry, table: RouteTable): RouteTable {
    const own = entry.table ?? table;
    return !entry.claimed && this.#unclaimed && isNewer(this.#unclaimed, own) ? this.#unclaimed : own;
  }
}

interface Answer {
  table: RouteTable;
  claimed: boolean;
}

/** All that tables need of the state store. */
export type RouteSource = Pick<StateStore, "resolve">;

/** Tables shared by the isolates of a location. */
export interface SharedTables {
  match(key: string): Promise<{ stored: StoredApp | null; readAt: number } | null>;
  put(key: string, value: { stored: StoredApp | null; readAt: number }): Promise<void>;
}

function sharedKey(host: string, appName: string | null): string {
  return `${host}/${appName ?? ""}`;
}

function newEntry(now: number): Entry {
  return { table: null, claimed: false, flight: null, failedAt: -Infinity, usedAt: now };
}

/** A table from the future is as good as expired: clocks differ between machines, and are set back. */
function isYounger({ readAt }: { readAt: number }, ageMs: number, now: number): boolean {
  const age = now - readAt;
  return age >= 0 && age < ageMs;
}

function isNewer(table: RouteTable, other: RouteTable | null): boolean {
  return other === null || table.readAt >= other.readAt;
}

function lastGood(table: RouteTable, now: number): RouteTable {
  if (now - table.readAt <= LAST_GOOD_TABLE_MS) return table;
  throw new Problem("store_unavailable", "The state store has been out of reach for hours.", {
    headers: { "retry-after": "5" },
  });
}

/** The flight's result, or null when it fails or takes longer than a request waits. */
async function settled(flight: Promise<RouteTable>, patienceMs: number): Promise<RouteTable | null> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const patience = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), patienceMs);
  });
  try {
    return await Promise.race([flight.catch(() => null), patience]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
