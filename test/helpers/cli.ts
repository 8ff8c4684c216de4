import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { cliFile } from "./build-worker.ts";

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command line under way. */
export interface CliProcess {
  child: ChildProcess;
  /** What it has written so far; in a terminal without control characters. */
  output(): string;
  /** With control characters. */
  raw(): string;
  ended: Promise<CliResult>;
}

/** A person's machine: a home, settings, and the programs to run `signalbox` on it. */
export class Operator {
  readonly directory: string;
  /** The file that is run. */
  readonly entry = cliFile;
  readonly #env: Record<string, string>;

  private constructor(directory: string, env: Record<string, string>) {
    this.directory = directory;
    this.#env = env;
  }

  /** `local`: what `npm start` would have left in this home. */
  static async create(local: { url: string; controlToken: string } | null): Promise<Operator> {
    const directory = await mkdtemp(join(tmpdir(), "signalbox-operator-"));
    const home = join(directory, "local");
    await mkdir(home);
    if (local) await writeFile(join(home, "local.json"), JSON.stringify(local), { mode: 0o600 });
    return new Operator(directory, {
      PATH: process.env["PATH"] ?? "",
      HOME: directory,
      SIGNALBOX_HOME: home,
      TERM: "xterm-256color",
    });
  }

  /** Runs with pipes on all sides, to its end. */
  run(args: string[], options: CliOptions = {}): Promise<CliResult> {
    return this.start(args, options).ended;
  }

  start(args: string[], options: CliOptions = {}): CliProcess {
    return this.#spawn(process.execPath, [this.entry, ...args], options, (text) => text);
  }

  /** Runs in a pseudo-terminal of a hundred columns; what is typed comes from `input`. */
  inTerminal(args: string[], options: CliOptions = {}): CliProcess {
    const words = [process.execPath, this.entry, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
    const line = `stty cols 100 rows 40; exec ${words.join(" ")}`;
    return this.#spawn("script", ["-qec", line, "/dev/null"], options, stripVTControlCharacters);
  }

  /** Runs a shell's command line. */
  shell(line: string): Promise<CliResult> {
    return this.#spawn("sh", ["-c", line], { input: "" }, (text) => text).ended;
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  #spawn(program: string, args: string[], options: CliOptions, clean: (text: string) => string): CliProcess {
    const child = spawn(program, args, {
      cwd: options.cwd ?? this.directory,
      env: { ...this.#env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    // It may have ended without reading.
    child.stdin.on("error", () => undefined);
    if (options.input !== undefined) child.stdin.end(options.input);
    const ended = once(child, "close").then(([code]: unknown[]) => ({
      code: typeof code === "number" ? code : null,
      stdout: clean(stdout),
      stderr: clean(stderr),
    }));
    return { child, output: () => clean(stdout + stderr), raw: () => stdout + stderr, ended };
  }
}

export interface CliOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** All of standard input; without it, that stays open. */
  input?: string;
}

/** The JSON documents of a piped run, one for each line. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
