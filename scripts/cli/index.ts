#!/usr/bin/env node
import { text } from "node:stream/consumers";
import { main } from "./main.ts";
import { runRunner } from "./run-runner.ts";

const [verb, ...rest] = process.argv.slice(2);
if (verb === "runner") await runRunner(rest);
else await runCommand();

async function runCommand(): Promise<void> {
  const interruption = new AbortController();
  process.on("SIGINT", () => interruption.abort());
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
    },
    process,
  );
  // What an interrupted command left under way must not keep the process.
  process.exit(code);
}
