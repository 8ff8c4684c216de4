import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../scripts/build/worker.ts";

/** What tests need to know of the README and `docs/`. */

export const DOCUMENTS: readonly string[] = [
  "README.md",
  ...readdirSync(join(projectRoot, "docs"))
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`),
];

/** Documents whose commands need a world of their own each: which tests run them. */
export const RUN_ELSEWHERE: ReadonlyMap<string, readonly string[]> = new Map([
  [
    "docs/projects.md",
    ["e2e", "browser"].flatMap((directory) =>
      readdirSync(join(projectRoot, "test", directory)).map((name) => `test/${directory}/${name}`),
    ),
  ],
  ["docs/observability.md", ["test/e2e/metrics.test.ts"]],
]);

export function readDocument(name: string): string {
  return readFileSync(join(projectRoot, name), "utf8");
}

/** Who runs a block: `docs-commands.test.ts`, another test, or nobody, for a reason that its readers see. */
export type RunBy = { kind: "here" } | { kind: "test"; file: string } | { kind: "nobody"; why: string };

/** A fenced block of commands. */
export interface CommandBlock {
  document: string;
  line: number;
  /** As they are written, without comments; a line that ends in a backslash and the next one are one. */
  commands: string[];
  runBy: RunBy;
  /** What they print, where the document shows it right below. */
  shown: string | null;
}

const FENCE =
  /(?:<!-- run by (\S+) -->\n\n?)?^( *)```sh\n([\s\S]*?)^\2```$(?:\n\n\2```text\n([\s\S]*?)^\2```$)?/gm;
const NOT_RUN = /^# Not run by our tests: (.+)$/;

export function commandBlocks(document: string, text = readDocument(document)): CommandBlock[] {
  return [...text.matchAll(FENCE)].map(({ index, 1: file, 3: body = "", 4: shown }) => {
    const lines = body.trimEnd().split("\n");
    const why = NOT_RUN.exec(lines[0]?.trim() ?? "")?.[1];
    return {
      document,
      line: text.slice(0, index).split("\n").length,
      commands: joined(lines),
      runBy: why !== undefined ? { kind: "nobody", why } : file ? { kind: "test", file } : { kind: "here" },
      shown: shown?.trimEnd() ?? null,
    };
  });
}

function joined(lines: string[]): string[] {
  const commands: string[] = [];
  let before = "";
  for (const line of lines) {
    const plain = withoutComment(line).trim();
    if (plain.endsWith("\\")) {
      before += `${plain.slice(0, -1).trimEnd()} `;
      continue;
    }
    if (before + plain !== "") commands.push(before + plain);
    before = "";
  }
  return commands;
}

function withoutComment(line: string): string {
  let quote = "";
  for (const [index, character] of line.split("").entries()) {
    if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === "'" || character === '"') quote = character;
    else if (character === "#" && (index === 0 || line[index - 1] === " ")) return line.slice(0, index);
  }
  return line;
}

/** The commands between backticks: `signalbox …`. One with an ellipsis is a part of one. */
export function inlineCommands(document: string): string[] {
  const prose = readDocument(document).replaceAll(/^( *)```[\s\S]*?^\1```$/gm, "");
  return [...prose.matchAll(/`((?:npx )?signalbox [^`]+)`/g)]
    .map(([, command = ""]) => command.replaceAll(/\s+/g, " "))
    .filter((command) => !/…/.test(command));
}

/** A program with its words, as a shell would start it. */
export interface Started {
  program: string;
  words: string[];
}

/** The programs of one command line, without assignments and redirections. */
export function startedBy(line: string): Started[] {
  const all: string[][] = [[]];
  for (const token of tokens(line)) {
    if (token.isOperator) {
      if (!/^\d?[<>]/.test(token.text)) all.push([]);
      continue;
    }
    if (token.isTarget) continue;
    all.at(-1)?.push(token.text);
  }
  return all.flatMap((words) => {
    const first = words.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word));
    const [program, ...rest] = first === -1 ? [] : words.slice(first);
    return program === undefined ? [] : [{ program, words: rest }];
  });
}

interface Token {
  text: string;
  isOperator: boolean;
  /** Where a redirection leads. */
  isTarget: boolean;
}

/** `$(…)` stays as it is, in the word that it is in. */
function tokens(line: string): Token[] {
  const found: Token[] = [];
  const pattern =
    /\s*(?:(&&|\|\||\||;|\d?>>?&?\d?|<)|((?:\$\((?:[^()]|\([^()]*\))*\)|"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'|;<>&])+))/gy;
  for (const [, operator, word = ""] of line.matchAll(pattern)) {
    const last = found.at(-1);
    const isTarget = operator === undefined && last?.isOperator === true && /[<>]$/.test(last.text);
    found.push({ text: operator ?? unquoted(word), isOperator: operator !== undefined, isTarget });
  }
  return found;
}

function unquoted(word: string): string {
  return word.replaceAll(
    /"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/g,
    (_, double: string | undefined, single: string | undefined, escaped: string | undefined) =>
      double?.replaceAll(/\\(["\\$`])/g, "$1") ?? single ?? escaped ?? "",
  );
}

/** The first cells of all tables under a heading, without their backticks. */
export function firstCells(document: string, heading?: string): string[] {
  return tableRows(document, heading).map(([cell = ""]) => cell);
}

/** The rows of all tables (under a heading), without their head. */
export function tableRows(document: string, heading?: string): string[][] {
  const text = heading === undefined ? readDocument(document) : sectionOf(document, heading);
  const lines = text.split("\n");
  return lines.flatMap((line, index) => {
    const isRow = line.startsWith("|") && !/^\|[\s:|-]+\|$/.test(line);
    if (!isRow || /^\|[\s:|-]+\|$/.test(lines[index + 1] ?? "")) return [];
    return [cellsOf(line)];
  });
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, line.lastIndexOf("|"))
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}

function sectionOf(document: string, heading: string): string {
  const text = readDocument(document);
  const start = text.indexOf(`\n${heading}\n`);
  if (start === -1) throw new Error(`${document} has no ${heading}.`);
  const level = /^#+/.exec(heading)?.[0].length ?? 1;
  const rest = text.slice(start + heading.length + 2);
  const end = rest.search(new RegExp(`^#{1,${level}} `, "m"));
  return end === -1 ? rest : rest.slice(0, end);
}
