import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { placing, type Placing } from "../../functions/projects/project-place.ts";
import { MemoryStore } from "../helpers/memory-store.ts";

const busy = { code: "project_busy" };
const FAST = { leaseMs: 200, renewedEveryMs: 20 };

const never = (): Promise<never> => Promise.reject(new Error("It got its turn."));

test("a rename holds both slugs, and releases what it has if it can't get the other", async () => {
  const store = new MemoryStore(Date.now);
  await placing(store, ["a", "b"], async () => {
    await expect(placing(store, ["a"], never)).rejects.toMatchObject(busy);
    await expect(placing(store, ["b"], never)).rejects.toMatchObject(busy);
    await expect(placing(store, ["c", "b"], never)).rejects.toMatchObject(busy);
    expect(await placing(store, ["c"], async () => Promise.resolve("free"))).toBe("free");
  });
  expect(store.leases.size).toBe(0);
});

async function untilUnsure(place: Placing): Promise<void> {
  while (place.isSure) await sleep(5);
}

test("a lease that is somebody else's by now ends the right to decide", async () => {
  const store = new MemoryStore(Date.now);
  const work = async (place: Placing): Promise<void> => {
    place.require();
    store.leases.set("project-place:b", { token: "other", expiresAt: Infinity });
    await untilUnsure(place);
    place.require();
  };
  await expect(placing(store, ["a", "b"], work, FAST)).rejects.toMatchObject(busy);
  expect([...store.leases.keys()]).toEqual(["project-place:b"]);
});

test("a lease that can't be renewed ends the right to decide when its time is over, and not before", async () => {
  const store = new MemoryStore(Date.now);
  const begun = performance.now();
  const work = async (place: Placing): Promise<void> => {
    // Renewed meanwhile.
    await sleep(2 * FAST.leaseMs);
    place.require();
    store.renewLease = () => Promise.reject(new Error("The store is away."));
    await untilUnsure(place);
    expect(performance.now() - begun).toBeGreaterThan(2.5 * FAST.leaseMs);
    place.require();
  };
  await expect(placing(store, ["a"], work, FAST)).rejects.toMatchObject(busy);
});
