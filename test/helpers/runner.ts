import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { MARKER_VARIABLE } from "../../runner/processes/environment.ts";
import { bundleRunner } from "../../scripts/build/runner.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { runnerFile } from "./build-worker.ts";
import { allocatedMiB, endNow, processesWith, Program, residentMiB } from "./program.ts";
import { TEST_LEVEL } from "./test-level.ts";
import { runtimePath } from "./runtimes.ts";
import { RUNNER_SECRET, until, type TestStack } from "./stack.ts";

export type Runtime = "node" | "deno";
export type Command = readonly [command: string, ...args: string[]];

/** The command that runs a bundle. */
export function runtimeCommand(runtime: Runtime, bundle: string): Command {
  return runtime === "node"
    ? [process.execPath, "--expose-gc", bundle]
    : [runtimePath("deno"), "run", "--no-config", "--allow-all", "--v8-flags=--expose-gc", bundle];
}

/** The runner with services by port, bundled as the runner is shipped. */
export async function bundleWithServices(): Promise<{ bundle: string; remove(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-bundle-"));
  const entry = join(projectRoot, "test/helpers/runner-programs/with-services.ts");
  return { bundle: await bundleRunner(directory, entry), remove: () => rm(directory, { recursive: true }) };
}

export interface RunnerOptions {
  id?: string;
  /** The program; by default the runner's bundle on Node. */
  command?: Command;
  args?: string[];
  env?: Record<string, string>;
  /** On a stack: another port to dial than the stack's own. */
  port?: number;
  /** Of the program with services: where each is. */
  services?: Record<string, number>;
  /** Where its home is made. */
  parent?: string;
}

/**
 * Starts a runner as a process of its own, with a workspace of its own. On a stack, returns once the edge shows it
 * online; on a hub of the test's own, at once.
 */
export async function startRunner(
  broker: TestStack | { url: string },
  options: RunnerOptions = {},
): Promise<RunnerProcess> {
  const home = await mkdtemp(join(options.parent ?? tmpdir(), "signalbox-runner-"));
  // Guests with users of their own have to get to their directories.
  await chmod(home, 0o711);
  const runner = new RunnerProcess(broker, options, home);
  try {
    await runner.start();
  } catch (error) {
    await runner.remove();
    throw error;
  }
  return runner;
}

export class RunnerProcess {
  readonly id: string;
  readonly workspace: string;
  readonly #broker: TestStack | { url: string };
  readonly #options: RunnerOptions;
  readonly #home: string;
  #program: Program | undefined;

  constructor(broker: TestStack | { url: string }, options: RunnerOptions, home: string) {
    this.id = options.id ?? "runner-under-test";
    this.workspace = join(home, "workspace");
    this.#broker = broker;
    this.#options = options;
    this.#home = home;
  }

  /** Starts it again after it has ended, with other settings if there are any. */
  async start(env: Record<string, string> = {}): Promise<void> {
    const broker = this.#broker;
    const { command, args = ["runner"], services = {} } = this.#options;
    const onStack = "api" in broker ? broker : null;
    const epoch = onStack === null ? 0 : (await viewRunner(onStack, this.id)).epoch;
    const [program, ...rest] = command ?? [process.execPath, runnerFile];
    const running = new Program([program, ...rest, ...args], {
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: this.#home,
        NODE_ENV: "production",
        RUNNER_ID: this.id,
        RUNNER_SHARED_SECRET: RUNNER_SECRET,
        RUNNER_BROKER_URL:
          "url" in broker
            ? broker.url
            : `ws://127.0.0.1:${this.#options.port ?? broker.port}/_signalbox/socket`,
        ANTHROPIC_API_KEY: "agent-key-for-tests",
        WORKSPACE_ROOT: this.workspace,
        HEALTH_PORT: "0",
        // The apps for tests are programs of this project.
        // What keeps guests has tests of its own; what they share with a test (files, /tmp) is simpler without.
        RUNNER_CONFINEMENT: TEST_LEVEL ?? "none",
        RUNNER_GUEST_PATHS: projectRoot,
        TEST_SERVICES: JSON.stringify(services),
        ...this.#options.env,
        ...env,
      },
    });
    this.#program = running;
    if (onStack === null) return;
    await until(
      async () => {
        if (running.isOver) throw new Error(`Runner ${this.id} ended: ${running.output()}`);
        return viewRunner(onStack, this.id);
      },
      (seen) => seen.connected && seen.state !== "connecting" && seen.epoch > epoch,
    );
  }

  /** The process as it was last started. */
  get program(): Program {
    if (this.#program === undefined) throw new Error(`Runner ${this.id} was never started.`);
    return this.#program;
  }

  get lines(): string[] {
    return this.program.lines;
  }

  get isOver(): boolean {
    return this.program.isOver;
  }

  get exited(): Promise<number | null> {
    return this.program.exited;
  }

  output(): string {
    return this.program.output();
  }

  line(fits: string | RegExp): Promise<string> {
    return this.program.line(fits);
  }

  signal(name: NodeJS.Signals): void {
    this.program.signal(name);
  }

  stop(): Promise<void> {
    return this.program.stop();
  }

  /** SIGKILL: what it hosts stays behind. */
  kill(): Promise<void> {
    return this.program.kill();
  }

  async healthUrl(): Promise<string> {
    const port = /\d+$/.exec(await this.line("Health endpoint listening on port"))?.[0];
    return `http://127.0.0.1:${port}`;
  }

  residentMiB(): number {
    return residentMiB(this.program.pid);
  }

  allocatedMiB(): number {
    return allocatedMiB(this.program.pid);
  }

  /** Of the hasty one only: what is in use after a full collection. */
  async liveMiB(): Promise<number> {
    const { lines } = this;
    const before = lines.length;
    this.signal("SIGUSR2");
    const told = await until(
      () => /\[live bytes (\d+)\]/.exec(lines.slice(before).join("\n")),
      (found) => found !== null,
    );
    return Number(told?.[1]) / 1024 ** 2;
  }

  /** What runs on its account: processes with its marker, by their ids. */
  hosted(): number[] {
    return processesWith(`${MARKER_VARIABLE}=`, `=${this.workspace}/`);
  }

  /** Where a deployment's files are. */
  workDirectory(app: string, id: string): string {
    return join(this.workspace, ".signalbox/deployments", app, id, "work");
  }

  /** Ends it and everything that it hosts, and deletes its workspace. */
  async remove(): Promise<void> {
    await this.#program?.kill();
    for (const pid of this.hosted()) endNow(pid);
    await until(
      () => this.hosted(),
      (pids) => pids.length === 0,
    );
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }
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
