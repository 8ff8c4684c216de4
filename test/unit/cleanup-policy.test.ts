import { expect, test } from "vitest";
import { type Limits, overLimit } from "../../runner/cleanup/policy.ts";

const HOUR = 3_600_000;
const now = 1_000 * HOUR;
/** Used so many hours ago. */
const projects = [
  { project: "new", usedAt: now - HOUR, bytes: 10 },
  { project: "old", usedAt: now - 50 * HOUR, bytes: 20 },
  { project: "older", usedAt: now - 90 * HOUR, bytes: 30 },
];
const none: Limits = { ageSeconds: null, count: null, bytes: null };

const cases: [string, Partial<Limits>, string[], string[]][] = [
  ["no limit", {}, [], []],
  ["an age", { ageSeconds: 3_600 * 60 }, [], ["older"]],
  ["a count", { count: 1 }, [], ["older", "old"]],
  ["a size that one of them is over", { bytes: 30 }, [], ["older"]],
  ["a size that two of them are over", { bytes: 29 }, [], ["older", "old"]],
  ["a size, with one that may not go", { bytes: 40 }, ["older"], ["old"]],
  ["a count, with one that may not go", { count: 2 }, ["older"], ["old"]],
  ["an age, with one that may not go", { ageSeconds: 3_600 * 60 }, ["older"], []],
];
test.each(cases)("%s takes the longest unused that may go", async (_name, limits, kept, taken) => {
  const mayGo = ({ project }: { project: string }): Promise<boolean> =>
    Promise.resolve(!kept.includes(project));
  const over = await overLimit(projects, { ...none, ...limits }, now, mayGo);
  expect(over.map(({ candidate }) => candidate.project)).toEqual(taken);
});
