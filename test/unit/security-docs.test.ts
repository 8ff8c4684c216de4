import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";

/** docs/security.md says of runners what a test proves, and which one. */
const page = readFileSync(join(projectRoot, "docs/security.md"), "utf8");
const runners = page.slice(page.indexOf("\n## Runners\n"));
const notes = new Map(
  [...page.matchAll(/^\[\^([\w-]+)\]: `(.+?)`: "(.+)"$/gm)].map(([, name = "", file = "", title = ""]) => [
    name,
    { file, title },
  ]),
);

test.for([...notes])("the test of note %s is there", ([, { file, title }]) => {
  expect(existsSync(join(projectRoot, file)), file).toBe(true);
  const source = readFileSync(join(projectRoot, file), "utf8");
  const quoted = ['"', "`", "'"].some((quote) => source.includes(quote + title + quote));
  expect(quoted, `${file} has no test "${title}"`).toBe(true);
});

test("each row and each sentence about a runner names its test", () => {
  // Quotes hold what is only said; the notes themselves follow the text.
  const lines = runners.split("\n").filter((line) => !/^(?:>|\[\^|#)/.test(line));
  const unproved: string[] = [];
  for (const block of lines.join("\n").split(/\n{2,}/)) {
    const rows = block.split("\n").filter((line) => line.startsWith("|"));
    // A table's head, and the line below it.
    unproved.push(...rows.slice(2).filter((row) => !row.includes("[^")));
    const text = block
      .split("\n")
      .filter((line) => !line.startsWith("|"))
      .join(" ");
    for (const sentence of text.split(/(?<=\.) +(?=[A-Z`-])/))
      if (sentence.trim() !== "" && !sentence.includes("[^") && !/^\*\*[^*]+\.\*\*$/.test(sentence.trim()))
        unproved.push(sentence);
  }
  expect(unproved).toEqual([]);
});

test("each note is used, and each one that is used is there", () => {
  const used = new Set(
    [...page.replaceAll(/^\[\^.*$/gm, "").matchAll(/\[\^([\w-]+)\]/g)].map(([, name = ""]) => name),
  );
  expect([...used].toSorted()).toEqual([...notes.keys()].toSorted());
});
