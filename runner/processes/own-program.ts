import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";

/** Puts `signalbox-runner` into a directory: this very program, for commands of deployments. Answers the directory. */
export async function installOwnProgram(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
  const file = join(directory, "signalbox-runner");
  await writeFileAtomically(file, `#!/bin/sh\nexec ${ownCommand().map(quoted).join(" ")} "$@"\n`, 0o755);
  await chmod(file, 0o755);
  return directory;
}

/** How this process was started, up to its arguments. */
export function ownCommand(): string[] {
  const [, script] = process.argv;
  if (script === undefined || isOneFile(script)) return [process.execPath];
  if (process.versions["deno"] !== undefined) {
    // Not by the configuration of the app in whose directory it is started.
    return [process.execPath, "run", "--no-config", "--no-lock", "--allow-all", script];
  }
  return [process.execPath, ...process.execArgv.filter((flag) => !flag.startsWith("--inspect")), script];
}

/** An executable that needs no script: Node's repeats its own name in the script's place. */
function isOneFile(script: string): boolean {
  const deno = (globalThis as { Deno?: { build?: { standalone?: boolean } } }).Deno;
  return script === process.argv0 || deno?.build?.standalone === true;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
