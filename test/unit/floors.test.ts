import { readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { FLOORS } from "../../scripts/lint/floors.ts";

test("docs/architecture.md shows the floors that the lint rule keeps", async () => {
  const text = await readFile("docs/architecture.md", "utf8");
  const picture = /```\n(index\.ts[\s\S]*?)```/.exec(text)?.[1] ?? "";
  const rooms = picture
    .trim()
    .split("\n")
    .map((line) => (line.split(" ")[0] ?? "").replace(/\/$/, ""));
  expect(rooms).toEqual(FLOORS.toReversed().flat());
});

test("every room of functions/ has a floor", async () => {
  const entries = await readdir("functions");
  expect(entries.filter((name) => name !== "tsconfig.json" && !FLOORS.flat().includes(name))).toEqual([]);
});
