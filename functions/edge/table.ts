import { Problem } from "../errors.ts";
import {
  EXPIRED_TABLE_WAIT_MS,
  LAST_GOOD_TABLE_MS,
  STORE_OUTAGE_MS,
  STORE_RETRY_MS,
  STORE_TIMEOUT_MS,
} from "../protocol/limits.ts";
import { StoreHealth } from "../state/store-health.ts";
import type { StateStore, StoredApp } from "../state/store.ts";
import {
  Hosts,
  newHost,
  provenAt,
  type Answer,
  type Entry,
  type Flight,
  type KnownHost,
  type RouteTable,
} from "./hosts.ts";
import { ReadBudget } from "./read-budget.ts";

type WaitUntil = (work: Promise<unknown>) => void;

/** All that tables need of the state store. */
export type RouteSource = Pick<StateStore, "resolve">;

/** Answers of the store that the isolates of a location share. */
export interface SharedTables {
  match(key: string): Promise<Answer | null>;
  put(key: string, answer: Answer): Promise<void>;
}

/**
 * A read that takes longer isn't waited for any more and another may start: it belongs to the request that started it,
 * and when that request is cancelled it never settles.
 */
const FLIGHT_LIMIT_MS = STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS;
/** A flood of made-up host names costs no more reads than this. */
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
  readonly #hosts = new Hosts();
  readonly #health = new StoreHealth(FLIGHT_LIMIT_MS);
  readonly #strangerReads = new ReadBudget(STRANGER_READS_BURST, STRANGER_READS_PER_SECOND);
  readonly #store: () => RouteSource;
  readonly #ttlMs: number;
  readonly #sharedCache: SharedTables | null;
  readonly #now: () => number;

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

  /** The table of a host where it is so young that there is nothing to do first. */
  cached(host: string): RouteTable | null {
    const known = this.#hosts.find(host);
    return known !== undefined && this.#isFresh(provenAt(known), this.#now()) ? known.entry.table : null;
  }

  /**
   * The table for a host. `waitUntil` keeps a background refresh alive after the response.
   * Throws `store_unavailable` when nothing is known of the host and the store can't be asked.
   */
  async get(host: string, appName: string | null, waitUntil: WaitUntil): Promise<RouteTable> {
    const now = this.#now();
    const known = this.#hosts.find(host);
    if (!known?.entry.table) return this.#cold(known ?? newHost(), host, appName, waitUntil);
    if (this.#isFresh(provenAt(known), now)) return known.entry.table;

    const flight = this.#refresh(known, host, appName, waitUntil);
    const table = known.entry.table;
    const isDown = this.#health.isDown(now) || now - known.entry.failedAt < STORE_OUTAGE_MS;
    const isEnough = isDown ? LAST_GOOD_TABLE_MS : this.#ttlMs;
    if (flight === null || isYounger(table.readAt, isEnough, now)) return lastGood(table, now);
    // Deployments are deleted once no table of twice the time to live can name them: older ones aren't served untried.
    const mustTry = !isYounger(table.readAt, 2 * this.#ttlMs, now);
    const hasLanded = await landed(flight, mustTry ? FLIGHT_LIMIT_MS : EXPIRED_TABLE_WAIT_MS);
    const next = this.#hosts.find(host)?.entry.table;
    // The flight was for another host of the app, and that host or this one has left the app.
    const isUntried = !next || (hasLanded && mustTry && next === table && flight.host !== host);
    return isUntried ? this.get(host, appName, waitUntil) : lastGood(next, now);
  }

  /** Reads the store now, for a rollout that asks for what was written a moment ago. */
  fresh(host: string, appName: string | null, waitUntil: WaitUntil): Promise<RouteTable> {
    return this.#readStore(host, appName, waitUntil);
  }

  async #cold(
    known: KnownHost,
    host: string,
    appName: string | null,
    waitUntil: WaitUntil,
  ): Promise<RouteTable> {
    const flight = this.#refresh(known, host, appName, waitUntil);
    if (flight !== null) {
      this.#hosts.expect(host, known);
      await landed(flight, FLIGHT_LIMIT_MS);
      const table = this.#hosts.find(host)?.entry.table;
      if (table) return table;
    }
    throw new Problem(
      "store_unavailable",
      "This host isn't cached here yet, and the state store can't be asked just now.",
      { headers: { "retry-after": "2" } },
    );
  }

  /** Joins the read that is under way, or starts one; null when now isn't the time for one. */
  #refresh(known: KnownHost, host: string, appName: string | null, waitUntil: WaitUntil): Flight | null {
    const { entry } = known;
    const now = this.#now();
    if (entry.flight && now - entry.flight.startedAt < FLIGHT_LIMIT_MS) return entry.flight;
    if (now - entry.failedAt < STORE_RETRY_MS || !this.#health.mayAsk(now)) return null;
    if (!this.#mayRead(known, host, now)) return null;
    this.#health.asks(now);
    const flight: Flight = { host, startedAt: now, landed: this.#fly(entry, host, appName, waitUntil) };
    entry.flight = flight;
    waitUntil(
      flight.landed.finally(() => {
        if (entry.flight === flight) entry.flight = null;
      }),
    );
    return flight;
  }

  /** Reads for hosts that no app claims are limited, but for the one that keeps fresh what all of them get. */
  #mayRead({ entry }: KnownHost, host: string, now: number): boolean {
    if (this.#hosts.isClaimed(host)) return true;
    if (entry.table === null) return this.#strangerReads.take(now);
    // Half of the budget is for hosts that were never seen, which have nothing to be served from.
    return !this.#isFresh(entry.table.readAt, now) || this.#strangerReads.take(now, STRANGER_READS_BURST / 2);
  }

  /** Never rejects: what became of it is in the entry. */
  async #fly(entry: Entry, host: string, appName: string | null, waitUntil: WaitUntil): Promise<void> {
    try {
      if (await this.#readShared(host, appName)) return;
      await this.#readStore(host, appName, waitUntil);
    } catch {
      entry.failedAt = this.#now();
    }
  }

  async #readShared(host: string, appName: string | null): Promise<boolean> {
    const found = await this.#sharedCache?.match(sharedKey(host, appName));
    if (!found || !this.#isFresh(found.readAt, this.#now())) return false;
    this.#hosts.learn(host, appName, found, this.#now());
    return true;
  }

  async #readStore(host: string, appName: string | null, waitUntil: WaitUntil): Promise<RouteTable> {
    const readAt = this.#now();
    let stored: StoredApp | null;
    try {
      stored = await this.#store().resolve(host, appName);
    } catch (error) {
      this.#health.failed(error, this.#now());
      throw error;
    }
    this.#health.answered(this.#now());
    const table = this.#hosts.learn(host, appName, { stored, readAt }, this.#now());
    if (this.#sharedCache) waitUntil(this.#sharedCache.put(sharedKey(host, appName), { stored, readAt }));
    return table;
  }

  #isFresh(readAt: number, now: number): boolean {
    return isYounger(readAt, this.#ttlMs / 2, now);
  }
}

function sharedKey(host: string, appName: string | null): string {
  return `${host}/${appName ?? ""}`;
}

/** A table from the future is as good as expired: clocks differ between machines, and are set back. */
function isYounger(readAt: number, ageMs: number, now: number): boolean {
  const age = now - readAt;
  return age >= 0 && age < ageMs;
}

function lastGood(table: RouteTable, now: number): RouteTable {
  if (now - table.readAt <= LAST_GOOD_TABLE_MS) return table;
  throw new Problem("store_unavailable", "The state store has been out of reach for hours.", {
    headers: { "retry-after": "5" },
  });
}

/** False when it takes longer than a request waits. */
async function landed(flight: Flight, patienceMs: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const patience = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), patienceMs);
  });
  try {
    return await Promise.race([flight.landed.then(() => true), patience]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
