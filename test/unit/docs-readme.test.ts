import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { commands } from "../../scripts/cli/commands/index.ts";
import { exitCodes } from "../../scripts/cli/failure.ts";
import { firstCells, readDocument } from "../helpers/documents.ts";

test("the README's table has every command", () => {
  const text = firstCells("README.md", "## The command line").join(" ");
  const listed = commands.filter(({ nowSpelled }) => nowSpelled === undefined);
  const words = (name: string): string[] => name.split(" ");
  const missing = listed.filter(
    ({ name }) => !words(name).every((word) => new RegExp(`\\b${word}\\b`).test(text)),
  );
  expect(missing.map(({ name }) => name)).toEqual([]);
});

test("the README's table has every setting of the Worker, and no other", () => {
  const config = readFileSync(join(projectRoot, "functions/config.ts"), "utf8");
  const [, schema = ""] = /^const schema = z\.object\(\{\n([\s\S]*?)^\}\);$/m.exec(config) ?? [];
  const read = [...schema.matchAll(/^ {2}([A-Z][A-Z_]+):/gm)].map(([, name = ""]) => name);
  expect(read.length).toBeGreaterThan(20);
  const named = firstCells("README.md", "## Configuration").flatMap((cell) =>
    [...cell.matchAll(/`([A-Z_]+)`/g)].map(([, name = ""]) => name),
  );
  const ofTheStore = ["UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_REST_URL"];
  expect(named.toSorted()).toEqual([...read, ...ofTheStore].toSorted());
});

test("the README's table has every exit code", () => {
  const [, section = ""] = readDocument("README.md").split("| exit code ");
  const listed = [...section.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
  const ours = Object.values<number>(exitCodes);
  expect([...new Set(listed)].toSorted((one, other) => one - other)).toEqual(
    [...new Set(ours)].toSorted((one, other) => one - other),
  );
});
