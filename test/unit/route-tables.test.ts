import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { appConfig, newAppDocument } from "../../functions/apps/app-document.ts";
import { RouteTables, type RouteSource, type SharedTables } from "../../functions/edge/table.ts";
import {
  EXPIRED_TABLE_WAIT_MS,
  LAST_GOOD_TABLE_MS,
  STORE_RETRY_MS,
  STORE_TIMEOUT_MS,
} from "../../functions/protocol/limits.ts";
import { StoreUnavailable, type StoredApp } from "../../functions/state/store.ts";

const TTL_MS = 12_500;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
});

afterEach(() => {
  vi.useRealTimers();
});

function stored(name: string, version: number, hosts: string[] = [`${name}.test`]): StoredApp {
  const document = { ...newAppDocument(name, appConfig.parse({ hosts }), 0), version };
  return { name, version, body: JSON.stringify(document), isDefault: false };
}

/** The clock is the test's; the store answers what the test says, and counts. */
class World implements RouteSource {
  reads: string[] = [];
  background: Promise<unknown>[] = [];
  answer: (host: string, appName: string | null) => Promise<StoredApp | null> = () =>
    Promise.resolve(stored("shop", this.reads.length));
  readonly tables: RouteTables;

  constructor(sharedCache: SharedTables | null = null) {
    this.tables = new RouteTables({ store: () => this, ttlMs: TTL_MS, sharedCache });
  }

  resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    this.reads.push(host);
    return this.answer(host, appName);
  }

  /** The version of the table that a request gets; it may have to wait for time to pass. */
  async version(host = "shop.test", appName: string | null = null): Promise<number | null> {
    const { app } = await this.tables.get(host, appName, (work) => this.background.push(work));
    return app?.version ?? null;
  }

  /** What a request gets without any time passing; "waits" when it doesn't. */
  async atOnce(host = "shop.test"): Promise<number | null | string> {
    const outcome = this.version(host).catch((error: unknown) => codeOf(error));
    const patience = new Promise<string>((resolve) => setTimeout(() => resolve("waits"), 0));
    const winner = Promise.race([outcome, patience]);
    await vi.advanceTimersByTimeAsync(0);
    return winner;
  }
}

function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : String(error);
}

