import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Failure } from "../../scripts/cli/failure.ts";
import { readSourceTree } from "../../scripts/cli/packing/source-tree.ts";

const run = promisify(execFile);
const soak = process.env["SIGNALBOX_SOAK"] === "1";
/** Trees of one round: git is asked about all of them at once, since starting it takes longer than its answer. */
const TREES = 100;
const BUDGET_MS = soak ? 600_000 : 10_000;

const name = fc.constantFrom(
  "a",
  "b",
  "ab",
  "dist",
  "vendor",
  "x.js",
  "y.log",
  "é",
  "#c",
  "!d",
  "a b",
  "[z]",
  "-",
);
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const piece = fc.oneof(
  { weight: 6, arbitrary: name },
  {
    weight: 4,
    arbitrary: fc.constantFrom("*", "**", "?", "*.js", "*.log", "[ab]", "[!a]", "[^a-c]", "a*", "*b", "d*t"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "\\a",
      "\\#c",
      "\\!d",
      "[a",
      "[]a]",
      "[[:alpha:]]",
      "[a\\-z]",
      "a**",
      "**b",
      "??",
      "\\",
      "[[:x:]]",
      "***",
    ),
  },
);
const pattern = fc
  .record({
    negative: fc.boolean(),
    rooted: fc.boolean(),
    parts: fc.array(piece, { minLength: 1, maxLength: 3 }),
    directory: fc.boolean(),
    tail: fc.constantFrom("", "", "", "", " ", "  ", "\\ ", "\r", "\t"),
  })
  .map(
    ({ negative, rooted, parts, directory, tail }) =>
      `${negative ? "!" : ""}${rooted ? "/" : ""}${parts.join("/")}${directory ? "/" : ""}${tail}`,
  );
const lines = fc.oneof(
  { weight: 9, arbitrary: pattern },
  { weight: 1, arbitrary: fc.constantFrom("", "# nothing", "/", "!", "//", "\uFEFFa") },
);
const ignoreFile = fc.array(lines, { minLength: 1, maxLength: 5 }).map((all) => all.join("\n"));
const tree = fc.record({
  files: fc.uniqueArray(path, { minLength: 1, maxLength: 12 }),
  rules: fc.dictionary(fc.oneof(fc.constant(""), path), ignoreFile, { minKeys: 1, maxKeys: 3 }),
});

/** What doesn't fit (a file where a directory is) is left out. */
async function plant(root: string, { files, rules }: { files: string[]; rules: Record<string, string> }) {
  const all = [
    ...files.map((file): [string, string] => [file, ""]),
    ...Object.entries(rules).map(([at, text]): [string, string] => [join(at, ".gitignore"), text]),
  ];
  for (const [file, text] of all) {
    try {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await writeFile(join(root, file), text);
    } catch {
      continue; // there is a file of that name on the way, or a directory in its place
    }
  }
}

const compare = (one: string, other: string): number => (one < other ? -1 : 1);

test("what is packed is what git would add, on generated trees", async () => {
  const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
  const root = await mkdtemp(join(tmpdir(), "signalbox-gitignore-"));
  const git = (...args: string[]) =>
    run("git", ["-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false", ...args], {
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
      env: { PATH: process.env["PATH"] ?? "", GIT_CONFIG_NOSYSTEM: "1", HOME: root },
    });
  const end = Date.now() + BUDGET_MS;
  let compared = 0;
  try {
    for (let round = 0; Date.now() < end; round++) {
      const trees = fc.sample(tree, { numRuns: TREES, seed: seed + round });
      await git("init", "-q");
      for (const [index, planted] of trees.entries()) await plant(join(root, `t${index}`), planted);
      const { stdout } = await git("ls-files", "-z", "--others", "--exclude-standard");
      const kept = stdout.split("\0").filter((file) => file !== "");
      for (const [index, planted] of trees.entries()) {
        const expected = kept
          .filter((file) => file.startsWith(`t${index}/`))
          .map((file) => file.slice(`t${index}/`.length));
        const packed = await readSourceTree(join(root, `t${index}`), { alone: false }).then(
          ({ entries }) => entries.map((entry) => entry.path),
          (error: unknown) => {
            if (error instanceof Failure && error.code === "nothing_to_pack") return [];
            throw error;
          },
        );
        expect(
          packed.toSorted(compare),
          `FUZZ_SEED=${seed + round}, tree ${index}: ${JSON.stringify(planted)}`,
        ).toEqual(expected.toSorted(compare));
        compared += 1;
      }
      await rm(root, { recursive: true });
      await mkdir(root);
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
  console.log(`compared ${compared} trees with git, FUZZ_SEED=${seed}`);
  expect(compared).toBeGreaterThanOrEqual(TREES);
});
