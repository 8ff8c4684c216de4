import { parseAppDocument, type AppDocument } from "../apps/app-document.ts";
import type { StoredApp } from "../state/store.ts";

/** What a host gets: the app that serves it, or none. */
export interface RouteTable {
  app: AppDocument | null;
  /** When the store was asked, epoch milliseconds. */
  readAt: number;
}

/** One document with its age. All hosts that an app lists share one, and so do all hosts that no app claims. */
export interface Entry {
  table: RouteTable | null;
  flight: Flight | null;
  failedAt: number;
}

/** A read of the store that is under way. */
export interface Flight {
  host: string;
  startedAt: number;
  landed: Promise<void>;
}

/** What the store said of a host. */
export interface Answer {
  stored: StoredApp | null;
  /** When it was asked, epoch milliseconds. */
  readAt: number;
}

export interface KnownHost {
  entry: Entry;
  /** When the store said that this host leads to this entry; Infinity where the app's document lists the host. */
  askedAt: number;
}

/** About a hundred bytes each. Only apps add to them. */
const CLAIMED_LIMIT = 20_000;
/** Apart from the claimed ones, so that a flood of made-up names never pushes out a host that an app has. */
const STRANGERS_LIMIT = 2_000;
const APPS_LIMIT = 2_000;

/** Which document answers for a host, as far as one isolate has heard. */
export class Hosts {
  readonly #claimed = new Map<string, KnownHost>();
  readonly #strangers = new Map<string, KnownHost>();
  readonly #apps = new Map<string, Entry>();
  /** For hosts that no app claims: the default app or none. */
  readonly #unclaimed = newEntry();
  /** Parsing takes longer than reading, and most reads find what is known. */
  readonly #parsed = new Map<string, { body: string; app: AppDocument }>();

  find(host: string): KnownHost | undefined {
    return this.#claimed.get(host) ?? this.#strangers.get(host);
  }

  /** Whether an app lists the host or is named by it. All others get the default app or none. */
  isClaimed(host: string): boolean {
    return this.#claimed.has(host);
  }

  /** Remembers a host that the store is being asked about for the first time. */
  expect(host: string, known: KnownHost): void {
    put(this.#strangers, host, known, STRANGERS_LIMIT);
  }

  /** Takes an answer in, unless something newer is known. Throws when its document isn't one. */
  learn(host: string, appName: string | null, { stored, readAt }: Answer, now: number): RouteTable {
    const app = stored === null ? null : this.#parse(stored);
    const isListed = app?.config.hosts.includes(host) === true;
    const entry =
      app !== null && (isListed || app.name === appName) ? this.#entryOf(app.name) : this.#unclaimed;
    const table = { app, readAt };
    this.#update(entry, table, now);
    this.#point(host, { entry, askedAt: isListed ? Infinity : readAt }, readAt, now);
    return table;
  }

  #point(host: string, next: KnownHost, readAt: number, now: number): void {
    const known = this.find(host);
    if (known && known.entry !== next.entry && isOlder(readAt, provenAt(known), now)) return;
    const isClaimed = next.entry !== this.#unclaimed;
    (isClaimed ? this.#strangers : this.#claimed).delete(host);
    if (isClaimed) put(this.#claimed, host, next, CLAIMED_LIMIT);
    else put(this.#strangers, host, next, STRANGERS_LIMIT);
  }

  #update(entry: Entry, table: RouteTable, now: number): void {
    entry.failedAt = -Infinity;
    const before = entry.table;
    if (before !== null && isOlder(table.readAt, before.readAt, now)) return;
    entry.table = table;
    if (entry !== this.#unclaimed && table.app !== before?.app) this.#list(entry, before, table, now);
  }

  /** The hosts that a new document lists lead to it, and those that it no longer lists are unknown. */
  #list(entry: Entry, before: RouteTable | null, { app, readAt }: RouteTable, now: number): void {
    for (const host of before?.app?.config.hosts ?? []) {
      if (this.#claimed.get(host)?.entry === entry) this.#claimed.delete(host);
    }
    for (const host of app?.config.hosts ?? []) {
      this.#point(host, { entry, askedAt: Infinity }, readAt, now);
    }
  }

  #entryOf(name: string): Entry {
    const known = this.#apps.get(name);
    if (known) return known;
    const entry = newEntry();
    put(this.#apps, name, entry, APPS_LIMIT);
    return entry;
  }

  #parse(stored: StoredApp): AppDocument {
    const known = this.#parsed.get(stored.name);
    if (known?.body === stored.body) return known.app;
    const app = parseAppDocument(stored.body);
    this.#parsed.delete(stored.name);
    put(this.#parsed, stored.name, { body: stored.body, app }, APPS_LIMIT);
    return app;
  }
}

export function newHost(): KnownHost {
  return { entry: newEntry(), askedAt: -Infinity };
}

function newEntry(): Entry {
  return { table: null, flight: null, failedAt: -Infinity };
}

/** The age of what is known of a host: of its document, or of the word that the document is the right one. */
export function provenAt({ entry, askedAt }: KnownHost): number {
  return Math.min(askedAt, entry.table?.readAt ?? -Infinity);
}

/** A time to come never wins: clocks differ between machines, and are set back. */
function isOlder(readAt: number, other: number, now: number): boolean {
  return readAt < other && other <= now;
}

/** The one that came first makes room: being read again is all that it costs. */
function put<T>(map: Map<string, T>, key: string, value: T, limit: number): void {
  if (map.size >= limit && !map.has(key)) {
    for (const first of map.keys()) {
      map.delete(first);
      break;
    }
  }
  map.set(key, value);
}