const down = (): Promise<never> => Promise.reject(new StoreUnavailable("down"));
const hanging = (): Promise<never> => new Promise(() => undefined);
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe("a table", () => {
  test("is served without a store call until half its time to live", async () => {
    const world = new World();
    expect(await world.version()).toBe(1);
    await pass(TTL_MS / 2 - 1);
    for (let request = 0; request < 1_000; request++) expect(await world.version()).toBe(1);
    expect(world.reads).toHaveLength(1);
  });

  test("is refreshed in the background after that, by one read, while everybody gets the old one", async () => {
    const world = new World();
    await world.version();
    await pass(TTL_MS / 2);
    const { promise, resolve } = Promise.withResolvers<StoredApp>();
    world.answer = () => promise;
    for (let request = 0; request < 100; request++) expect(await world.atOnce()).toBe(1);
    expect(world.reads).toHaveLength(2);
    expect(world.background).not.toHaveLength(0);
    resolve(stored("shop", 7));
    await pass(0);
    expect(await world.atOnce()).toBe(7);
    expect(world.reads).toHaveLength(2);
  });

  test("never makes a busy host wait, whatever the store takes", async () => {
    const world = new World();
    await world.version();
    world.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      return stored("shop", world.reads.length);
    };
    for (let elapsed = 0; elapsed < 60_000; elapsed += 100) {
      expect(await world.atOnce()).not.toBe("waits");
      await pass(100);
    }
    expect(world.reads.length).toBeLessThanOrEqual(2 + 60_000 / (TTL_MS / 2));
  });

  test("is read once for a hundred visitors who come at the same time", async () => {
    const world = new World();
    const versions = await Promise.all(Array.from({ length: 100 }, () => world.version()));
    expect(new Set(versions)).toEqual(new Set([1]));
    expect(world.reads).toHaveLength(1);
    await pass(TTL_MS + 1);
    await Promise.all(Array.from({ length: 100 }, () => world.version()));
    expect(world.reads).toHaveLength(2);
  });

  test("that has expired is waited for, but briefly", async () => {
    const world = new World();
    await world.version();
    await pass(TTL_MS + 1);
    world.answer = () =>
      new Promise((resolve) => setTimeout(() => resolve(stored("shop", 2)), EXPIRED_TABLE_WAIT_MS - 1));
    const quick = world.version();
    await pass(EXPIRED_TABLE_WAIT_MS);
    expect(await quick).toBe(2);

    await pass(TTL_MS + 1);
    world.answer = hanging;
    const slow = world.version();
    await pass(EXPIRED_TABLE_WAIT_MS);
    expect(await slow).toBe(2);
  });

  test("that is older than deployments are kept for it isn't served before the store was tried in full", async () => {
    const world = new World();
    await world.version();
    await pass(2 * TTL_MS + 1);
    world.answer = () => new Promise((resolve) => setTimeout(() => resolve(stored("shop", 2)), 1_900));
    const request = world.version();
    await pass(STORE_TIMEOUT_MS);
    expect(await request).toBe(2);
  });

  test("from a clock that was ahead isn't taken for a new one", async () => {
    const world = new World();
    await world.version();
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(await world.version()).toBe(2);
    expect(await world.version()).toBe(2);
    expect(world.reads).toHaveLength(2);
  });

  test("is read at once for a rollout, and then known to everybody", async () => {
    const world = new World();
    await world.version();
    const fresh = await world.tables.fresh("shop.test", null, (work) => world.background.push(work));
    expect(fresh.app?.version).toBe(2);
    expect(await world.version()).toBe(2);
    expect(world.reads).toHaveLength(2);
  });

  test("of an app that is deleted and made again is the new one, even at the same version", async () => {
    const world = new World();
    world.answer = () => Promise.resolve(stored("shop", 1, ["shop.test"]));
    const before = await world.tables.get("shop.test", null, () => undefined);
    world.answer = () => Promise.resolve(stored("shop", 1, ["shop.test", "other.test"]));
    await pass(2 * TTL_MS + 1);
    const after = await world.tables.get("shop.test", null, () => undefined);
    expect(before.app?.config.hosts).toEqual(["shop.test"]);
    expect(after.app?.config.hosts).toEqual(["shop.test", "other.test"]);
  });

  test("is one for all hosts that the app lists, and one read", async () => {
    const world = new World();
    world.answer = () => Promise.resolve(stored("shop", world.reads.length, ["a.test", "b.test"]));
    for (const host of ["a.test", "b.test"]) expect(await world.version(host)).toBe(1);
    expect(world.reads).toEqual(["a.test"]);
    await pass(TTL_MS / 2);
    for (const host of ["b.test", "a.test"]) await world.atOnce(host);
    expect(world.reads).toEqual(["a.test", "b.test"]);
    for (const host of ["a.test", "b.test"]) expect(await world.atOnce(host)).toBe(2);
  });

  test("is cached without a promise while it is young", async () => {
    const world = new World();
    expect(world.tables.cached("shop.test")).toBeNull();
    await world.version();
    await pass(TTL_MS / 2 - 1);
    expect(world.tables.cached("shop.test")?.app?.version).toBe(1);
    await pass(1);
    expect(world.tables.cached("shop.test")).toBeNull();
  });
});

