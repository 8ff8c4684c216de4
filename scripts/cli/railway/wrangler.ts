import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { Failure } from "../failure.ts";

const CONFIG_FILES = ["wrangler.toml", "wrangler.json", "wrangler.jsonc"];

/** The directory of the Worker: the nearest with a wrangler configuration, from here or from this program upward. */
export function workerDirectory(cwd: string): string {
  const found = workerConfiguredAt(cwd) ?? workerConfiguredAt(dirname(fileURLToPath(import.meta.url)));
  if (found !== null) return found;
  throw new Failure(
    "usage",
    "no_worker",
    `There is no wrangler.toml in ${cwd} or above it. Run --apply in a directory that signalbox init-worker made, or in a clone.`,
  );
}

/** The nearest directory with a wrangler configuration, upward; null: none has one. */
export function workerConfiguredAt(directory: string): string | null {
  for (let at = directory; ; at = dirname(at)) {
    if (CONFIG_FILES.some((file) => existsSync(join(at, file)))) return at;
    if (dirname(at) === at) return null;
  }
}

export interface WranglerRun {
  directory: string;
  env: Record<string, string | undefined>;
  signal: AbortSignal;
  /** Where wrangler's own output goes. */
  output: (text: string) => void;
}

/** Hands settings over on standard input: never on a command line, never in a file of their own. */
export async function putSecrets(run: WranglerRun, secrets: Record<string, string>): Promise<void> {
  await wrangler(run, ["secret", "bulk"], { stdin: JSON.stringify(secrets) });
}

export async function deployWorker(run: WranglerRun): Promise<void> {
  await wrangler(run, ["deploy"]);
}

const listed = z.array(z.object({ name: z.string() }));

/** The names of the secrets that the Worker has; none while there is no Worker. */
export async function listSecrets(run: WranglerRun): Promise<string[]> {
  const args = ["secret", "list", "--format", "json"];
  const { code, stdout, stderr } = await wrangler(run, args, { quiet: true });
  if (code !== 0 && /Worker ".*" not found|\[code: 10007\]/.test(stdout + stderr)) return [];
  const parsed = code === 0 ? listed.safeParse(jsonOf(stdout)) : null;
  if (parsed?.success) return parsed.data.map(({ name }) => name);
  run.output(stdout + stderr);
  throw new Failure(
    "failed",
    "wrangler_failed",
    `npx wrangler ${args.join(" ")} in ${run.directory} didn't list the Worker's secrets; its output is above. ` +
      "Is wrangler logged in? See npx wrangler whoami.",
  );
}

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function wrangler(
  { directory, env, signal, output }: WranglerRun,
  args: string[],
  { stdin = "", quiet = false }: { stdin?: string; quiet?: boolean } = {},
): Promise<Ended> {
  const what = `npx wrangler ${args.join(" ")}`;
  const child = spawn("npx", ["wrangler", ...args], { cwd: directory, env, signal });
  const ended: Ended = { code: null, stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      if (quiet) ended[name] += text;
      else output(text);
    });
  }
  // A child that ended before it read everything says why by its exit code.
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  const [code]: unknown[] = await once(child, "close").catch((error: unknown) => {
    if (signal.aborted) throw new Failure("interrupted", "interrupted", `${what} was interrupted.`);
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("failed", "wrangler_failed", `${what} couldn't be started: ${why}.`);
  });
  ended.code = typeof code === "number" ? code : null;
  if (ended.code === 0 || quiet) return ended;
  const how = ended.code === null ? "a signal" : `code ${ended.code}`;
  throw new Failure(
    "failed",
    "wrangler_failed",
    `${what} in ${directory} ended with ${how}; its output is above. The rest is done: go on with signalbox scaffold --resume --apply.`,
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // shown as it is, since it isn't the list
  }
}
