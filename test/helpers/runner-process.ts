import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../../scripts/build/worker.ts";
import { bundleRunner } from "../../scripts/build/runner.ts";
import { RUNNER_SECRET } from "./hub-client.ts";

export type Runtime = "node" | "deno";

/** The command that runs a bundle. */
export function runtimeCommand(runtime: Runtime, bundle: string): [command: string, ...args: string[]] {
  const installed = (name: string): string => join(projectRoot, "node_modules/.bin", name);
  return runtime === "node"
    ? [process.execPath, "--expose-gc", bundle]
    : [installed("deno"), "run", "--no-config", "--allow-all", "--v8-flags=--expose-gc", bundle];
}

/** The runner with the fixture's services, bundled as it is shipped. */
export async function bundleFixture(): Promise<{ bundle: string; remove(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-fixture-"));
  const bundle = await bundleRunner(directory, join(projectRoot, "test/helpers/runner-fixture.ts"));
  return { bundle, remove: () => rm(directory, { recursive: true }) };
}

export interface RunnerProcess {
  child: ChildProcess;
  /** Lines of stdout and stderr so far. */
  lines: string[];
  workspace: string;
  /** The first line that fits, which may have been written already. */
  line(fits: string | RegExp): Promise<string>;
  healthUrl(): Promise<string>;
  /** Resident memory in MiB. */
  residentMiB(): number;
  exited: Promise<number | null>;
  /** Ends it as a power cut would, and removes its workspace. */
  remove(): Promise<void>;
}

export async function startRunner(options: {
  command: readonly [command: string, ...args: string[]];
  args?: string[];
  brokerUrl: string;
  services?: Record<string, number>;
  env?: Record<string, string>;
}): Promise<RunnerProcess> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-runner-"));
  const workspace = join(root, "workspace");
  const [command, ...args] = options.command;
  const child = spawn(command, [...args, ...(options.args ?? ["runner"])], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: root,
      NODE_ENV: "production",
      RUNNER_ID: "runner-under-test",
      RUNNER_SHARED_SECRET: RUNNER_SECRET,
      RUNNER_BROKER_URL: options.brokerUrl,
      WORKSPACE_ROOT: workspace,
      HEALTH_PORT: "0",
      TEST_SERVICES: JSON.stringify(options.services ?? {}),
      ...options.env,
    },
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      for (const wake of waiting) wake();
      waiting.clear();
    });
  }
  const exited = once(child, "close").then(([code]: unknown[]) => {
    for (const wake of waiting) wake();
    return typeof code === "number" ? code : null;
  });
  const line = async (fits: string | RegExp): Promise<string> => {
    for (;;) {
      const found = lines.find((candidate) =>
        typeof fits === "string" ? candidate.includes(fits) : fits.test(candidate),
      );
      if (found !== undefined) return found;
      if (child.exitCode !== null) throw new Error(`The runner ended without ${fits}: ${lines.join("\n")}`);
      await new Promise<void>((resolve) => waiting.add(resolve));
    }
  };
  return {
    child,
    lines,
    workspace,
    line,
    exited,
    async healthUrl() {
      const port = /\d+$/.exec(await line("Health endpoint listening on port"))?.[0];
      return `http://127.0.0.1:${port}`;
    },
    residentMiB() {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
    },
    async remove() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
      await rm(root, { recursive: true, force: true });
    },
  };
}
