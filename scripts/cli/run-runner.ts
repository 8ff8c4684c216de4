import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { hideSecrets } from "../../runner/processes/hide-secrets.ts";
import { NODE_FLAGS } from "../build/node-flags.ts";

/** Has `node:sqlite` without a flag, which the runner's locks are made of. The rest of the command line needs less. */
const OLDEST_NODE = { major: 22, minor: 13 };

/**
 * Becomes the runner, whose bundle lies beside this program's. V8 takes its flags at the start of a process only, so this
 * one is replaced: same process id, so signals, standard streams and whoever waits for it see one process.
 */
export async function runRunner(args: readonly string[]): Promise<void> {
  const url = new URL("./runner.mjs", import.meta.url);
  const bundle = fileURLToPath(url);
  if (!existsSync(bundle)) {
    console.error(
      `signalbox: ${bundle} is missing. In a clone, run npm run build; else install signalbox again.`,
    );
    process.exit(1);
  }
  const command = [bundle, "runner", ...args];
  if (process.versions["bun"] !== undefined || process.versions["deno"] !== undefined) {
    process.argv.splice(1, Infinity, ...command);
    await import(url.href);
    return;
  }
  refuseOldNode();
  const words = [...process.execArgv, ...NODE_FLAGS, ...command];
  // Not on Windows, and not before Node 22.15.
  if (process.platform !== "win32" && "execve" in process) {
    // Node calls the function experimental on every start, in the runner's log.
    process.emitWarning = () => {};
    process.execve(process.execPath, [process.execPath, ...words], definedOnly(process.env));
  }
  follow(process.execPath, words, args);
}

function refuseOldNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const { major: wanted, minor: least } = OLDEST_NODE;
  if (major > wanted || (major === wanted && minor >= least)) return;
  console.error(
    `signalbox: the runner needs Node ${wanted}.${least} or later; this is ${process.version}. Its executable, signalbox-runner, brings its own.`,
  );
  process.exit(1);
}

/** Stands before the runner: hands signals on, and ends as it does. */
function follow(program: string, words: string[], given: readonly string[]): void {
  const child = spawn(program, words, { stdio: "inherit" });
  // It waits as long as the runner runs, whose guests may look at it.
  hideSecrets(given.map((word) => word.replace(/^--[^=]*=?/, "")).filter((value) => value.length >= 6));
  // A terminal interrupts its whole foreground itself; the second SIGINT would end the runner without draining.
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.once("error", (error) => {
    console.error(`signalbox: ${program} doesn't start: ${error.message}`);
    process.exit(1);
  });
  child.once("exit", (code) => process.exit(code ?? 1));
}

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
