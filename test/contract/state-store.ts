import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IDEMPOTENCY_RESULT_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import type { Page, RecordIndex, RecordTags, StateStore } from "../../functions/state/store.ts";
import { LONG, all, change, committed, operation, repeated } from "./changes.ts";

/** Each call gives an empty store of its own; `close` ends whatever `open` started. */
export type OpenStore = () => Promise<{ store: StateStore; close(): Promise<void> }>;

/** Names that mean something to Redis, to SQL, to file systems or to JavaScript. */
const HOSTILE_NAMES =
  '.. ../.. a:b a:b:c : * ? [a-z] {tag} %2e%2e a/b \\ (a - + " __proto__ constructor null 0 größe 名前 🚦'
    .split(" ")
    .concat("a b", " ", "\r\n", "\t", "'; DROP TABLE apps; --");

/** Milliseconds that a test waits out. */
const SHORT = 50;

/** The one suite that every state store passes: long, because the whole contract is to be read in one place. */
export function describeStateStore(name: string, open: OpenStore): void {
  describe(name, () => {
    let store: StateStore;
    let opened: Awaited<ReturnType<OpenStore>>;

    beforeEach(async () => {
      opened = await open();
      ({ store } = opened);
    });
    afterEach(() => opened.close());

    describe("apps", () => {
      test("an empty store answers every read with nothing", async () => {
        expect(await store.resolve("shop.example.com", "shop")).toBeNull();
        expect(await store.resolve("shop.example.com", null)).toBeNull();
        expect(await store.readApp("shop")).toBeNull();
        expect(await store.listApps(all)).toEqual([]);
        expect(await store.listWork()).toEqual([]);
        expect(await store.listAudit({ app: null, limit: 10, before: null })).toEqual([]);
      });

      test("a first commit creates the app at version 1 and each further one adds one", async () => {
        expect(await store.commit(change("shop", 0, { body: '{"n":1}' }))).toEqual(committed(1));
        expect(await store.readApp("shop")).toEqual(app("shop", 1, '{"n":1}'));
        expect(await store.commit(change("shop", 1, { body: '{"n":2}' }))).toEqual(committed(2));
        expect(await store.readApp("shop")).toEqual(app("shop", 2, '{"n":2}'));
      });

      test("a commit on another version than the stored one changes nothing and says which it is", async () => {
        await store.commit(change("shop", 0, { body: '{"n":1}' }));
        const stale = { body: '{"n":9}', hosts: ["stale.example.com"], isDefault: true, hasWork: true };
        for (const expected of [0, 2, 10]) {
          const result = await store.commit(
            change("shop", expected, { ...stale, idempotencyRecord: operation("k") }),
          );
          expect(result).toEqual({ outcome: "conflict", version: 1 });
        }
        expect(await store.readApp("shop")).toEqual(app("shop", 1, '{"n":1}'));
        expect(await store.resolve("stale.example.com", null)).toBeNull();
        expect(await store.listWork()).toEqual([]);
        expect(await store.readIdempotencyRecord("k")).toBeNull();
        expect(await auditVersions(store, "shop")).toEqual([1]);
      });

      test("a commit on an app that doesn't exist says version 0", async () => {
        expect(await store.commit(change("shop", 3))).toEqual({ outcome: "conflict", version: 0 });
        expect(await store.commit(change("shop", 0, { body: null }))).toEqual({
          outcome: "conflict",
          version: 0,
        });
        expect(await store.listAudit({ app: null, limit: 10, before: null })).toEqual([]);
      });

      test("a writer that slept while the app was deleted and made again changes nothing of the new one", async () => {
        for (const version of range(3)) await store.commit(change("shop", version));
        expect(await store.commit(change("shop", 3, { body: null }))).toEqual(committed(0));
        expect(await store.readApp("shop")).toBeNull();
        expect(await store.commit(change("shop", 0))).toEqual({ outcome: "conflict", version: 4 });
        // What is deleted can't be deleted again, nor changed by whoever knew it.
        for (const late of [change("shop", 3), change("shop", 4, { body: null })]) {
          expect(await store.commit(late)).toEqual({ outcome: "conflict", version: 4 });
        }
        expect(await store.commit(change("shop", 4, { body: '{"new":1}' }))).toEqual(committed(5));
        for (const expected of range(5)) {
          const late = change("shop", expected, { body: expected === 2 ? null : '{"old":1}' });
          expect(await store.commit(late)).toEqual({ outcome: "conflict", version: 5 });
        }
        expect(await store.readApp("shop")).toEqual(app("shop", 5, '{"new":1}'));
        expect(await store.commit(change("blog", 0))).toEqual(committed(1));
      });

      test("20 clients that commit at once all get through, one for each version", async () => {
        const results = await Promise.all(
          range(20).map(async (client) => [await increment(store, client), await increment(store, client)]),
        );
        const wins = results.flat().sort((a, b) => a - b);
        expect(wins).toEqual(range(40).map((index) => index + 1));
        const stored = await store.readApp("counter");
        expect(stored?.version).toBe(40);
        expect(stored?.body).toBe(JSON.stringify({ count: 40 }));
        expect(await auditVersions(store, "counter")).toEqual(wins.toReversed());
      });

      test("a document of 300 KB comes back byte for byte", async () => {
        const body = JSON.stringify({ text: 'größer 名前 🚦 \u0000 \u2028 \\ " </script>'.repeat(7_000) });
        expect(new TextEncoder().encode(body).length).toBeGreaterThan(300_000);
        await store.commit(change("big", 0, { body, hosts: ["big.example.com"] }));
        expect((await store.readApp("big"))?.body === body).toBe(true);
        expect((await store.resolve("big.example.com", null))?.body === body).toBe(true);
        expect((await store.commit(change("big", 1, { body: "{}" }))).outcome).toBe("committed");
      });

      test("JSON is passed through, not parsed and written again", async () => {
        for (const [index, body] of [
          '{"a":[],"b":{}}',
          "{ }",
          "1e400",
          "12345678901234567890",
          "OK",
          "",
        ].entries()) {
          await store.commit(change("raw", index, { body }));
          expect((await store.readApp("raw"))?.body).toBe(body);
        }
      });

      test("apps are listed in alphabetical order, page by page", async () => {
        const names = ["b", "a", "a-b", "ab", "a0", "c", "z-9", "z-10", "shop", "shop-2"];
        for (const name of names) await store.commit(change(name, 0));
        const sorted = names.toSorted();
        expect(await store.listApps(all)).toEqual(sorted);
        expect(
          await pages(
            (page) => store.listApps(page),
            (name) => name,
            3,
          ),
        ).toEqual(sorted);
        expect(await store.listApps({ after: "a1", limit: 2 })).toEqual(["ab", "b"]);
        expect(await store.listApps({ after: "zz", limit: 2 })).toEqual([]);
      });

      test("apps with hostile names stay apart", async () => {
        for (const name of HOSTILE_NAMES) {
          const result = await store.commit(change(name, 0, { body: JSON.stringify(name), hosts: [name] }));
          expect(result).toEqual(committed(1));
        }
        for (const name of HOSTILE_NAMES) {
          expect(await store.readApp(name)).toEqual(app(name, 1, JSON.stringify(name)));
          expect(await store.resolve(name, null)).toEqual(app(name, 1, JSON.stringify(name)));
          expect(await auditVersions(store, name)).toEqual([1]);
        }
        const listed = await pages(
          (page) => store.listApps(page),
          (name) => name,
          5,
        );
        expect(listed.toSorted()).toEqual(HOSTILE_NAMES.toSorted());
      });

      test("the work list names the apps whose last commit had work", async () => {
        await store.commit(change("b", 0, { hasWork: true }));
        await store.commit(change("a", 0, { hasWork: true }));
        await store.commit(change("idle", 0));
        expect(await store.listWork()).toEqual(["a", "b"]);
        await store.commit(change("b", 1));
        expect(await store.listWork()).toEqual(["a"]);
      });
    });

    describe("hosts and the default app", () => {
      test("a host resolves to the app that lists it, else to the named app, else to the default", async () => {
        await store.commit(change("by-host", 0, { hosts: ["www.example.com", "example.com"] }));
        await store.commit(change("by-name", 0));
        await store.commit(change("fallback", 0, { isDefault: true }));
        expect((await store.resolve("example.com", "by-name"))?.name).toBe("by-host");
        expect((await store.resolve("www.example.com", null))?.name).toBe("by-host");
        expect((await store.resolve("other.example.com", "by-name"))?.name).toBe("by-name");
        expect(await store.resolve("other.example.com", "nobody")).toEqual(app("fallback", 1, "{}", true));
        expect((await store.resolve("other.example.com", null))?.name).toBe("fallback");
      });

      test("a host that another app holds refuses the whole commit", async () => {
        await store.commit(change("first", 0, { hosts: ["a.example.com", "b.example.com"] }));
        const greedy = { hosts: ["free.example.com", "b.example.com"], isDefault: true, hasWork: true };
        expect(
          await store.commit(change("second", 0, { ...greedy, idempotencyRecord: operation("k") })),
        ).toEqual({
          outcome: "host_taken",
          host: "b.example.com",
          app: "first",
        });
        expect(await store.readApp("second")).toBeNull();
        expect(await store.listApps(all)).toEqual(["first"]);
        expect(await store.resolve("free.example.com", null)).toBeNull();
        expect(await store.listWork()).toEqual([]);
        expect(await store.readIdempotencyRecord("k")).toBeNull();
        expect(await auditVersions(store, null)).toEqual([1]);
      });

      test("an app keeps its own hosts, even when it lists one twice", async () => {
        const hosts = ["a.example.com", "b.example.com", "a.example.com"];
        await store.commit(change("shop", 0, { hosts }));
        expect(await store.commit(change("shop", 1, { hosts }))).toEqual(committed(2));
        expect((await store.resolve("a.example.com", null))?.version).toBe(2);
      });

      test("a released host can move to another app", async () => {
        await store.commit(change("old", 0, { hosts: ["moving.example.com", "staying.example.com"] }));
        await store.commit(change("old", 1, { hosts: ["staying.example.com"] }));
        expect(await store.resolve("moving.example.com", null)).toBeNull();
        expect(await store.commit(change("new", 0, { hosts: ["moving.example.com"] }))).toEqual(committed(1));
        await store.commit(change("old", 2, { hosts: ["staying.example.com"] }));
        expect((await store.resolve("moving.example.com", null))?.name).toBe("new");
        expect((await store.resolve("staying.example.com", null))?.name).toBe("old");
      });

      test("of 20 apps that claim a host at once exactly one gets it", async () => {
        const results = await Promise.all(
          range(20).map((index) =>
            store.commit(change(`app-${index}`, 0, { hosts: ["wanted.example.com"] })),
          ),
        );
        expect(results.filter((result) => result.outcome === "committed")).toHaveLength(1);
        expect(results.filter((result) => result.outcome === "host_taken")).toHaveLength(19);
      });

      test("a new default takes over from the old one", async () => {
        await store.commit(change("old", 0, { isDefault: true }));
        await store.commit(change("new", 0, { isDefault: true }));
        expect((await store.readApp("old"))?.isDefault).toBe(false);
        expect((await store.readApp("new"))?.isDefault).toBe(true);
        expect((await store.resolve("any.example.com", null))?.name).toBe("new");
        await store.commit(change("old", 1, { isDefault: false }));
        expect((await store.readApp("new"))?.isDefault).toBe(true);
        await store.commit(change("new", 1, { isDefault: false }));
        expect(await store.resolve("any.example.com", null)).toBeNull();
      });

      test("deleting an app takes its hosts, its default and its work along and leaves its audit", async () => {
        await store.commit(
          change("shop", 0, { hosts: ["shop.example.com"], isDefault: true, hasWork: true }),
        );
        const removal = { body: null, hosts: ["shop.example.com"], isDefault: true, hasWork: true };
        expect(await store.commit(change("shop", 1, removal))).toEqual(committed(0));
        expect(await store.readApp("shop")).toBeNull();
        expect(await store.resolve("shop.example.com", "shop")).toBeNull();
        expect(await store.listApps(all)).toEqual([]);
        expect(await store.listWork()).toEqual([]);
        expect(await auditVersions(store, "shop")).toEqual([2, 1]);
        expect(await store.commit(change("heir", 0, { hosts: ["shop.example.com"] }))).toEqual(committed(1));
        expect(await store.commit(change("shop", 2))).toEqual(committed(3));
      });

      test("deleting an app leaves another app's default alone", async () => {
        await store.commit(change("main", 0, { isDefault: true }));
        await store.commit(change("side", 0));
        await store.commit(change("side", 1, { body: null }));
        expect((await store.resolve("any.example.com", null))?.name).toBe("main");
      });
    });

    describe("operations", () => {
      test("a repeated operation answers with its record, even after the version moved on", async () => {
        const first = change("shop", 0, { body: '{"n":1}', idempotencyRecord: operation("key-1") });
        expect(await store.commit(first)).toEqual(committed(1));
        expect(await store.readIdempotencyRecord("key-1")).toEqual({
          fingerprint: "print-key-1",
          result: "result-key-1",
        });
        await store.commit(change("shop", 1, { body: '{"n":2}' }));
        expect(await store.commit(first)).toEqual(repeated("key-1"));
        expect(await store.commit({ ...first, expectedVersion: 2 })).toEqual(repeated("key-1"));
        expect(await store.readApp("shop")).toEqual(app("shop", 2, '{"n":2}'));
        expect(await auditVersions(store, "shop")).toEqual([2, 1]);
      });

      test("a repeated operation answers with the first request's record, so that another request is noticed", async () => {
        await store.commit(change("shop", 0, { idempotencyRecord: operation("key-1") }));
        const other = { key: "key-1", fingerprint: "another", result: "another", ttlSeconds: 60 };
        expect(await store.commit(change("blog", 0, { idempotencyRecord: other }))).toEqual(
          repeated("key-1"),
        );
        expect(await store.readApp("blog")).toBeNull();
      });

      test("an operation repeated after a deletion doesn't delete the app's successor", async () => {
        await store.commit(change("shop", 0));
        const removal = change("shop", 1, { body: null, idempotencyRecord: operation("delete-1") });
        expect(await store.commit(removal)).toEqual(committed(0));
        await store.commit(change("shop", 2));
        expect(await store.commit(removal)).toEqual(repeated("delete-1"));
        expect(await store.readApp("shop")).toEqual(app("shop", 3));
      });

      test("an operation sent by 20 clients at once happens once", async () => {
        const sent = change("shop", 0, { idempotencyRecord: operation("key-1") });
        const results = await Promise.all(range(20).map(() => store.commit(sent)));
        expect(results.filter((result) => result.outcome === "committed")).toEqual([committed(1)]);
        expect(results.filter((result) => result.outcome === "repeated")).toHaveLength(19);
        expect(await auditVersions(store, "shop")).toEqual([1]);
      });

      test("an operation that conflicted can be sent again on the right version", async () => {
        await store.commit(change("shop", 0));
        const late = change("shop", 0, { idempotencyRecord: operation("key-1") });
        expect((await store.commit(late)).outcome).toBe("conflict");
        expect(await store.commit({ ...late, expectedVersion: 1 })).toEqual(committed(2));
      });

      test("an operation is forgotten once its time to live has passed", async () => {
        const brief = { ...operation("key-1"), ttlSeconds: SHORT / 1000 };
        await store.commit(change("shop", 0, { idempotencyRecord: brief }));
        await until(async () => (await store.readIdempotencyRecord("key-1")) === null);
        expect(await store.commit(change("shop", 1, { idempotencyRecord: operation("key-1") }))).toEqual(
          committed(2),
        );
        expect(await store.commit(change("shop", 1, { idempotencyRecord: operation("key-1") }))).toEqual(
          repeated("key-1"),
        );
      });

      test("an answer that is too large to be kept is refused, and nothing is written", async () => {
        const large = { ...operation("key-1"), result: "名".repeat(IDEMPOTENCY_RESULT_LIMIT_BYTES / 3 + 1) };
        await expect(store.commit(change("shop", 0, { idempotencyRecord: large }))).rejects.toThrow(
          RangeError,
        );
        await expect(store.writeAudit(change("shop", 0).audit, large)).rejects.toThrow(RangeError);
        expect(await store.readApp("shop")).toBeNull();
        expect(await store.listAudit({ app: null, limit: 10, before: null })).toEqual([]);
        const largest = { ...large, result: "x".repeat(IDEMPOTENCY_RESULT_LIMIT_BYTES) };
        expect(await store.commit(change("shop", 0, { idempotencyRecord: largest }))).toEqual(committed(1));
        expect((await store.readIdempotencyRecord("key-1"))?.result === largest.result).toBe(true);
      });

      test("operations with hostile keys stay apart", async () => {
        for (const key of HOSTILE_NAMES) {
          await store.commit(change(`app ${key}`, 0, { idempotencyRecord: operation(key) }));
        }
        for (const key of HOSTILE_NAMES)
          expect((await store.readIdempotencyRecord(key))?.result).toBe(`result-${key}`);
        expect(await store.readIdempotencyRecord("a")).toBeNull();
      });
    });

    describe("leases", () => {
      test("a held lease is refused to others, with the time it has left", async () => {
        expect(await store.acquireLease("janitor", "one", LONG)).toEqual({ acquired: true });
        const refused = await store.acquireLease("janitor", "two", LONG);
        if (refused.acquired) throw new Error("two holders have one lease");
        expect(refused.expiresInMs).toBeGreaterThan(0);
        expect(refused.expiresInMs).toBeLessThanOrEqual(LONG);
        expect(await store.acquireLease("sweeper", "two", LONG)).toEqual({ acquired: true });
      });

      test("of 20 contenders exactly one acquires a lease", async () => {
        const results = await Promise.all(
          range(20).map((index) => store.acquireLease("janitor", `holder-${index}`, LONG)),
        );
        expect(results.filter((result) => result.acquired)).toHaveLength(1);
      });

      test("a holder whose answer was lost acquires its own lease again", async () => {
        await store.acquireLease("janitor", "one", LONG);
        expect(await store.acquireLease("janitor", "one", 2 * LONG)).toEqual({ acquired: true });
        const refused = await store.acquireLease("janitor", "two", LONG);
        expect(refused.acquired ? 0 : refused.expiresInMs).toBeGreaterThan(LONG);
      });

      test("only the holder renews a lease", async () => {
        await store.acquireLease("janitor", "one", LONG);
        expect(await store.renewLease("janitor", "two", 3 * LONG)).toBe(false);
        expect(await store.renewLease("nobody", "one", LONG)).toBe(false);
        expect(await store.renewLease("janitor", "one", 2 * LONG)).toBe(true);
        const refused = await store.acquireLease("janitor", "two", LONG);
        if (refused.acquired) throw new Error("two holders have one lease");
        expect(refused.expiresInMs).toBeGreaterThan(LONG);
        expect(refused.expiresInMs).toBeLessThanOrEqual(2 * LONG);
      });

      test("only the holder releases a lease", async () => {
        await store.acquireLease("janitor", "one", LONG);
        expect(await store.releaseLease("janitor", "two")).toBe(false);
        expect((await store.acquireLease("janitor", "two", LONG)).acquired).toBe(false);
        expect(await store.releaseLease("janitor", "one")).toBe(true);
        expect(await store.releaseLease("janitor", "one")).toBe(false);
        expect(await store.acquireLease("janitor", "two", LONG)).toEqual({ acquired: true });
      });

      test("an expired lease goes to the next holder and the late one can't touch it", async () => {
        await store.acquireLease("janitor", "late", SHORT);
        await until(async () => {
          const result = await store.acquireLease("janitor", "next", LONG);
          if (result.acquired) return true;
          expect(result.expiresInMs).toBeGreaterThanOrEqual(0);
          expect(result.expiresInMs).toBeLessThanOrEqual(SHORT);
          return false;
        });
        expect(await store.renewLease("janitor", "late", LONG)).toBe(false);
        expect(await store.releaseLease("janitor", "late")).toBe(false);
        expect(await store.renewLease("janitor", "next", LONG)).toBe(true);
      });

      test("an expired lease can be neither renewed nor released", async () => {
        await store.acquireLease("janitor", "one", 1);
        await store.acquireLease("sweeper", "one", 1);
        await until(async () => !(await store.renewLease("janitor", "one", 1)));
        await sleep(SHORT);
        expect(await store.releaseLease("sweeper", "one")).toBe(false);
      });

      test("leases with hostile names and tokens stay apart", async () => {
        for (const name of HOSTILE_NAMES) {
          expect(await store.acquireLease(name, name, LONG)).toEqual({ acquired: true });
        }
        for (const name of HOSTILE_NAMES) {
          expect(await store.releaseLease(name, `${name}x`)).toBe(false);
          expect(await store.releaseLease(name, name)).toBe(true);
        }
      });
    });

    describe("records", () => {
      test("a record can be written, read, replaced and deleted", async () => {
        expect(await store.readRecord("runner", "r1")).toBeNull();
        await store.writeRecord("runner", "r1", '{"n":1}');
        await store.writeRecord("runner", "r1", '{"n":2}');
        expect(await store.readRecord("runner", "r1")).toBe('{"n":2}');
        expect(await store.readRecord("project", "r1")).toBeNull();
        expect(await store.deleteRecord("project", "r1")).toBe(false);
        expect(await store.deleteRecord("runner", "r1")).toBe(true);
        expect(await store.deleteRecord("runner", "r1")).toBe(false);
        expect(await store.readRecord("runner", "r1")).toBeNull();
        expect(await store.listRecords("runner", all)).toEqual([]);
      });

      test("records are listed by kind in alphabetical order, page by page", async () => {
        const rows = range(10).map((index) => ({ id: `r${index}`, body: `{"n":${index}}` }));
        for (const { id, body } of rows.toReversed()) await store.writeRecord("runner", id, body);
        await store.writeRecord("project", "r5x", "{}");
        expect(await store.listRecords("runner", all)).toEqual(rows);
        expect(
          await pages(
            (page) => store.listRecords("runner", page),
            (row) => row.id,
            4,
          ),
        ).toEqual(rows);
        expect(await store.listRecords("runner", { after: "r8", limit: 5 })).toEqual([rows[9]]);
        expect(await store.listRecords("nothing", all)).toEqual([]);
      });

      test("records with hostile kinds and ids stay apart", async () => {
        for (const name of HOSTILE_NAMES) {
          await store.writeRecord(name, "id", `kind ${name}`);
          await store.writeRecord("kind", name, `id ${name}`);
        }
        for (const name of HOSTILE_NAMES) {
          expect(await store.readRecord(name, "id")).toBe(`kind ${name}`);
          expect(await store.readRecord("kind", name)).toBe(`id ${name}`);
          expect(await store.listRecords(name, all)).toEqual([{ id: "id", body: `kind ${name}` }]);
        }
        const listed = await pages(
          (page) => store.listRecords("kind", page),
          (row) => row.id,
          5,
        );
        expect(listed.map((row) => row.id).toSorted()).toEqual(HOSTILE_NAMES.toSorted());
      });
    });

    describe("versions of records", () => {
      test("an older record never takes the place of a newer one, and is told which that is", async () => {
        expect(await store.writeRecord("runner", "r1", "second", 2)).toEqual({ written: true });
        expect(await store.writeRecord("runner", "r1", "first", 1)).toEqual({ written: false, version: 2 });
        expect(await store.readRecord("runner", "r1")).toBe("second");
        expect(await store.writeRecord("runner", "r1", "second", 2)).toEqual({ written: true });
        expect(await store.writeRecord("runner", "r1", "tenth", 10)).toEqual({ written: true });
        expect(await store.writeRecord("runner", "r1", "ninth", 9)).toEqual({ written: false, version: 10 });
        expect(await store.writeRecord("runner", "r2", "first", 1)).toEqual({ written: true });
        expect(await store.writeRecord("project", "r1", "first", 1)).toEqual({ written: true });
        expect(await store.listRecords("runner", all)).toEqual([
          { id: "r1", body: "tenth" },
          { id: "r2", body: "first" },
        ]);
      });

      test("a deletion stands against older writes that arrive after it, and gives way to newer ones", async () => {
        await store.writeRecord("runner", "r1", "first", 1);
        expect(await store.deleteRecord("runner", "r1", 3)).toBe(true);
        expect(await store.writeRecord("runner", "r1", "second", 2)).toEqual({ written: false, version: 3 });
        expect(await store.readRecord("runner", "r1")).toBeNull();
        expect(await store.listRecords("runner", all)).toEqual([]);
        expect(await store.writeRecord("runner", "r1", "fourth", 4)).toEqual({ written: true });
        expect(await store.deleteRecord("runner", "r1", 3)).toBe(false);
        expect(await store.readRecord("runner", "r1")).toBe("fourth");
        expect(await store.deleteRecord("runner", "r1", 5)).toBe(true);
        expect(await store.deleteRecord("runner", "r1", 4)).toBe(false);
        expect(await store.writeRecord("runner", "r1", "fourth", 4)).toEqual({ written: false, version: 5 });
      });

      test("of 20 versions that are written at once the highest stays", async () => {
        await Promise.all(range(20).map((n) => store.writeRecord("runner", "r1", `n${n}`, n + 1)));
        expect(await store.readRecord("runner", "r1")).toBe("n19");
      });

      test("times in milliseconds are versions, and whoever gives none overwrites any", async () => {
        const now = 1_764_000_000_000;
        await store.writeRecord("runner", "r1", "late", now + 1);
        expect(await store.writeRecord("runner", "r1", "early", now)).toEqual({
          written: false,
          version: now + 1,
        });
        expect(await store.writeRecord("runner", "r1", "plain")).toEqual({ written: true });
        expect(await store.writeRecord("runner", "r1", "early", now)).toEqual({ written: true });
        expect(await store.deleteRecord("runner", "r1")).toBe(true);
        expect(await store.readRecord("runner", "r1")).toBeNull();
      });

      test("deletions with hostile kinds and ids stay apart", async () => {
        for (const name of HOSTILE_NAMES) {
          await store.deleteRecord(name, "id", 5);
          await store.deleteRecord("kind", name, 5);
        }
        for (const name of HOSTILE_NAMES) {
          expect(await store.writeRecord(name, "id", "old", 4)).toEqual({ written: false, version: 5 });
          expect(await store.writeRecord("kind", name, "old", 4)).toEqual({ written: false, version: 5 });
        }
        expect(await store.writeRecord("a", "b:id", "other", 4)).toEqual({ written: true });
        expect(await store.writeRecord("kind:a", "b", "other", 4)).toEqual({ written: true });
      });
    });

    describe("the index of records", () => {
      const place = (id: string, version: number, rank: number, ...tags: string[]) => {
        const [first, ...others] = tags;
        const index: RecordIndex | undefined =
          first === undefined ? undefined : { tags: [first, ...others], rank };
        return store.writeRecord("runner", id, `${id} at ${version}`, version, index);
      };
      const find = async (tags: RecordTags, limit = 100): Promise<string[]> =>
        (await store.findRecords("runner", tags, limit)).map(({ id }) => id);

      test("finds the records with all of the tags, the lowest rank first, at most so many", async () => {
        await place("late", 1, 10, "online", "eu");
        await place("early", 1, 9, "online", "us");
        await place("first", 1, 0, "online", "eu");
        await place("equal", 1, 0, "online", "eu", "gpu");
        await place("dead", 1, 0);
        await store.writeRecord("project", "other", "{}", 1, { tags: ["online"], rank: 0 });
        expect(await find(["online"])).toEqual(["equal", "first", "early", "late"]);
        expect(await find(["online"], 2)).toEqual(["equal", "first"]);
        expect(await find(["online", "eu"])).toEqual(["equal", "first", "late"]);
        expect(await find(["eu", "online"], 1)).toEqual(["equal"]);
        expect(await find(["online", "gpu", "eu"])).toEqual(["equal"]);
        for (const none of [["nothing"], ["online", "nothing"], ["us", "gpu"], [""]] as const)
          expect(await find(none)).toEqual([]);
        expect(await store.findRecords("runner", ["gpu"], 1)).toEqual([{ id: "equal", body: "equal at 1" }]);
      });

      test("follows each write of a record, and each deletion", async () => {
        await place("r1", 1, 5, "online", "eu", "eu");
        await place("r2", 1, 3, "online");
        expect(await find(["online"])).toEqual(["r2", "r1"]);
        await place("r1", 2, 1, "online", "us");
        expect(await find(["online"])).toEqual(["r1", "r2"]);
        expect(await find(["eu"])).toEqual([]);
        await place("r1", 3, 0);
        expect(await find(["online"])).toEqual(["r2"]);
        expect(await find(["us"])).toEqual([]);
        await place("r1", 4, 0, "online");
        await store.deleteRecord("runner", "r1", 5);
        expect(await find(["online"])).toEqual(["r2"]);
        await store.deleteRecord("runner", "r2");
        expect(await find(["online"])).toEqual([]);
        await place("r1", 6, 0, "online");
        expect(await find(["online"])).toEqual(["r1"]);
      });

      test("is left alone by a write and by a deletion that come too late", async () => {
        await place("r1", 3, 0, "online");
        expect(await place("r1", 2, 0, "offline")).toEqual({ written: false, version: 3 });
        expect(await store.deleteRecord("runner", "r1", 2)).toBe(false);
        expect(await find(["online"])).toEqual(["r1"]);
        expect(await find(["offline"])).toEqual([]);
        await store.deleteRecord("runner", "r1", 5);
        expect(await place("r1", 4, 0, "online")).toEqual({ written: false, version: 5 });
        expect(await find(["online"])).toEqual([]);
      });

      test("loses a record that is written without a version or without tags", async () => {
        const index: RecordIndex = { tags: ["online"], rank: 0 };
        await place("r1", 1, 0, "online");
        await store.writeRecord("runner", "r1", "plain", undefined, index);
        expect(await find(["online"])).toEqual([]);
        await place("r1", 2, 0, "online");
        await store.writeRecord("runner", "r1", "plain", 2);
        expect(await find(["online"])).toEqual([]);
        expect(await store.readRecord("runner", "r1")).toBe("plain");
      });

      test("holds hundreds of records with a tag, and finds the few that have another one, too", async () => {
        await Promise.all(
          range(250).map((n) => place(`r${n}`, 1, n, "online", n % 100 === 99 ? "rare" : "common")),
        );
        expect(await find(["online"], 1_000)).toEqual(range(250).map((n) => `r${n}`));
        expect(await find(["online", "rare"])).toEqual(["r99", "r199"]);
        expect(await find(["rare", "common"])).toEqual([]);
      });

      test("of 20 versions that are written at once keeps the highest one's place", async () => {
        await Promise.all(range(20).map((n) => place("r1", n + 1, n, n % 2 === 0 ? "even" : "odd")));
        expect(await find(["odd"])).toEqual(["r1"]);
        expect(await find(["even"])).toEqual([]);
      });

      test("keeps hostile kinds, ids and tags apart", async () => {
        for (const name of HOSTILE_NAMES) {
          const index: RecordIndex = { tags: [name], rank: 0 };
          await store.writeRecord(name, "id", `kind ${name}`, 1, index);
          await store.writeRecord("kind", name, `id ${name}`, 1, index);
        }
        for (const name of HOSTILE_NAMES) {
          expect(await store.findRecords(name, [name], 10)).toEqual([{ id: "id", body: `kind ${name}` }]);
          expect(await store.findRecords("kind", [name], 10)).toEqual([{ id: name, body: `id ${name}` }]);
        }
      });
    });

    describe("operations on nothing but the log", () => {
      const audit = {
        ...change("shop", 0).audit,
        app: null,
        action: "runner.drain",
        details: { runner: "r1" },
      };

      test("the entry and the operation are written together, once", async () => {
        expect(await store.writeAudit(audit, operation("key-1"))).toEqual({ outcome: "recorded" });
        expect(await store.readIdempotencyRecord("key-1")).toEqual(repeated("key-1").record);
        expect(await store.writeAudit(audit, operation("key-1"))).toEqual(repeated("key-1"));
        expect(await store.writeAudit(audit, null)).toEqual({ outcome: "recorded" });
        const rows = await store.listAudit({ app: null, limit: 10, before: null });
        expect(rows).toEqual([audit, audit].map((entry) => ({ ...entry, id: expect.any(String) })));
        expect(await store.listAudit({ app: "shop", limit: 10, before: null })).toEqual([]);
      });

      test("a key is one operation's, whatever it was recorded with", async () => {
        await store.commit(change("shop", 0, { idempotencyRecord: operation("key-1") }));
        expect(await store.writeAudit(audit, operation("key-1"))).toEqual(repeated("key-1"));
        await store.writeAudit(audit, operation("key-2"));
        expect(await store.commit(change("shop", 1, { idempotencyRecord: operation("key-2") }))).toEqual(
          repeated("key-2"),
        );
        expect((await store.readApp("shop"))?.version).toBe(1);
      });

      test("of 20 that are sent at once one is recorded", async () => {
        const results = await Promise.all(range(20).map(() => store.writeAudit(audit, operation("key-1"))));
        expect(results.filter(({ outcome }) => outcome === "recorded")).toHaveLength(1);
        expect(await store.listAudit({ app: null, limit: 50, before: null })).toHaveLength(1);
      });

      test("it is forgotten once its time to live has passed", async () => {
        await store.writeAudit(audit, { ...operation("key-1"), ttlSeconds: SHORT / 1000 });
        await until(async () => (await store.readIdempotencyRecord("key-1")) === null);
        expect(await store.writeAudit(audit, operation("key-1"))).toEqual({ outcome: "recorded" });
      });
    });

    describe("audit", () => {
      test("an entry comes back as it was written", async () => {
        const audit = {
          at: 1_700_000_000_123,
          app: "shop",
          actor: "größe 🚦",
          action: "promote",
          fromVersion: null,
          toVersion: 1,
          details: { deployment: "prod-1", count: 2, forced: false, reason: null },
        };
        await store.commit({ ...change("shop", 0), audit });
        const [row, ...others] = await store.listAudit({ app: "shop", limit: 10, before: null });
        expect(others).toEqual([]);
        expect(row).toEqual({ ...audit, id: expect.any(String) });
      });

      test("entries are listed newest first, page by page, by app or all together", async () => {
        for (const version of range(5)) {
          await store.commit(change("shop", version));
          await store.commit(change("blog", version));
        }
        expect(await auditVersions(store, "shop")).toEqual([5, 4, 3, 2, 1]);
        expect(await auditVersions(store, null)).toEqual([5, 5, 4, 4, 3, 3, 2, 2, 1, 1]);
        const rows = await auditPages(store, "blog", 2);
        expect(rows.map((row) => row.toVersion)).toEqual([5, 4, 3, 2, 1]);
        expect(rows.every((row) => row.app === "blog")).toBe(true);
        const ids = (await auditPages(store, null, 3)).map((row) => row.id);
        expect(ids).toHaveLength(10);
        expect(ids.toSorted().toReversed()).toEqual(ids);
      });

      test("nothing is older than a cursor that the store never gave out", async () => {
        await store.commit(change("shop", 0));
        for (const before of ["", "nonsense", "-", "+", "(1-1", "1 OR 1=1", "9".repeat(40)]) {
          expect(await store.listAudit({ app: null, limit: 10, before })).toEqual([]);
        }
      });
    });
  });
}

