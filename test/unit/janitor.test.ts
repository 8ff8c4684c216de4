import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { appConfig, newAppDocument } from "../../functions/apps/app-document.ts";
import { commitDocument } from "../../functions/apps/commit.ts";
import type { Decision } from "../../functions/janitor/report.ts";
import { lastRun, reportWithin, sweep } from "../../functions/janitor/sweep.ts";
import { MemoryStore } from "../helpers/memory-store.ts";

const NONE: Decision[] = [];
let store: MemoryStore;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  store = new MemoryStore(Date.now);
});

afterEach(() => {
  vi.useRealTimers();
});

/** Apps with work, which is all that a sweep knows of them. */
async function apps(...names: string[]): Promise<void> {
  for (const name of names) {
    const document = { ...newAppDocument(name, appConfig.parse({}), Date.now()), deletingSince: Date.now() };
    const author = { actor: "operator", action: "app.create" };
    await commitDocument(store, document, 0, { author, details: {}, isDefault: false });
  }
}

function run(sweepApp: (name: string) => Promise<Decision[]>) {
  return sweep(false, { store, sweepApp, sweepServices: null, now: Date.now });
}

const hang = (): Promise<never> => new Promise(() => {});

test("an app whose controller hangs is reported, and the others are swept all the same", async () => {
  await apps("a", "b", "c", "d", "e", "f");
  const swept: string[] = [];
  const report = run((name) => {
    swept.push(name);
    return name === "b" ? hang() : Promise.resolve(NONE);
  });
  await vi.advanceTimersByTimeAsync(59_000);
  expect(swept).toEqual(["a", "b", "c", "d", "e", "f"]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await report).toMatchObject({
    outcome: "completed",
    errors: [{ app: "b", message: "its controller didn't answer within 60000 ms" }],
  });
});

test("the lease is kept for as long as a sweep takes, and given back at its end", async () => {
  await apps("slow");
  const slow = Promise.withResolvers<Decision[]>();
  const report = run(() => slow.promise);
  for (let second = 0; second < 55; second++) {
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await run(() => Promise.resolve(NONE))).toMatchObject({ outcome: "lease_held", decisions: [] });
  }
  slow.resolve(NONE);
  expect(await report).toMatchObject({ outcome: "completed" });
  expect(store.leases.size).toBe(0);
  expect(await run(() => Promise.resolve(NONE))).toMatchObject({ outcome: "completed" });
  expect(vi.getTimerCount()).toBe(0);
});

test("a janitor whose lease somebody else took begins nothing more, publishes nothing and leaves that lease alone", async () => {
  await apps("a", "b", "c", "d", "e", "f", "g", "h");
  const swept: string[] = [];
  const slow = Promise.withResolvers<Decision[]>();
  const report = run((name) => {
    swept.push(name);
    return slow.promise;
  });
  await vi.advanceTimersByTimeAsync(5_000);
  const others = { token: "another janitor", expiresAt: Date.now() + 100_000 };
  store.leases.set("janitor", others);
  await vi.advanceTimersByTimeAsync(10_000);
  slow.resolve(NONE);
  expect(await report).toMatchObject({ outcome: "lease_lost" });
  expect(swept).toEqual(["a", "b", "c", "d"]);
  expect(store.leases.get("janitor")).toBe(others);
  expect(store.records.size).toBe(0);
});

test("a janitor that can't renew while the store is away stops when its lease has run out", async () => {
  await apps("a", "b", "c", "d", "e");
  const slow = Promise.withResolvers<Decision[]>();
  const swept: string[] = [];
  const report = run((name) => {
    swept.push(name);
    return slow.promise;
  });
  await vi.advanceTimersByTimeAsync(1_000);
  store.fault = () => true;
  await vi.advanceTimersByTimeAsync(28_000);
  store.fault = () => false;
  expect((await run(() => Promise.resolve(NONE))).outcome).toBe("lease_held");
  store.fault = () => true;
  await vi.advanceTimersByTimeAsync(3_000);
  slow.resolve(NONE);
  expect(await report).toMatchObject({ outcome: "lease_lost" });
  expect(swept).toEqual(["a", "b", "c", "d"]);
});

test("what is published stays small however many apps fail, and what is answered is whole", async () => {
  await apps(...Array.from({ length: 150 }, (_, index) => `app-${index}`));
  const report = await run(() => Promise.reject(new Error("no")));
  expect(report.errors).toHaveLength(150);
  expect((await lastRun(store, Date.now())).report?.errors).toHaveLength(100);
});

test("a report that is kept with an Idempotency-Key is cut to what fits", async () => {
  await apps(...Array.from({ length: 150 }, (_, index) => `app-${index}`));
  const report = await run(() => Promise.reject(new Error("no".repeat(500))));
  const kept = reportWithin(report, 20_000);
  expect(JSON.stringify(kept).length).toBeLessThan(20_000);
  expect(kept.errors.length).toBeGreaterThan(5);
  expect(reportWithin(report, 1_000_000)).toBe(report);
});

test.each([
  [null, true],
  ["{}", true],
  ['"text"', true],
])("a last run that reads %s is none", async (body, stale) => {
  if (body !== null) await store.writeRecord("janitor", "last", body);
  expect(await lastRun(store, Date.now())).toEqual({ report: null, stale });
});

test("a run is stale after three missed periods and not before", async () => {
  await run(() => Promise.resolve(NONE));
  expect((await lastRun(store, Date.now() + 180_000)).stale).toBe(false);
  expect((await lastRun(store, Date.now() + 180_001)).stale).toBe(true);
});
