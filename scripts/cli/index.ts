#!/usr/bin/env node
import { text } from "node:stream/consumers";
import type { Interruption } from "./context.ts";
import { commands } from "./commands/index.ts";
import { completeNames } from "./complete-names.ts";
import { main } from "./main.ts";
import { runRunner } from "./run-runner.ts";

const [verb, ...rest] = process.argv.slice(2);
if (verb === "runner") await runRunner(rest);
else if (verb === "__complete") await sayNames(rest);
else await runCommand();

/** For shells. */
async function sayNames(words: readonly string[]): Promise<void> {
  const { signal } = new AbortController();
  const world = {
    env: process.env,
    cwd: process.cwd(),
    interactive: false,
    readInput: async () => "",
    signal,
  };
  const names = await completeNames(words, commands, world);
  if (names.length > 0) console.log(names.join("\n"));
  process.exit(0);
}

async function runCommand(): Promise<void> {
  const interruption = new AbortController();
  const taken: Interruption = { taker: null, abort: () => interruption.abort() };
  process.on("SIGINT", () => (taken.taker ?? taken.abort)());
  process.on("SIGTERM", () => interruption.abort());
  // Whoever reads has seen enough: `signalbox logs | head`.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

  const code = await main(
    process.argv.slice(2),
    {
      env: process.env,
      cwd: process.cwd(),
      interactive: process.stdin.isTTY && process.stdout.isTTY,
      readInput: () => text(process.stdin),
      signal: interruption.signal,
      interruption: taken,
    },
    process,
  );
  // What an interrupted command left under way must not keep the process.
  process.exit(code);
}
