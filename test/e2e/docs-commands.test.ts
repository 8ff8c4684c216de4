import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { commandBlocks, DOCUMENTS, RUN_ELSEWHERE, type CommandBlock } from "../helpers/documents.ts";
import { newHome, removeHomes, start } from "../helpers/npm-start.ts";
import { npxDirectory } from "../helpers/npx.ts";
import { until } from "../helpers/stack.ts";

/** Runs the commands of the README and of `docs/`, in their order, on the stack of `npm start`. */

const soak = process.env["SIGNALBOX_SOAK"] === "1";

/** A document has dozens of commands; it only ends what hangs. */
const LIMIT_MS = 600_000;

let home: string;
let directory: string;
let bin: string;
let port: string;
/** What runs, and its end. */
let left: { child: ChildProcess; closed: Promise<unknown> }[] = [];

beforeAll(async () => {
  home = await newHome();
  directory = await mkdtemp(join(tmpdir(), "signalbox-docs-"));
  await cp(join(projectRoot, "examples"), join(directory, "examples"), { recursive: true });
  await symlink(join(projectRoot, "node_modules"), join(directory, "node_modules"));
  await symlink(home, join(directory, ".signalbox"));
  bin = await npxDirectory(directory);
  port = new URL(await start({ SIGNALBOX_HOME: home }).ready).port;
  await runJanitor();
});
afterEach(async () => {
  for (const { child } of left) signal(child, "SIGKILL");
  await Promise.all(left.map(({ closed }) => closed));
  left = [];
});
afterAll(async () => {
  await removeHomes();
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** Of documents that other tests run: what those leave out, in a world that is made first. */
const ALSO: ReadonlyMap<string, { first: string[]; commands: string[] }> = new Map([
  [
    "docs/projects.md",
    {
      first: [
        'npx signalbox projects create --prompt "a static page" --slug bakery',
        "echo secret-key > key.txt",
      ],
      commands: [
        "preview share",
        "preview revoke",
        "preview public",
        "git remote",
        "git status",
        "projects env",
        "runners cleanup",
      ],
    },
  ],
]);

const here = (document: string): CommandBlock[] => {
  const blocks = commandBlocks(document).filter(({ runBy }) => runBy.kind === "here");
  if (!RUN_ELSEWHERE.has(document)) return blocks;
  const also = ALSO.get(document);
  if (also === undefined) return [];
  const { first, commands } = also;
  const isWanted = (line: string): boolean =>
    commands.some((name) => line.startsWith(`npx signalbox ${name} `)) && !/token\.txt/.test(line);
  const wanted = blocks.map((block) => ({ ...block, commands: block.commands.filter(isWanted) }));
  return [{ document, line: 0, commands: first, runBy: { kind: "here" }, shown: null }, ...wanted];
};
const documents = DOCUMENTS.map((document) => [document, here(document)] as const).filter(
  ([, blocks]) => blocks.length > 0,
);
const own = documents.filter(([document]) => !RUN_ELSEWHERE.has(document));
const others = documents.filter(([document]) => RUN_ELSEWHERE.has(document));

test.each(own)("the commands of %s do what they are for", (_, blocks) => runAll(blocks), LIMIT_MS);

test.skipIf(!soak).each(others)(
  "the commands of %s that no other test runs do what they are for (soak: npm run soak)",
  (_, blocks) => runAll(blocks),
);

/** It runs every minute, and the documents show what is printed after that. */
async function runJanitor(): Promise<void> {
  const { controlToken } = z
    .object({ controlToken: z.string() })
    .parse(JSON.parse(await readFile(join(home, "local.json"), "utf8")));
  const answer = await fetch(`http://localhost:${port}/_signalbox/api/v1/janitor/run`, {
    method: "POST",
    headers: { authorization: `Bearer ${controlToken}`, "content-type": "application/json" },
    body: "{}",
  });
  expect(answer.status, await answer.text()).toBe(200);
}

async function runAll(blocks: CommandBlock[]): Promise<void> {
  const env: Record<string, string> = {
    PATH: `${bin}:${process.env["PATH"] ?? ""}`,
    HOME: directory,
    SIGNALBOX_HOME: join(directory, ".signalbox"),
  };
  for (const block of blocks) await runBlock(block, env);
}

async function runBlock(block: CommandBlock, env: Record<string, string>): Promise<void> {
  let output = "";
  for (const command of block.commands) {
    const exported = /^export ([A-Z_]+)=(\S*)$/.exec(command);
    if (exported) env[exported[1] ?? ""] = exported[2] ?? "";
    else output += await run(command, block, env);
  }
  if (block.shown === null) return;
  expect(output.replaceAll(`localhost:${port}`, "localhost:8787").trimEnd()).toMatch(asPattern(block.shown));
}

async function run(command: string, at: CommandBlock, env: Record<string, string>): Promise<string> {
  const here = command
    .replaceAll("localhost:8787", `localhost:${port}`)
    .replaceAll("/tmp/", `${directory}/`)
    .replaceAll("HEALTH_PORT=8090", "HEALTH_PORT=0")
    .replaceAll(/ ID(?= |$)/g, " local");
  const child = spawn("sh", ["-c", here], {
    cwd: directory,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const where = `${at.document}:${at.line}: ${command}`;
  const closed = once(child, "close").then(([code]: unknown[]) => code);
  left.push({ child, closed });
  const isRunner = /\bsignalbox runner(?!s| agents| --help)/.test(command);
  if (isRunner || /\s(?:-f|--follow)\b/.test(command)) {
    const isUp = (): boolean => (isRunner ? /Connected to broker/.test(stdout) : stdout !== "");
    await until(
      () => (child.exitCode === null ? { up: isUp() } : { ended: `${where}\n${stdout}${stderr}` }),
      (seen) => seen.up === true,
    );
    if (isRunner) return stdout;
    signal(child, "SIGINT");
    expect([0, 130, null], `${where}\n${stderr}`).toContain(await closed);
    return stdout;
  }
  expect(await closed, `${where}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

/** The whole group: the shell and what it started. */
function signal({ pid, exitCode }: ChildProcess, name: NodeJS.Signals): void {
  if (pid === undefined || exitCode !== null) return;
  try {
    process.kill(-pid, name);
  } catch {
    // It has ended in between.
  }
}

/** An ellipsis stands for what differs from time to time; alone on a line for any number of lines. */
function asPattern(shown: string): RegExp {
  const lines = shown.split("\n").map((line) =>
    line.trim() === "…"
      ? "[\\s\\S]*?"
      : line
          .split("…")
          .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
          .join("[^\\n]*"),
  );
  return new RegExp(`^${lines.join("\\n")}$`);
}
