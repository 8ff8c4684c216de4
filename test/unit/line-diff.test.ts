import fc from "fast-check";
import { expect, test } from "vitest";
import { lineDiff } from "../../runner/builds/line-diff.ts";

/** What `patch` does with it. */
function patched(before: string, diff: string): string {
  const old = before.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const result: string[] = [];
  let at = 0;
  const lines = diff.split("\n").slice(0, -1);
  for (const [index, line] of lines.entries()) {
    const start = /^@@ -(\d+),(\d+)/.exec(line);
    if (start !== null) {
      const from = Number(start[1]) - (start[2] === "0" ? 0 : 1);
      result.push(...old.slice(at, from));
      at = from;
    } else if (!line.startsWith("\\")) {
      const end = lines[index + 1]?.startsWith("\\") === true ? "" : "\n";
      const text = `${line.slice(1)}${end}`;
      if (!line.startsWith("+")) expect(old[at++]).toBe(text);
      if (!line.startsWith("-")) result.push(text);
    }
  }
  return [...result, ...old.slice(at)].join("");
}

test("a text with its diff applied is the other text", () => {
  const text = fc
    .tuple(fc.array(fc.constantFrom("a", "b", "c", "d", "")), fc.boolean())
    .map(([lines, ends]) => lines.map((line) => `${line}\n`).join("") + (ends ? "" : "e"));
  fc.assert(
    fc.property(text, text, (before, after) => {
      const diff = lineDiff(before, after);
      expect(diff === "").toBe(before === after);
      expect(patched(before, diff)).toBe(after);
    }),
    { numRuns: 500 },
  );
});
