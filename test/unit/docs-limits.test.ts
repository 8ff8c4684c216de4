import { describe, expect, test } from "vitest";
import { appConfig } from "../../functions/apps/app-document.ts";
import { firstCells, tableRows } from "../helpers/documents.ts";
import { limitNames, shown, valueOf } from "../helpers/shown-limit.ts";

const DOCUMENT = "docs/limits.md";
const constantOf = (row: string[]): string | undefined =>
  /^`([\w./ -]+(?:: )?[A-Z_]*)`$/.exec(row.at(-1) ?? "")?.[1];
const rows = tableRows(DOCUMENT).flatMap((row) => {
  const constant = constantOf(row);
  return constant === undefined || !/[A-Z]{2}/.test(constant) ? [] : [{ constant, limit: row[1] ?? "" }];
});

describe("docs/limits.md", () => {
  test("has every constant of functions/protocol/limits.ts", () => {
    const named = new Set(rows.map(({ constant }) => constant));
    expect(limitNames.filter((name) => !named.has(name))).toEqual([]);
  });

  test("says what each constant is", () => {
    const wrong = rows.filter(({ constant, limit }) => limit !== shown(constant, valueOf(constant)));
    expect(wrong).toEqual([]);
  });

  test("says the defaults and bounds of an app's settings", () => {
    const settings = tableRows(DOCUMENT, "## Settings of an app");
    const defaults: Record<string, unknown> = appConfig.parse({});
    const numbers = Object.keys(defaults).filter((name) => typeof defaults[name] === "number");
    expect(firstCells(DOCUMENT, "## Settings of an app").toSorted()).toEqual(
      numbers.map((name) => `\`${name}\``).toSorted(),
    );
    for (const [cell = "", ...cells] of settings) {
      const field = cell.replaceAll("`", "");
      const [usual, from = 0, to = 0] = cells.map((text) => Number(text.replaceAll(",", "")));
      expect([field, defaults[field]]).toEqual([field, usual]);
      const taken = [from - 1, from, to, to + 1].map(
        (value) => appConfig.safeParse({ [field]: value }).success,
      );
      expect([field, taken]).toEqual([field, [false, true, true, false]]);
    }
  });
});
