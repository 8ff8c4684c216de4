import { expect, test } from "vitest";
import { onceAtATime } from "../helpers/installed-fixture.ts";

test("two that install the same thing wait for each other, and one that fails lets the next in", async () => {
  let under = 0;
  let most = 0;
  const work = async (result: "done" | "failed"): Promise<string> => {
    under += 1;
    most = Math.max(most, under);
    await new Promise((resolve) => setTimeout(resolve, 20));
    under -= 1;
    if (result === "failed") throw new Error("as it was told to");
    return result;
  };
  const results = await Promise.allSettled([
    onceAtATime("unit", () => work("failed")),
    onceAtATime("unit", () => work("done")),
    onceAtATime("unit", () => work("done")),
  ]);
  expect(most).toBe(1);
  expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "fulfilled", "rejected"]);
});