describe("a host", () => {
  test("that moves to another app follows, whichever app is read first", async () => {
    for (const first of ["a.test", "b.test"]) {
      const world = new World();
      let owner = "a";
      world.answer = (host) => {
        const name = host === "x.test" ? owner : host.slice(0, 1);
        return Promise.resolve(
          stored(name, name === "a" ? 1 : 2, [`${name}.test`, ...(name === owner ? ["x.test"] : [])]),
        );
      };
      for (const host of ["a.test", "b.test", "x.test"]) await world.version(host);
      expect(await world.version("x.test")).toBe(1);
      owner = "b";
      await pass(TTL_MS + 1);
      await world.version(first);
      expect(await world.version("x.test")).toBe(2);
      await pass(TTL_MS + 1);
      for (const host of ["a.test", "b.test"]) await world.version(host);
      expect(await world.version("x.test")).toBe(2);
    }
  });

  test("that its app gave up gets what strangers get, and a late answer doesn't bring it back", async () => {
    const world = new World();
    world.answer = () => Promise.resolve(stored("shop", 1, ["shop.test", "x.test"]));
    await world.version("x.test");
    const late = Promise.withResolvers<StoredApp>();
    world.answer = () => late.promise;
    await pass(TTL_MS / 2);
    await world.atOnce("shop.test");
    await pass(STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    world.answer = () => Promise.resolve(null);
    await world.atOnce("x.test");
    expect(await world.atOnce("x.test")).toBeNull();
    late.resolve(stored("shop", 2, ["shop.test", "x.test", "y.test"]));
    await pass(0);
    expect(await world.atOnce("x.test")).toBeNull();
    expect(await world.atOnce("y.test")).toBe(2);
  });

  test("that is named by one app and listed by another is the other's, also when that comes later", async () => {
    const world = new World();
    let listed = false;
    world.answer = (host) =>
      Promise.resolve(
        listed && host === "shop.apps.test" ? stored("other", 9, ["shop.apps.test"]) : stored("shop", 1),
      );
    expect(await world.version("shop.test")).toBe(1);
    expect(await world.version("shop.apps.test", "shop")).toBe(1);
    listed = true;
    for (let elapsed = 0; elapsed <= TTL_MS; elapsed += TTL_MS / 4) {
      await pass(TTL_MS / 4);
      await world.version("shop.test");
      await world.version("shop.apps.test", "shop");
    }
    expect(await world.version("shop.apps.test", "shop")).toBe(9);
    expect(await world.version("shop.test")).toBe(1);
  });

  test("isn't served an old table because the read that it joined was for another host", async () => {
    const world = new World();
    world.answer = () => Promise.resolve(stored("shop", 1, ["a.test", "b.test"]));
    await world.version("a.test");
    await pass(2 * TTL_MS + 1);
    world.answer = (host) => Promise.resolve(host === "a.test" ? null : stored("shop", 2, ["b.test"]));
    const [moved, stayed] = await Promise.all([world.version("a.test"), world.version("b.test")]);
    expect([moved, stayed]).toEqual([null, 2]);
  });

  test("of an app that is deleted is nobody's", async () => {
    const world = new World();
    await world.version();
    world.answer = () => Promise.resolve(null);
    await pass(TTL_MS + 1);
    expect(await world.version()).toBeNull();
    await pass(TTL_MS + 1);
    expect(await world.version()).toBeNull();
    expect(world.reads).toHaveLength(3);
  });
});

describe("while the store is down", () => {
  test("the last good table is served at once, and the store is tried once in a while", async () => {
    const world = new World();
    await world.version();
    await pass(TTL_MS + 1);
    world.answer = down;
    expect(await world.version()).toBe(1);
    const before = world.reads.length;
    for (let elapsed = 0; elapsed < 60_000; elapsed += 50) {
      expect(await world.atOnce()).toBe(1);
      await pass(50);
    }
    expect(world.reads.length - before).toBeLessThanOrEqual(60_000 / STORE_RETRY_MS);
    expect(world.reads.length - before).toBeGreaterThan(20);
  });

  test("many hosts together try it no more often than one", async () => {
    const world = new World();
    const hosts = Array.from({ length: 50 }, (_, index) => `h${index}.test`);
    world.answer = () => Promise.resolve(stored("shop", 1, hosts));
    for (const host of hosts) await world.version(host);
    await pass(TTL_MS + 1);
    world.answer = down;
    await world.version(hosts[0]);
    const before = world.reads.length;
    for (let elapsed = 0; elapsed < 30_000; elapsed += 250) {
      for (const host of hosts) expect(await world.atOnce(host)).toBe(1);
      await pass(250);
    }
    expect(world.reads.length - before).toBeLessThanOrEqual(30_000 / STORE_RETRY_MS);
  });

  test("a host that isn't known gets 503, and the store isn't tried for each of them", async () => {
    const world = new World();
    world.answer = down;
    expect(await world.version().catch(codeOf)).toBe("store_unavailable");
    for (let request = 0; request < 100; request++) {
      expect(await world.atOnce(`h${request}.test`)).toBe("store_unavailable");
    }
    expect(world.reads).toHaveLength(1);
  });

  test("its return is noticed within a second, by one request", async () => {
    const world = new World();
    await world.version();
    await pass(2 * TTL_MS + 1);
    world.answer = down;
    expect(await world.version()).toBe(1);
    world.answer = () => Promise.resolve(stored("shop", 9));
    await pass(STORE_RETRY_MS);
    expect(await world.atOnce()).toBe(1);
    expect(await world.atOnce()).toBe(9);
  });

  test("a table isn't served for longer than its limit", async () => {
    const world = new World();
    await world.version();
    const start = Date.now();
    world.answer = down;
    await pass(LAST_GOOD_TABLE_MS - 60_000);
    expect(await world.version()).toBe(1);
    vi.setSystemTime(start + LAST_GOOD_TABLE_MS + 1);
    expect(await world.version().catch(codeOf)).toBe("store_unavailable");
    world.answer = () => Promise.resolve(stored("shop", 2));
    await pass(STORE_RETRY_MS + 1);
    expect(await world.version()).toBe(2);
  });

  test("a document that can't be read spoils its own host only", async () => {
    const world = new World();
    world.answer = (host) =>
      Promise.resolve(host === "bad.test" ? { ...stored("bad", 1), body: "{" } : stored("shop", 1));
    expect(await world.version("bad.test").catch(codeOf)).toBe("store_unavailable");
    expect(await world.atOnce("shop.test")).toBe(1);
    expect(await world.atOnce("bad.test")).toBe("store_unavailable");
    expect(world.reads).toEqual(["bad.test", "shop.test"]);
  });
});

describe("a store that hangs", () => {
  test("makes a new host wait for no longer than its timeout", async () => {
    const world = new World();
    world.answer = hanging;
    const request = world.version().catch(codeOf);
    await pass(STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    expect(await request).toBe("store_unavailable");
  });

  test("doesn't wedge a host: a read that never settles is given up by its age, and another is started", async () => {
    const world = new World();
    await world.version();
    world.answer = hanging;
    await pass(TTL_MS / 2);
    expect(await world.atOnce()).toBe(1);
    await pass(STORE_TIMEOUT_MS);
    const waiting = world.version();
    await pass(EXPIRED_TABLE_WAIT_MS);
    expect(await waiting).toBe(1);
    expect(world.reads).toHaveLength(2);
    world.answer = () => Promise.resolve(stored("shop", 3));
    await world.atOnce();
    expect(await world.atOnce()).toBe(3);
    expect(world.reads).toHaveLength(3);
  });

  test("doesn't wedge a host that was never read either", async () => {
    const world = new World();
    world.answer = hanging;
    const cancelled = world.version().catch(codeOf);
    await pass(STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    expect(await cancelled).toBe("store_unavailable");
    world.answer = () => Promise.resolve(stored("shop", 4));
    expect(await world.version()).toBe(4);
  });

  test("is asked by one request at a time however long it hangs", async () => {
    const world = new World();
    await world.version();
    world.answer = hanging;
    await pass(TTL_MS);
    const before = world.reads.length;
    for (let elapsed = 0; elapsed < 30_000; elapsed += 250) {
      void world.version();
      await pass(250);
    }
    expect(world.reads.length - before).toBeLessThanOrEqual(30_000 / STORE_TIMEOUT_MS);
  });

  test("can't put an old answer over a newer one", async () => {
    const world = new World();
    await world.version();
    const late = Promise.withResolvers<StoredApp>();
    world.answer = () => late.promise;
    await pass(TTL_MS / 2);
    await world.atOnce();
    await pass(STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    world.answer = () => Promise.resolve(stored("shop", 3));
    await world.atOnce();
    expect(await world.atOnce()).toBe(3);
    late.resolve(stored("shop", 2));
    await pass(0);
    expect(await world.atOnce()).toBe(3);
  });
});

describe("a flood of made-up hosts", () => {
  const BURST = 200;
  const PER_SECOND = 10;

  /** One claimed host; the rest of the world gets the default app. */
  function flooded(): World {
    const world = new World();
    world.answer = (host) =>
      Promise.resolve(host === "shop.test" ? stored("shop", 1) : stored("main", 5, []));
    return world;
  }

  test("costs a bounded number of reads, and those beyond it are told to come back", async () => {
    const world = flooded();
    let refused = 0;
    for (let second = 0; second < 30; second++) {
      for (let request = 0; request < 500; request++) {
        const outcome = await world.version(`${second}-${request}.test`).catch(codeOf);
        if (outcome === "store_unavailable") refused += 1;
        else expect(outcome).toBe(5);
      }
      await pass(1_000);
    }
    expect(world.reads.length).toBeLessThanOrEqual(BURST + 30 * PER_SECOND);
    expect(refused).toBe(30 * 500 - world.reads.length);
  });

  test("doesn't evict a host that somebody asks for", async () => {
    const world = flooded();
    await world.version("shop.test");
    for (let second = 0; second < 600; second++) {
      for (let request = 0; request < 15; request++) {
        await world.version(`${second}-${request}.test`).catch(codeOf);
      }
      if (second % 60 === 0) expect(await world.atOnce("shop.test")).toBe(1);
      await pass(1_000);
    }
    world.answer = hanging;
    await pass(2 * TTL_MS);
    const request = world.version("shop.test");
    await pass(STORE_TIMEOUT_MS + EXPIRED_TABLE_WAIT_MS);
    expect(await request).toBe(1);
  });

  test("that comes back again and again is served what all of them get, fresh, without a read for each", async () => {
    const world = flooded();
    const hosts = Array.from({ length: BURST }, (_, index) => `${index}.test`);
    for (const host of hosts) await world.version(host);
    let version = 5;
    world.answer = () => Promise.resolve(stored("main", version, []));
    const before = world.reads.length;
    const seconds = 60;
    for (let second = 0; second < seconds; second++) {
      version += 1;
      for (const host of hosts) {
        const seen = await world.version(host);
        expect(seen).toBeGreaterThanOrEqual(version - 1 - TTL_MS / 1_000);
      }
      await pass(1_000);
    }
    expect(world.reads.length - before).toBeLessThanOrEqual(seconds * (PER_SECOND + 2_000 / TTL_MS) + 1);
  });

  test("during an outage leaves the budget to those who come after it", async () => {
    const world = new World();
    world.answer = down;
    await world.version("first.test").catch(codeOf);
    for (let request = 0; request < 2 * BURST; request++)
      await world.version(`${request}.test`).catch(codeOf);
    world.answer = () => Promise.resolve(stored("main", 5, []));
    await pass(STORE_RETRY_MS);
    for (let request = 0; request < BURST / 2; request++)
      expect(await world.version(`new-${request}.test`)).toBe(5);
  });

  test("doesn't stop a host from being claimed", async () => {
    const world = flooded();
    expect(await world.version("new.test")).toBe(5);
    world.answer = () => Promise.resolve(stored("new", 1, ["new.test"]));
    await pass(TTL_MS + 1);
    expect(await world.version("new.test")).toBe(1);
  });
});

describe("a cache that a location shares", () => {
  function shared(): SharedTables & { kept: Map<string, { stored: StoredApp | null; readAt: number }> } {
    const kept = new Map<string, { stored: StoredApp | null; readAt: number }>();
    return {
      kept,
      match: (key) => Promise.resolve(kept.get(key) ?? null),
      put: (key, value) => Promise.resolve(void kept.set(key, value)),
    };
  }

  test("saves the reads of the isolates beside", async () => {
    const cache = shared();
    const one = new World(cache);
    const other = new World(cache);
    await one.version();
    expect(await other.version()).toBe(1);
    expect(one.reads).toHaveLength(1);
    expect(other.reads).toHaveLength(0);
  });

  test("never makes a table older than its time to live", async () => {
    const cache = shared();
    const worlds = Array.from({ length: 5 }, () => new World(cache));
    let version = 0;
    const written: number[] = [];
    for (const world of worlds) world.answer = () => Promise.resolve(stored("shop", version));
    for (let elapsed = 0; elapsed < 60_000; elapsed += 100) {
      version += 1;
      written[version] = Date.now();
      for (const world of worlds) {
        const seen = (await world.version()) ?? 0;
        expect(Date.now() - (written[seen + 1] ?? Date.now())).toBeLessThanOrEqual(TTL_MS);
      }
      await pass(100);
    }
  });

  test.each([
    ["too old", -TTL_MS / 2],
    ["from the future", 60_000],
  ])("isn't believed when a table is %s", async (_, offset) => {
    const cache = shared();
    cache.kept.set("shop.test/", { stored: stored("shop", 99), readAt: Date.now() + offset });
    const world = new World(cache);
    expect(await world.version()).toBe(1);
  });

  test("isn't waited for when it is slow to keep something", async () => {
    const world = new World({ match: () => Promise.resolve(null), put: () => hanging() });
    expect(await world.version()).toBe(1);
  });

  test("keeps the answers for names and hosts apart", async () => {
    const cache = shared();
    const world = new World(cache);
    await world.version("shop.test", null);
    await world.version("shop.test.", "shop");
    expect([...cache.kept.keys()]).toEqual(["shop.test/", "shop.test./shop"]);
  });
});
