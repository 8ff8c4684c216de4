import { expect, test } from "vitest";
import { Holds, type Hold } from "../../functions/edge/holds.ts";

const LEASE_MS = 2_000;
const LIMIT = 10;

function hold(holds: Holds, app: string, count: number, now = 0): (Hold | null)[] {
  return Array.from({ length: count }, () => holds.take(app, now));
}

const kept = (taken: (Hold | null)[]): number => taken.filter((one) => one !== null && !one.evicted).length;

test("one app alone has all requests held, up to the limit", () => {
  expect(kept(hold(new Holds(LEASE_MS, LIMIT), "a", LIMIT + 5))).toBe(LIMIT);
});

test("an app that comes later has as many requests held as one that was there", () => {
  const holds = new Holds(LEASE_MS, LIMIT);
  const first = hold(holds, "a", LIMIT);
  const second = hold(holds, "b", LIMIT);
  expect([kept(first), kept(second)]).toEqual([5, 5]);
  const third = hold(holds, "c", LIMIT);
  expect([first, second, third].map(kept)).toEqual([3, 4, 3]);
});

test("the requests that waited longest make room", () => {
  const holds = new Holds(LEASE_MS, LIMIT);
  const first = hold(holds, "a", LIMIT);
  hold(holds, "b", 2);
  expect(first.map((one) => one?.evicted)).toEqual([true, true, ...Array.from({ length: 8 }, () => false)]);
});

test("a request that is released, or wasn't seen for too long, makes room", () => {
  const holds = new Holds(LEASE_MS, LIMIT);
  const [first = null] = hold(holds, "a", LIMIT);
  expect(holds.take("a", 1)).toBeNull();
  if (first) holds.release("a", first);
  expect(holds.take("a", 1)).not.toBeNull();
  expect(kept(hold(holds, "a", LIMIT, LEASE_MS + 1))).toBe(LIMIT - 1);
});
