import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { firstCells } from "../helpers/documents.ts";

const cells = firstCells("docs/troubleshooting.md");
const source = (file: string): string => readFileSync(join(projectRoot, file), "utf8");

describe("docs/troubleshooting.md", () => {
  const statuses = [...source("functions/errors.ts").matchAll(/^ {2}([a-z_]+): (\d{3}),$/gm)];

  test("has every code of functions/errors.ts, with its status", () => {
    expect(statuses.length).toBeGreaterThan(90);
    const missing = statuses
      .map(([, code, status]) => `${status} \`${code}\``)
      .filter((wanted) => !cells.includes(wanted));
    expect(missing).toEqual([]);
  });

  test("has no code that functions/errors.ts hasn't", () => {
    const known = new Set(statuses.map(([, code]) => code));
    const named = cells.flatMap((cell) => /^\d{3} `(\w+)`$/.exec(cell)?.[1] ?? []);
    expect(named.filter((code) => !known.has(code))).toEqual([]);
  });

  test("has every page that a preview waits behind", () => {
    const titles = [...source("functions/projects/preview-pages.ts").matchAll(/title: "([^"]+)"/g)];
    expect(titles.length).toBeGreaterThan(3);
    expect(titles.map(([, title]) => title).filter((title) => !cells.includes(title ?? ""))).toEqual([]);
  });
});