function app(name: string, version: number, body = "{}", isDefault = false) {
  return { name, version, body, isDefault };
}

/** What a client of the store does: read, compute, commit, and again from the start on a conflict. */
async function increment(store: StateStore, client: number): Promise<number> {
  for (;;) {
    const stored = await store.readApp("counter");
    const count = stored ? Number(/\d+/.exec(stored.body)?.[0]) : 0;
    const body = JSON.stringify({ count: count + 1 });
    const next = change("counter", stored?.version ?? 0, { body });
    const result = await store.commit({ ...next, audit: { ...next.audit, details: { client } } });
    if (result.outcome === "committed") return result.version;
    expect(result.outcome).toBe("conflict");
  }
}

async function pages<T>(
  read: (page: Page) => Promise<T[]>,
  id: (row: T) => string,
  limit: number,
): Promise<T[]> {
  const rows: T[] = [];
  for (;;) {
    const last = rows.at(-1);
    const page = await read({ after: last === undefined ? null : id(last), limit });
    expect(page.length).toBeLessThanOrEqual(limit);
    if (page.length === 0) return rows;
    rows.push(...page);
  }
}

async function auditPages(store: StateStore, app: string | null, limit: number) {
  const rows = await store.listAudit({ app, limit, before: null });
  for (let page = rows; page.length > 0; rows.push(...page)) {
    expect(page.length).toBeLessThanOrEqual(limit);
    page = await store.listAudit({ app, limit, before: rows.at(-1)?.id ?? null });
  }
  return rows;
}

async function auditVersions(store: StateStore, app: string | null): Promise<(number | null)[]> {
  const rows = await store.listAudit({ app, limit: 1_000, before: null });
  return rows.map((row) => row.toVersion);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(10);
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}
