import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { callObject } from "../../functions/durable-object-call.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
});
afterEach(() => {
  vi.useRealTimers();
});

/** As the platform marks its errors. */
function failure(
  marks: Partial<Record<"retryable" | "overloaded" | "remote" | "durableObjectReset", boolean>>,
): Error {
  return Object.assign(new Error("Network connection lost."), marks);
}

/** Fails so many times and then answers; each try has a stub of its own. */
function object(failures: Error[], options: { isRepeatable?: boolean; deadline?: number } = {}) {
  const tries: number[] = [];
  let stubs = 0;
  const call = callObject({
    open: () => ++stubs,
    send: (stub) => {
      tries.push(stub);
      const error = failures[tries.length - 1];
      return error ? Promise.reject(error) : Promise.resolve("answer");
    },
    isRepeatable: true,
    ...options,
  }).then(
    (answer) => answer,
    (error: unknown) => error,
  );
  return { tries, call };
}

const passing = failure({ retryable: true });

describe("a call of a Durable Object", () => {
  test("is made again with another stub after an error that passes", async () => {
    const { tries, call } = object([passing, failure({ durableObjectReset: true })]);
    await vi.runAllTimersAsync();
    expect(await call).toBe("answer");
    expect(tries).toEqual([1, 2, 3]);
  });

  test("is given up after four tries, within two seconds, and says so as something that passes", async () => {
    const started = Date.now();
    const { tries, call } = object([passing, passing, passing, passing, passing]);
    await vi.runAllTimersAsync();
    expect(await call).toMatchObject({ code: "object_unavailable", status: 503 });
    expect(tries).toHaveLength(4);
    expect(Date.now() - started).toBeLessThan(2_000);
  });

  test("that can't be repeated is made once, and its caller is told to look", async () => {
    const { tries, call } = object([passing], { isRepeatable: false });
    await vi.runAllTimersAsync();
    expect(await call).toMatchObject({
      code: "object_unavailable",
      message: expect.stringContaining("look, and try again"),
    });
    expect(tries).toHaveLength(1);
  });

  test("isn't begun again after its caller's deadline", async () => {
    const { tries, call } = object([passing, passing], { deadline: Date.now() - 1 });
    await vi.runAllTimersAsync();
    expect(await call).toMatchObject({ code: "object_unavailable" });
    expect(tries).toHaveLength(1);
  });

  test.each([
    ["is overloaded", failure({ retryable: true, overloaded: true })],
    ["threw by itself", failure({ remote: true })],
    ["failed for good", failure({ retryable: false })],
  ])("is made once where the object %s, and its error stays as it is", async (_, error) => {
    const { tries, call } = object([error]);
    await vi.runAllTimersAsync();
    expect(await call).toBe(error);
    expect(tries).toHaveLength(1);
  });

  test("is made again at times that differ from caller to caller", async () => {
    const times = new Set<number>();
    for (let caller = 0; caller < 20; caller++) {
      const started = Date.now();
      const { call } = object([passing, passing, passing]);
      await vi.runAllTimersAsync();
      await call;
      times.add(Date.now() - started);
    }
    expect(times.size).toBeGreaterThan(5);
  });
});
