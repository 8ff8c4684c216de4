import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../../scripts/build-worker.ts";

export interface CliRun {
  child: ChildProcess;
  /** What was written so far. */
  written: () => { stdout: string; stderr: string };
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

/** The command line as an operator has it: a home of its own, a directory of its own, and no other settings. */
export class RailwayCli {
  readonly home: string;
  readonly directory: string;
  readonly env: Record<string, string>;

  private constructor(root: string, directory: string, env: Record<string, string>) {
    this.home = root;
    this.directory = directory;
    this.env = { PATH: process.env["PATH"] ?? "", HOME: root, ...env };
  }

  static async create(env: Record<string, string>): Promise<RailwayCli> {
    const home = await mkdtemp(join(tmpdir(), "signalbox-cli-"));
    // Nothing above is looked at.
    const directory = await mkdtemp(join(home, "app-"));
    return new RailwayCli(home, directory, env);
  }

  async configure(config: unknown): Promise<void> {
    const text = typeof config === "string" ? config : JSON.stringify(config);
    await writeFile(join(this.directory, "signalbox.json"), text);
  }

  start(args: string[], env: Record<string, string> = {}): CliRun {
    return this.#spawn(process.execPath, [join(projectRoot, "scripts/cli/index.ts"), ...args], env);
  }

  async run(
    args: string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; stdout: string; stderr: string }> {
    return this.start(args, env).ended;
  }

  /** The same in a pseudo-terminal; both streams arrive as one. */
  async runInTerminal(
    args: string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; text: string }> {
    const words = [process.execPath, join(projectRoot, "scripts/cli/index.ts"), ...args];
    const command = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
    const { code, stdout } = await this.#spawn("script", ["-qec", command, "/dev/null"], {
      TERM: "xterm",
      ...env,
    }).ended;
    return { code, text: stdout.replaceAll("\r\n", "\n") };
  }

  async remove(): Promise<void> {
    await rm(this.home, { recursive: true, force: true });
  }

  #spawn(file: string, args: string[], env: Record<string, string>): CliRun {
    const child = spawn(file, args, {
      cwd: this.directory,
      env: { ...this.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const written = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (written.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (written.stderr += text));
    const ended = once(child, "close").then(([code]: unknown[]) => ({
      code: typeof code === "number" ? code : null,
      ...written,
    }));
    return { child, written: () => written, ended };
  }
}
