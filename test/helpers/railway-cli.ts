import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Runnable } from "../../scripts/railway-stand-in/build.ts";
import type { RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { cliFile } from "./build-worker.ts";

/** What scaffold and ensure answer. */
export interface Outcome {
  project: { id: string; name: string };
  environment: { id: string; name: string };
  redis: string;
  changed: boolean;
  changes: { kind: string; text: string }[];
  secretsFile: string | null;
  nextSteps: string[];
}

export interface CliRefusal {
  code: string;
  message: string;
  exitCode: number;
}

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
    this.env = { PATH: process.env["PATH"] ?? "", ...env, HOME: root };
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

  /** The same operator in another directory. */
  in(directory: string): RailwayCli {
    return new RailwayCli(this.home, directory, this.env);
  }

  start(args: string[], env: Record<string, string> = {}): CliRun {
    return this.#spawn(process.execPath, [cliFile, ...args], env);
  }

  async run(
    args: string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; stdout: string; stderr: string }> {
    return this.start(args, env).ended;
  }

  /** What a command that succeeds says with `--json`. */
  async done<T = Outcome>(args: string[], env: Record<string, string> = {}): Promise<T> {
    const { code, stdout, stderr } = await this.run([...args, "--json"], env);
    if (code !== 0) throw new Error(`signalbox ${args.join(" ")} ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** The error of a command that doesn't, from its last line. */
  async refused(args: string[], env: Record<string, string> = {}): Promise<CliRefusal> {
    const { code, stdout, stderr } = await this.run([...args, "--json"], env);
    const { error } = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: CliRefusal };
    if (stdout !== "" || code !== error.exitCode) throw new Error(`${code}, ${stdout}, ${stderr}`);
    return error;
  }

  /** The same in a pseudo-terminal; both streams arrive as one. */
  async runInTerminal(
    args: string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; text: string }> {
    const words = [process.execPath, cliFile, ...args];
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

/** The fields of Railway's Mutation type that a stack is made with. */
const MUTATION =
  /(?:Create|Delete|Update|Upsert|Connect|DeployV2|Redeploy|Commit|CommitStaged|StageChanges)$/;

/** The calls so far that change something. */
export function mutations(railway: RailwayStandIn): string[] {
  return railway.faults.calls.flatMap(({ operations }) => operations).filter((name) => MUTATION.test(name));
}

export async function readSecretsFile({
  secretsFile,
}: Pick<Outcome, "secretsFile">): Promise<Record<string, string>> {
  return JSON.parse(await readFile(secretsFile ?? "", "utf8")) as Record<string, string>;
}

export const RUNNER_IMAGE = "example/runner:1";
export const OTHER_IMAGE = "example/runner:2";
/** Answers health checks, as the runner does. */
const healthy: Runnable = {
  command: [
    process.execPath,
    "-e",
    `require("node:http").createServer((_, answer) => answer.end("{}")).listen(process.env.PORT)`,
  ],
};
export const RUNNER_IMAGES: Record<string, Runnable> = { [RUNNER_IMAGE]: healthy, [OTHER_IMAGE]: healthy };
/** What a stack is made with. */
export const MAKE = ["--server", "https://edge.example.test", "--runner-image", RUNNER_IMAGE];
export const HERE = ["--project", "signalbox", "--environment", "production"];
