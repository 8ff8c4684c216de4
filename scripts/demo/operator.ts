import { join } from "node:path";
import { text } from "node:stream/consumers";
import { projectRoot } from "../build/worker.ts";
import { GuardedProcess } from "../local/guarded-process.ts";

/** Somebody at a shell of their own, with the command line and nothing else. */
export class Operator {
  readonly #directory: string;
  readonly #env: Record<string, string>;

  /** `directory` is home and working directory. */
  constructor(directory: string, env: Record<string, string>) {
    this.#directory = directory;
    this.#env = { PATH: process.env["PATH"] ?? "", HOME: directory, ...env };
  }

  /** Runs `signalbox …` and answers what it says with `--json`, its last line if it says several. */
  async signalbox(...args: string[]): Promise<Record<string, unknown>> {
    const entry = join(projectRoot, "scripts/cli/index.ts");
    const run = new GuardedProcess(process.execPath, [entry, ...args, "--json"], {
      cwd: this.#directory,
      env: this.#env,
      stdout: "pipe",
    });
    const { stdout, stderr } = run.child;
    if (!stdout || !stderr) throw new Error("The command's output isn't piped.");
    const [said, complained, code] = await Promise.all([text(stdout), text(stderr), run.exited]);
    if (code !== 0) throw new Error(`signalbox ${args.join(" ")} ended with ${code}: ${complained.trim()}`);
    const parsed: unknown = JSON.parse(documentOf(said));
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : {};
  }
}

/** One document, or one on each line, of which the last is the result. */
function documentOf(said: string): string {
  const last = said.trim().split("\n").at(-1) ?? "";
  return last.startsWith("{") ? last : said;
}
