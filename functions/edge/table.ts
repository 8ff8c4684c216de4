import { parseAppDocument, type AppDocument } from "../deployments/app-document.ts";
import { Problem } from "../errors.ts";
import {
  EXPIRED_TABLE_WAIT_MS,
  LAST_GOOD_TABLE_MS,
  OLD_TABLE_MS,
  STORE_RETRY_MS,
  STORE_TIMEOUT_MS,
} from "../protocol/limits.ts";
import type { StateStore, StoredApp } from "../state/store.ts";

/** What an isolate knows of one host: the app that serves it, or that none does. */
export interface RouteTable {
  app: AppDocument | null;
  /** When the store was asked, epoch milliseconds. */
  readAt: number;
}

interface Entry {
  table: RouteTable | null;
  flight: Promise<RouteTable> | null;
  failedAt: number;
}

/** Hosts that one isolate remembers: a few KB each, far below its 128 MB. */
const HOSTS_LIMIT = 2_000;

/**
 * The routing tables of one isolate.
 *
 * Until half its time to live a table is served as it is; until the end it is served while one request refreshes
 * it in the background, so a busy host never waits. After that a request waits for the store, but briefly, and not
 * at all while the store is known to be down: the last good table is served for hours.
 */
export class RouteTables {
  readonly #entries = new Map<string, Entry>();
  readonly #store: () => StateStore;
  readonly #ttlMs: number;
  readonly #sharedCache: SharedTables | null;
  readonly #now: () => number;

  constructor(options: {
    store: () => StateStore;
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
  async get(
    host: string,
    appName: string | null,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<RouteTable> {
    const entry = this.#entry(host);
    const now = this.#now();
    const { table } = entry;
    if (table === null) return this.#cold(entry, host, appName, waitUntil);

    const age = now - table.readAt;
    if (age < this.#ttlMs / 2) return table;
    const flight = this.#refresh(entry, host, appName, now, waitUntil);
    if (age <= this.#ttlMs || flight === null) return this.#lastGood(table, age);

    const patienceMs = age > OLD_TABLE_MS ? STORE_TIMEOUT_MS : EXPIRED_TABLE_WAIT_MS;
    return (await settled(flight, patienceMs)) ?? this.#lastGood(table, age);
  }

  /** Reads the store now, for a rollout that asks for what was written a moment ago. */
  async fresh(host: string, appName: string | null): Promise<RouteTable> {
    const table = await this.#read(host, appName, false);
    this.#keep(this.#entry(host), table);
    return table;
  }

  #entry(host: string): Entry {
    let entry = this.#entries.get(host);
    if (!entry) {
      entry = { table: null, flight: null, failedAt: 0 };
      const oldest = this.#entries.size >= HOSTS_LIMIT ? this.#entries.keys().next().value : undefined;
      if (oldest !== undefined) this.#entries.delete(oldest);
      this.#entries.set(host, entry);
    }
    return entry;
  }

  async #cold(
    entry: Entry,
    host: string,
    appName: string | null,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<RouteTable> {
    const flight = this.#refresh(entry, host, appName, this.#now(), waitUntil);
    const table = flight === null ? null : await settled(flight, STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    // The flight belongs to another request; if that one was cancelled its flight may never land.
    if (table === null && entry.flight === flight) entry.flight = null;
    const known = table ?? entry.table;
    if (known) return known;
    throw new Problem(
      "store_unavailable",
      "The state store can't be reached and this host isn't cached yet.",
      {
        headers: { "retry-after": "2" },
      },
    );
  }

  /** Starts a read unless one is under way or the store failed a moment ago (then null). */
  #refresh(
    entry: Entry,
    host: string,
    appName: string | null,
    now: number,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<RouteTable> | null {
    if (entry.flight) return entry.flight;
    if (now - entry.failedAt < STORE_RETRY_MS) return null;
    const flight = this.#read(host, appName, true).then(
      (table) => {
        this.#keep(entry, table);
        if (entry.flight === flight) entry.flight = null;
        return table;
      },
      (error: unknown) => {
        entry.failedAt = this.#now();
        if (entry.flight === flight) entry.flight = null;
        throw error;
      },
    );
    entry.flight = flight;
    // A request that is cancelled takes its flight with it; the next one must not wait for it for ever.
    const owner = flight.catch(() => undefined);
    waitUntil(owner);
    return flight;
  }

  async #read(host: string, appName: string | null, shared: boolean): Promise<RouteTable> {
    const key = `${host}/${appName ?? ""}`;
    if (shared) {
      const found = await this.#sharedCache?.match(key);
      if (found && this.#now() - found.readAt < this.#ttlMs / 2) return tableOf(found.stored, found.readAt);
    }
    const readAt = this.#now();
    const stored = await this.#store().resolve(host, appName);
    await this.#sharedCache?.put(key, { stored, readAt });
    return tableOf(stored, readAt);
  }

  #keep(entry: Entry, table: RouteTable): void {
    entry.failedAt = 0;
    if (!entry.table || entry.table.readAt <= table.readAt) entry.table = table;
  }

  #lastGood(table: RouteTable, age: number): RouteTable {
    if (age <= LAST_GOOD_TABLE_MS) return table;
    throw new Problem("store_unavailable", "The state store has been out of reach for hours.", {
      headers: { "retry-after": "5" },
    });
  }
}

/** Tables shared by the isolates of a location. */
export interface SharedTables {
  match(key: string): Promise<{ stored: StoredApp | null; readAt: number } | null>;
  put(key: string, value: { stored: StoredApp | null; readAt: number }): Promise<void>;
}

function tableOf(stored: StoredApp | null, readAt: number): RouteTable {
  return { app: stored === null ? null : parseAppDocument(stored.body), readAt };
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
