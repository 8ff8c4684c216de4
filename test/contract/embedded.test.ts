import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { EMBEDDED_STORE_NAME, EmbeddedStoreClient } from "../../functions/state/embedded-client.ts";
import type { EmbeddedStore } from "../../functions/state/embedded.ts";
import { openStore } from "../../functions/state/open.ts";
import {
  AUDIT_ENTRIES_KEPT,
  RECORDS_EXAMINED,
  type RecordTags,
  type StateStore,
  StoreUnavailable,
} from "../../functions/state/store.ts";
import { UpstashStore } from "../../functions/state/upstash.ts";
import { change, everyMethod, operation, repeated } from "./changes.ts";
import { describeStateStore } from "./state-store.ts";

declare global {
  namespace Cloudflare {
    interface Env {
      EMBEDDED_STORE: DurableObjectNamespace<EmbeddedStore>;
    }
  }
}

const namespace = env.EMBEDDED_STORE;
const stub = () => namespace.getByName(EMBEDDED_STORE_NAME);

afterEach(() => reset());

describeStateStore("the embedded store", async () => ({
  store: openStore({ EMBEDDED_STORE: namespace }),
  close: () => reset(),
}));

describe("the embedded store's object", () => {
  test("what was committed survives its object's restart", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    const first = change("shop", 0, { hosts: ["shop.example.com"], idempotencyRecord: operation("key-1") });
    await store.commit(first);
    await store.acquireLease("janitor", "one", 60_000);
    await evictDurableObject(stub());
    expect((await store.resolve("shop.example.com", null))?.version).toBe(1);
    expect(await store.commit(first)).toEqual(repeated("key-1"));
    expect((await store.acquireLease("janitor", "two", 60_000)).acquired).toBe(false);
  });

  test("a commit that fails halfway leaves nothing behind", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.commit(change("shop", 0, { hosts: ["old.example.com"] }));
    await runInDurableObject(stub(), (_store, state) => {
      state.storage.sql.exec(
        "CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no audit today'); END",
      );
    });
    const hosts = ["new.example.com"];
    await expect(store.commit(change("shop", 1, { hosts, isDefault: true }))).rejects.toThrow(
      StoreUnavailable,
    );
    expect(await store.readApp("shop")).toMatchObject({ version: 1, isDefault: false });
    expect((await store.resolve("old.example.com", null))?.name).toBe("shop");
    expect(await store.resolve("new.example.com", null)).toBeNull();
  });

  test("expired leases and operations are pruned by later commits, some at a time", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.commit(change("shop", 0, { idempotencyRecord: { ...operation("live"), ttlSeconds: 3_600 } }));
    await store.acquireLease("live", "one", 3_600_000);
    await runInDurableObject(stub(), (_store, state) => {
      for (let index = 0; index < 150; index += 1) {
        state.storage.sql.exec("INSERT INTO operations VALUES (?, '', '', 1)", `dead-${index}`);
        state.storage.sql.exec("INSERT INTO leases VALUES (?, '', 1)", `dead-${index}`);
      }
    });
    await store.commit(change("shop", 1));
    expect(await rowCounts()).toEqual({ operations: 51, leases: 51 });
    await store.commit(change("shop", 2));
    expect(await rowCounts()).toEqual({ operations: 1, leases: 1 });
    expect(await store.readIdempotencyRecord("live")).not.toBeNull();
  });

  test("the audit keeps its newest entries", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.commit(change("shop", 0));
    await runInDurableObject(stub(), (_store, state) => {
      state.storage.sql.exec(
        "UPDATE sqlite_sequence SET seq = ? WHERE name = 'audit'",
        AUDIT_ENTRIES_KEPT - 1,
      );
    });
    const versions = async () => {
      const rows = await store.listAudit({ app: "shop", limit: 10, before: null });
      return rows.map((row) => row.toVersion);
    };
    await store.commit(change("shop", 1));
    expect(await versions()).toEqual([2, 1]);
    await store.commit(change("shop", 2));
    expect(await versions()).toEqual([3, 2]);
  });

  test("what a build from before the index has stored is brought along, and indexed once it is written again", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.writeRecord("runner", "r1", "before", 1);
    await runInDurableObject(stub(), (_store, { storage }) => {
      storage.sql.exec("DROP TABLE record_tags; DROP TABLE app_tombstones");
      storage.sql.exec("UPDATE schema SET number = 2");
    });
    await evictDurableObject(stub());
    expect(await store.findRecords("runner", ["online"], 10)).toEqual([]);
    expect(await store.readRecord("runner", "r1")).toBe("before");
    await store.writeRecord("runner", "r1", "after", 1, { tags: ["online"], rank: 0 });
    expect(await store.findRecords("runner", ["online"], 10)).toEqual([{ id: "r1", body: "after" }]);
  });

  test("a search reads at most N records with the rarest tag", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.writeRecord("runner", "least", "{}", 1, { tags: ["online", "eu"], rank: 0 });
    await runInDurableObject(stub(), (_store, { storage }) => {
      const series = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${RECORDS_EXAMINED})`;
      storage.sql.exec(
        `${series} INSERT INTO records (kind, id, body) SELECT 'runner', 'r' || i, '{}' FROM n`,
      );
      for (const tag of ["online", "eu"])
        storage.sql.exec(`${series} INSERT INTO record_tags SELECT 'runner', ?, 1, 'r' || i FROM n`, tag);
      storage.sql.exec("DELETE FROM record_tags WHERE tag = 'eu' AND id = 'r10000'");
    });
    await store.writeRecord("runner", "most", "{}", 1, { tags: ["online", "eu", "gpu"], rank: 2 });
    const find = async (tags: RecordTags) =>
      (await store.findRecords("runner", tags, RECORDS_EXAMINED + 10)).map(({ id }) => id);
    const found = await find(["online", "eu"]);
    expect(found).toHaveLength(RECORDS_EXAMINED - 1);
    expect(found[0]).toBe("least");
    expect(await find(["online", "gpu"])).toEqual(["most"]);
  });

  test("an object that fails makes every method unavailable, and says why", async () => {
    const store = openStore({ EMBEDDED_STORE: namespace });
    await store.commit(change("shop", 0));
    await runInDurableObject(stub(), (_store, state) => {
      state.storage.sql.exec("UPDATE schema SET number = 99");
    });
    await evictDurableObject(stub());
    await expectUnavailable(store, /schema 99 and this build knows 4/);
  });

  test("an object that doesn't answer makes every method unavailable in time, until it answers again", async () => {
    const patient = openStore({ EMBEDDED_STORE: namespace });
    await patient.commit(change("shop", 0));
    // Flags and polling, because workerd crashes on a promise that another object's request resolves.
    let asleep = false;
    let wake = false;
    const blocked = runInDurableObject(stub(), (_store, state) =>
      state.blockConcurrencyWhile(async () => {
        asleep = true;
        await until(() => wake);
      }),
    );
    await until(() => asleep);
    await expectUnavailable(new EmbeddedStoreClient(namespace, 300), /no answer within 300 ms/);
    wake = true;
    await blocked;
    expect((await patient.readApp("shop"))?.name).toBe("shop");
  });
});

describe("openStore", () => {
  test("takes Upstash when it is configured and the embedded store when it isn't", () => {
    const upstash = {
      UPSTASH_REDIS_REST_URL: "https://upstash.example.com",
      UPSTASH_REDIS_REST_TOKEN: "token",
    };
    expect(openStore({ ...upstash, EMBEDDED_STORE: namespace })).toBeInstanceOf(UpstashStore);
    expect(openStore({ EMBEDDED_STORE: namespace })).toBeInstanceOf(EmbeddedStoreClient);
  });

  test("refuses half a configuration and names the missing half", () => {
    const url = { UPSTASH_REDIS_REST_URL: "https://upstash.example.com", EMBEDDED_STORE: namespace };
    expect(() => openStore(url)).toThrow("UPSTASH_REDIS_REST_TOKEN is not");
    const token = { UPSTASH_REDIS_REST_TOKEN: "secret-token", EMBEDDED_STORE: namespace };
    expect(() => openStore(token)).toThrow("UPSTASH_REDIS_REST_URL is not");
    expect(() => openStore(token)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("secret-token") }),
    );
  });

  test("gives a store that says in workerd, too, when Upstash can't be reached", async () => {
    // The discard port: nothing listens there.
    const upstash = { UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9", UPSTASH_REDIS_REST_TOKEN: "token" };
    await expectUnavailable(openStore({ ...upstash, EMBEDDED_STORE: namespace }), /UPSTASH_REDIS_REST_URL/);
  });
});

async function rowCounts(): Promise<{ operations: unknown; leases: unknown }> {
  return await runInDurableObject(stub(), (_store, { storage }) => ({
    operations: storage.sql.exec("SELECT count(*) AS rows FROM operations").one()["rows"],
    leases: storage.sql.exec("SELECT count(*) AS rows FROM leases").one()["rows"],
  }));
}

async function expectUnavailable(store: StateStore, message: RegExp): Promise<void> {
  await Promise.all(
    everyMethod(store).map(async ({ method, call }) => {
      const error: unknown = await call().then(
        () => new Error(`${method} succeeded`),
        (error: unknown) => error,
      );
      expect(error).toBeInstanceOf(StoreUnavailable);
      expect(error instanceof Error ? error.message : "").toMatch(message);
    }),
  );
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}
