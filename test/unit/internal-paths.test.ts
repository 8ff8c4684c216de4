import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { appConfig } from "../../functions/apps/app-document.ts";
import { isInternalPath } from "../../functions/edge/internal-paths.ts";
import { INNOCENT_PATHS, INTERNAL_SPELLINGS } from "../helpers/internal-spellings.ts";

const pathOf = (target: string): string => target.split(/[?#]/, 1)[0] ?? "";
const { paths } = appConfig.parse({ paths: { sessions: "/ops/sessions", reload: "/~admin/reload.do" } });

test("there are enough spellings to mean something", () => {
  expect(new Set(INTERNAL_SPELLINGS).size).toBeGreaterThan(100);
});

describe("internal", () => {
  test.each(INTERNAL_SPELLINGS)("%j", (spelling) => {
    expect(isInternalPath(pathOf(spelling))).toBe(true);
    expect(isInternalPath(pathOf(spelling), paths)).toBe(true);
  });
});

describe("innocent", () => {
  test.each(INNOCENT_PATHS)("%j", (path) => {
    expect(isInternalPath(pathOf(path))).toBe(false);
    expect(isInternalPath(pathOf(path), paths)).toBe(false);
  });
});

test.each([
  "/ops/sessions",
  "/OPS/Sessions/",
  "/ops/sessions/below",
  "/ops%2fsessions",
  "/ops//../sessions",
  "/%6fps/sessions",
  "/x/../ops/sessions",
  "/~admin/reload.do",
  "/%7eadmin/reload%2edo",
  "/~admin/reload.do;x",
])("a configured endpoint is internal in every spelling too: %j", (path) => {
  expect(isInternalPath(path)).toBe(false);
  expect(isInternalPath(path, paths)).toBe(true);
});

test.each(["/ops", "/ops/session", "/sessions", "/~admin/reload", "/~admin/reloadxdo", "/ops/sessions2"])(
  "a path beside a configured endpoint isn't: %j",
  (path) => {
    expect(isInternalPath(path, paths)).toBe(false);
  },
);

test("an endpoint at the root doesn't take the whole app with it", () => {
  const root = appConfig.parse({ paths: { sessions: "/", reload: "//" } }).paths;
  expect(isInternalPath("/", root)).toBe(false);
  expect(isInternalPath("/page%20x", root)).toBe(false);
});

/** Every character of the endpoint, encoded or not, once or more often, in either case. */
const spelled = fc
  .array(
    fc.record({
      layers: fc.integer({ min: 0, max: 4 }),
      upper: fc.boolean(),
      pad: fc.constantFrom("", "", "", "/", "/.", "/./", ";x"),
    }),
    { minLength: 16, maxLength: 16 },
  )
  .map((choices) =>
    Array.from("/_pulse/internal")
      .map((character, index) => {
        const { layers = 0, upper = false, pad = "" } = choices[index] ?? {};
        if (index === 0) return "/";
        let text = upper ? character.toUpperCase() : character;
        for (let layer = 0; layer < layers; layer++) text = encodeFirst(text);
        return character === "/" ? pad + text : text;
      })
      .join(""),
  );

function encodeFirst(text: string): string {
  return `%${text.charCodeAt(0).toString(16).padStart(2, "0")}${text.slice(1)}`;
}

test("any mixture of encodings, cases and fillings is internal", () => {
  fc.assert(
    fc.property(spelled, (path) => {
      expect(isInternalPath(path)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test("what the platform's URL parser makes internal is internal", () => {
  const noise = fc.array(fc.constantFrom("..", ".", "%2e", "", "/", "\\", ";", "x", "%2f", " ", "_pulse"), {
    maxLength: 4,
  });
  let internal = 0;
  fc.assert(
    fc.property(noise, noise, noise, (before, between, after) => {
      const path = `/${[...before, "_pulse", ...between, "internal", ...after].join("/")}`;
      if (!/^\/_pulse\/internal(?:\/|$)/.test(new URL(`http://backend.test${path}`).pathname)) return;
      internal += 1;
      expect(isInternalPath(path)).toBe(true);
    }),
    { numRuns: 20_000 },
  );
  expect(internal).toBeGreaterThan(100);
});

test("any text at all is answered, and quickly enough for the longest URL", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => {
      isInternalPath(`/${text}`);
      isInternalPath(`/${encodeURI(text.toWellFormed())}`);
    }),
  );
  const worst = ["%25", "25", "../", "a.", ".", ";", "%c0", "%u0025", "/", "\\", "%2e%2e%2f", "\u{fb03}"];
  for (const piece of worst) isInternalPath(`/%${piece.repeat(16_384 / piece.length)}%20`);
});
