import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { helpText, readInvocation } from "../../runner/config.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { parseInvocation } from "../../scripts/cli/arguments.ts";
import { everywhere } from "../../scripts/cli/command.ts";
import { commands } from "../../scripts/cli/commands/index.ts";
import { startedBy, tableRows } from "../helpers/documents.ts";

/** `docs/moving-from-….md`: nothing that the former systems name is left out, and each counterpart exists. */

const PULSE = "docs/moving-from-pulse-railway.md";
const SENTRYVIBE = "docs/moving-from-sentryvibe.md";

/** What is in the first, and in the second column. */
const rowsOf = (document: string): { there: string; here: string; why: string }[] =>
  tableRows(document)
    .filter(({ length }) => length === 3)
    .map(([there = "", here = "", why = ""]) => ({ there, here, why }));

const seeds = join(projectRoot, "../shared/seeds");
const seed = (name: string): string => readFileSync(join(seeds, name), "utf8");
const all = (text: string, pattern: RegExp): string[] =>
  [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? match[0]))].sort();

describe.skipIf(!existsSync(seeds))("what the former systems name (their documents are needed)", () => {
  test("everything of pulse-railway is in the tables", () => {
    const text = seed("pulse-railway.md");
    const prose = text.replaceAll(/https?:\S+/g, "");
    const named = [
      ...all(prose, /pulse-railway (?:janitor run|[a-z]+)(?=[ `\n])/g).filter(
        (words) => !/ (?:uses|falls)$/.test(words),
      ),
      ...all(prose, /(?<![\w-])--[a-z][a-z-]+/g).filter((flag) => flag !== "--push"),
      ...all(prose, /\b(?:RAILWAY|PULSE)_[A-Z_]+\b/g),
      ...all(prose, /RailwayPlugin\((\w+)=/g),
      ...all(prose, /`((?:x-)?pulse[_-]deployment)`/g),
      ...all(prose, /`(pulse-[a-z]+)`/g).filter((name) => name !== "pulse-railway"),
      ...all(prose, /`(\/_pulse\/\w+)`/g),
      ...all(prose, /`railway (?:up|ssh)`/g).map((words) => words.replaceAll("`", "")),
    ];
    expect(named.length).toBeGreaterThan(35);
    expect(leftOut(PULSE, named)).toEqual([]);
  });

  test("everything of SentryVibe is in the tables", () => {
    const text = seed("runner-on-railway.md");
    const blocks = (language: string): string =>
      [...text.matchAll(new RegExp(`^ *\`\`\`${language}\n([\\s\\S]*?)^ *\`\`\``, "gm"))]
        .map(([, body = ""]) => body)
        .join("\n");
    const named = [
      ...all(text, /\b(?:RUNNER|SENTRY|API|WORKSPACE|HEALTH|DEBUG|ANTHROPIC|NODE|RAILWAY)_[A-Z_]+\b/g),
      ...all(blocks("json"), /"(\w+)":/g),
      ...all(text, /\/(?:health|ready|socket)\b/g),
      ...all(blocks("bash"), /^ *(railway (?:service )?[a-z]+|openssl rand|git push|npm install|curl)\b/gm),
      ...all(blocks("bash"), /node apps\S+ runner/g),
      ...all(text, /--heartbeatInterval/g),
    ];
    expect(named.length).toBeGreaterThan(35);
    expect(leftOut(SENTRYVIBE, named)).toEqual([]);
  });
});

function leftOut(document: string, named: string[]): string[] {
  const first = rowsOf(document).map(({ there }) => there);
  return named.filter((name) => !first.some((cell) => includesWord(cell, name)));
}

function includesWord(cell: string, name: string): boolean {
  const at = cell.indexOf(name);
  return at !== -1 && !/[\w-]/.test(cell[at + name.length] ?? "") && !/[\w-]/.test(cell[at - 1] ?? "");
}

const sources = ["functions", "runner", "scripts/cli", "sdk"].flatMap((directory) =>
  readdirSync(join(projectRoot, directory), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !/node_modules|dist\/|generated/.test(name))
    .map((name) => readFileSync(join(projectRoot, directory, name), "utf8")),
);
const schema = readFileSync(join(projectRoot, "docs/signalbox.schema.json"), "utf8");

describe.each([PULSE, SENTRYVIBE])("%s", (document) => {
  const rows = rowsOf(document);

  test("has a counterpart for everything, or says why there is none", () => {
    const bare = rows.filter(({ here, why }) => (here === "none" ? why === "" : !/^`[^`]+`$/.test(here)));
    expect(bare).toEqual([]);
  });

  test.each(rows.filter(({ here }) => here !== "none").map(({ there, here }) => [there, here] as const))(
    "the counterpart of %s exists: %s",
    (_, here) => {
      const name = here.replaceAll("`", "");
      expect(whatIsWrong(name)).toBeNull();
    },
  );
});

/** Null: it is a command, a flag, an argument, a setting, an address or a name of ours. */
function whatIsWrong(name: string): string | null {
  const [started] = startedBy(name);
  if (started?.program === "signalbox") {
    try {
      parseInvocation(started.words, commands);
      return null;
    } catch (error) {
      return String(error);
    }
  }
  if (started?.program === "signalbox-runner") {
    const env = { RUNNER_BROKER_URL: "ws://localhost/", RUNNER_SHARED_SECRET: "secret" };
    return readInvocation(started.words, env).kind === "run" ? null : `${name} runs nothing`;
  }
  if (name.startsWith("--")) {
    const flags = [...Object.keys(everywhere), ...commands.flatMap(({ flags: own }) => Object.keys(own))];
    const isFlag = flags.includes(name.slice(2)) || helpText().includes(`  ${name} `);
    return isFlag ? null : "no command has this flag";
  }
  if (/^(?:ID|DIRECTORY)$/.test(name)) {
    return commands.some(({ arguments: taken = [] }) => taken.some((one) => one.name === name))
      ? null
      : "no command has this argument";
  }
  if (name.startsWith("/_signalbox/")) {
    const last = name.slice("/_signalbox/".length);
    return sources.some((text) => text.includes(`"${last}"`) || text.includes(`/${last}`))
      ? null
      : "no such address";
  }
  if (/^railway\.\w+$|^hosts$|^deploymentName$/.test(name)) {
    return schema.includes(`"${name.replace("railway.", "")}"`) ? null : "signalbox.json has no such field";
  }
  return sources.some((text) => text.includes(name)) ? null : "no source has this name";
}
