import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { readInvocation } from "../../runner/config.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { parseInvocation } from "../../scripts/cli/arguments.ts";
import { commands } from "../../scripts/cli/commands/index.ts";
import {
  commandBlocks,
  DOCUMENTS,
  inlineCommands,
  readDocument,
  RUN_ELSEWHERE,
  startedBy,
  type Started,
} from "../helpers/documents.ts";

/** Commands in the README and `docs/`: each exists, with its flags, and is run by a test or says why not. */

const LINE_LIMIT = 120;
const { scripts, devDependencies } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
  devDependencies: Record<string, string>;
};
/** Programs that aren't ours. */
const OTHERS = ["apt-get", "cd", "curl", "docker", "export", "git", "mkdir", "node", "openssl", "printf"];
/** What a runner can't start without. */
const RUNNER = { RUNNER_BROKER_URL: "ws://localhost/", RUNNER_SHARED_SECRET: "secret-of-the-docs" };

const MORE = [
  "CONTRIBUTING.md",
  ...readdirSync(join(projectRoot, "examples"))
    .map((name) => `examples/${name}/README.md`)
    .filter((name) => existsSync(join(projectRoot, name))),
];

describe.each([...DOCUMENTS, ...MORE])("%s", (document) => {
  const blocks = commandBlocks(document);

  test("has commands that exist, with their flags", () => {
    const names = commands.flatMap(({ name }) => [`signalbox ${name}`, `npx signalbox ${name}`]);
    const inProse = inlineCommands(document).filter((line) => !names.includes(line));
    const wrong = blocks
      .flatMap((block) => block.commands)
      .concat(inProse)
      .map((line) => [line, ...startedBy(line).map(whatIsWrong)].filter((found) => found !== null))
      .filter(([, ...found]) => found.length > 0);
    expect(wrong).toEqual([]);
  });

  test("has blocks of commands in sh only, and no line over 120 characters in them", () => {
    const text = readDocument(document);
    expect(blocks.length).toBe((text.match(/```sh$/gm) ?? []).length);
    expect(text.match(/^ *```\n *(?:npx|npm|signalbox) .*$/gm)).toBeNull();
    expect(text.match(/^ *```(?:bash|shell|console|zsh)$/gm)).toBeNull();
    const lines = [...text.matchAll(/^( *)```sh\n([\s\S]*?)^\1```$/gm)].flatMap(([, , body = ""]) =>
      body.split("\n"),
    );
    expect(lines.filter((line) => line.length > LINE_LIMIT)).toEqual([]);
  });

  test("names tests that exist for the commands that other tests run", () => {
    const named = blocks.flatMap(({ runBy }) => (runBy.kind === "test" ? [runBy.file] : []));
    expect(named.filter((file) => !existsSync(join(projectRoot, file)))).toEqual([]);
  });

  test("has no command that no test runs, but those that say so", () => {
    const elsewhere = RUN_ELSEWHERE.get(document);
    const missing = blocks.flatMap(({ runBy, commands: lines }) => {
      const files =
        runBy.kind === "test" ? [runBy.file] : runBy.kind === "here" ? [...(elsewhere ?? [])] : [];
      if (files.length === 0) return [];
      const texts = files.map((file) => readFileSync(join(projectRoot, file), "utf8"));
      return commandNames(lines).filter((name) => !texts.some((text) => isRunIn(text, name)));
    });
    expect(missing).toEqual([]);
  });

  test("has links that lead somewhere", () => {
    expect(deadLinks(document)).toEqual([]);
  });
});

/** The names of our commands in some lines. */
function commandNames(lines: string[]): string[] {
  return lines.flatMap(startedBy).flatMap(({ program, words }) => {
    const own = program === "npx" ? words.slice(1) : words;
    if (program !== "signalbox" && (program !== "npx" || words[0] !== "signalbox")) return [];
    const named = commands.filter(({ name }) => `${own.join(" ")} `.startsWith(`${name} `));
    return named
      .map(({ name }) => name)
      .sort((one, other) => other.length - one.length)
      .slice(0, 1);
  });
}

/** As words of an array, or of a line. */
function isRunIn(text: string, name: string): boolean {
  return new RegExp(`[\\s"'\`]${name.replaceAll(" ", `"?,?\\s+"?`)}["\\s\`]`).test(text);
}

/** Null: nothing. */
function whatIsWrong({ program, words }: Started): string | null {
  const [first = "", ...rest] = words;
  switch (program.replace(/^.*\//, "")) {
    case "npx":
      if (first === "signalbox") return whatIsWrong({ program: first, words: rest });
      return first in devDependencies ? null : `${first} isn't installed`;
    case "npm": {
      const script = first === "run" || first === "run-script" ? (rest[0] ?? "") : first;
      return script in scripts || ["ci", "install", "pack"].includes(script) ? null : `no script ${script}`;
    }
    case "signalbox":
    case "signalbox.mjs":
      if (first === "COMMAND") return null;
      return first === "runner"
        ? refusalOf(() => readInvocation(words, RUNNER))
        : refusalOf(() => parseInvocation(words, commands));
    case "signalbox-runner":
      return refusalOf(() => readInvocation(words, RUNNER));
    default:
      return OTHERS.includes(program) ? null : `${program} is not a program that the docs use`;
  }
}

function refusalOf(parse: () => unknown): string | null {
  try {
    parse();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function deadLinks(document: string): string[] {
  const text = readDocument(document).replaceAll(/^( *)```[\s\S]*?^\1```$/gm, "");
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path = "", anchor] = link.split("#");
    const file = path === "" ? document : join(dirname(document), path);
    if (!existsSync(join(projectRoot, file))) return true;
    return anchor !== undefined && file.endsWith(".md") && !anchorsOf(readDocument(file)).includes(anchor);
  });
}

/** As GitHub makes them. */
function anchorsOf(text: string): string[] {
  const headings = [...text.replaceAll(/^( *)```[\s\S]*?^\1```$/gm, "").matchAll(/^#+ (.+)$/gm)];
  return headings.map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(" ", "-"),
  );
}

test.each([
  ["A=1 B=$(node -p 'x(1)') ./dist/signalbox-runner runner", [["./dist/signalbox-runner", "runner"]]],
  [
    "npm ci && npm start",
    [
      ["npm", "ci"],
      ["npm", "start"],
    ],
  ],
  ['npx signalbox build b "a; b" < key.txt | cat', [["npx", "signalbox", "build", "b", "a; b"], ["cat"]]],
  ["curl -s https://a.example/x?a=1&b=2 2>&1", [["curl", "-s", "https://a.example/x?a=1"]]],
])("%s is read as a shell reads it", (line, started) => {
  const read = startedBy(line).map(({ program, words }) => [program, ...words]);
  expect(read.slice(0, started.length)).toEqual(started);
});
