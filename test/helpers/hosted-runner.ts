import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";
import { MARKER_VARIABLE } from "../../runner/processes/environment.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, until, type TestStack } from "./stack.ts";

/** How a runner starts this project's app for tests, whatever its source is. */
export const TUNNEL_APP = `exec "${process.execPath}" "${join(projectRoot, "test/helpers/tunnel-app.ts")}"`;

export interface RunnerProcess {
  readonly id: string;
  readonly workspace: string;
  /** What it has written so far. */
  output(): string;
  /** Starts it again after it has ended, with other settings if there are any, and waits until it is online. */
  start(env?: Record<string, string>): Promise<void>;
  /** SIGTERM, and the orderly end. */
  stop(): Promise<void>;
  /** SIGKILL: what it hosts stays behind. */
  kill(): Promise<void>;
  residentMiB(): number;
  /** Of `hasty-runner` only: what is in use after a full collection. */
  liveMiB(): Promise<number>;
  /** What runs on its account: processes with its marker, by their ids. */
  hosted(): number[];
  /** Ends it and everything that it hosts, and deletes its workspace. */
  remove(): Promise<void>;
}

export interface RunnerProcessOptions {
  id: string;
  /** Where it connects; by default the stack itself. */
  port?: number;
  /** The module that it runs, from the project's root or anywhere. */
  entry?: string;
  /** The program that it runs instead of a module. */
  executable?: string;
  env?: Record<string, string>;
}

export async function startRunner(stack: TestStack, options: RunnerProcessOptions): Promise<RunnerProcess> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-runner-"));
  const workspace = join(root, "workspace");
  const { id, entry = "runner/index.ts" } = options;
  let running: GuardedProcess | null = null;
  let output = "";

  const isGone = (): boolean => running === null || running.child.exitCode !== null;
  const runner: RunnerProcess = {
    id,
    workspace,
    output: () => output,
    async start(env = {}) {
      const { epoch } = await viewRunner(stack, id);
      const [program, ...modules] =
        options.executable === undefined
          ? [process.execPath, resolve(projectRoot, entry)]
          : [options.executable];
      const child = new GuardedProcess(program, [...modules, "runner"], {
        stdout: "pipe",
        env: {
          PATH: process.env["PATH"] ?? "",
          HOME: root,
          NODE_ENV: "production",
          RUNNER_ID: id,
          RUNNER_SHARED_SECRET: RUNNER_SECRET,
          RUNNER_BROKER_URL: `ws://127.0.0.1:${options.port ?? stack.port}/_signalbox/socket`,
          ANTHROPIC_API_KEY: "agent-key-for-tests",
          WORKSPACE_ROOT: workspace,
          HEALTH_PORT: "0",
          ...options.env,
          ...env,
        },
      });
      running = child;
      for (const stream of [child.child.stdout, child.child.stderr]) {
        stream?.setEncoding("utf8").on("data", (text: string) => {
          output = (output + text).slice(-64 * 1024);
        });
      }
      await until(
        async () => {
          if (isGone()) throw new Error(`Runner ${id} ended: ${output}`);
          return viewRunner(stack, id);
        },
        (seen) => seen.connected && seen.state !== "connecting" && seen.epoch > epoch,
      );
    },
    async stop() {
      if (running === null) return;
      running.child.kill("SIGTERM");
      if (!isGone()) await running.exited;
      running = null;
    },
    async kill() {
      if (running === null) return;
      await running.kill();
      running = null;
    },
    residentMiB: () => residentMiB(commandOf(running?.child.pid ?? 0)),
    async liveMiB() {
      output = output.replaceAll("[live", "[formerly live");
      process.kill(commandOf(running?.child.pid ?? 0), "SIGUSR2");
      const told = await until(
        () => /\[live bytes (\d+)\]/.exec(output),
        (found) => found !== null,
      );
      return Number(told?.[1]) / 1024 ** 2;
    },
    hosted: () => hostedBy(workspace),
    async remove() {
      await runner.kill();
      for (const pid of hostedBy(workspace)) endNow(pid);
      await until(
        () => hostedBy(workspace),
        (pids) => pids.length === 0,
      );
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    await runner.start();
  } catch (error) {
    await runner.remove();
    throw error;
  }
  return runner;
}

const runnerState = z.object({
  id: z.string(),
  state: z.string(),
  connected: z.boolean(),
  epoch: z.number(),
});
export type RunnerState = z.infer<typeof runnerState>;

export async function viewRunner(stack: TestStack, id: string): Promise<RunnerState> {
  const { status, body } = await stack.api("GET", `/runners/${id}`);
  if (status === 404) return { id, state: "unknown", connected: false, epoch: 0 };
  return runnerState.parse(body);
}

/** A gzip tar of a directory, or of texts by their paths. */
export async function archiveOf(source: string | Record<string, string>): Promise<Buffer> {
  const texts = typeof source === "string" ? await readTexts(source) : source;
  const entries = Object.entries(texts).map(([name, body]) => ({
    header: { name, size: Buffer.byteLength(body), type: "file" as const },
    body,
  }));
  return gzipSync(await packTar(entries));
}

async function readTexts(directory: string): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    if ((await stat(path)).isFile()) texts[name] = await readFile(path, "utf8");
  }
  return texts;
}

const uploaded = z.object({ sha256: z.string(), bytes: z.number() });

/** Uploads through the edge; answers the hash. */
export async function uploadSource(stack: TestStack, runnerId: string, archive: Buffer): Promise<string> {
  const { status, text } = await putSource(stack, runnerId, new Uint8Array(archive));
  if (status !== 200) throw new Error(`Uploading to ${runnerId}: ${status} ${text}`);
  return uploaded.parse(JSON.parse(text)).sha256;
}

export async function putSource(
  stack: TestStack,
  runnerId: string,
  body: NonNullable<RequestInit["body"]>,
  type = "application/gzip",
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/runners/${runnerId}/sources`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": type },
    body,
    duplex: "half",
  });
  return { status: response.status, text: await response.text() };
}

/** Begins a deployment of a source on a runner. */
export async function deploy(
  stack: TestStack,
  app: string,
  id: string,
  target: Record<string, unknown> & { sha256: string },
): Promise<void> {
  const { sha256, ...rest } = target;
  const { status, body } = await stack.api("POST", `/apps/${app}/deployments`, {
    id,
    target: { kind: "runner", source: { sha256 }, start: TUNNEL_APP, ...rest },
  });
  if (status !== 202) throw new Error(`Deploying ${id}: ${JSON.stringify(body)}`);
}

/** Uploads a source that hardly matters and deploys the app for tests; returns once it serves. */
export async function deployTunnelApp(
  stack: TestStack,
  runner: Pick<RunnerProcess, "id">,
  app: string,
  id: string,
  more: Record<string, unknown> = {},
): Promise<void> {
  const sha256 = await uploadSource(
    stack,
    runner.id,
    await archiveOf({ "README.md": "An app for tests.\n" }),
  );
  await deploy(stack, app, id, { sha256, runnerId: runner.id, ...more });
  await stack.control.until(app, id, ["active"], 60_000);
}

/** The command behind a GuardedProcess, whose own process is a shell. */
export function commandOf(guard: number): number {
  const [first = ""] = readFileSync(`/proc/${guard}/task/${guard}/children`, "utf8").split(" ");
  return Number(first);
}

export function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

function hostedBy(workspace: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const environment = read(`/proc/${pid}/environ`);
      return environment.includes(`${MARKER_VARIABLE}=`) && environment.includes(`=${workspace}/`);
    });
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the process has ended meanwhile
  }
}

function endNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
