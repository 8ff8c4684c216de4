import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { printable } from "../../functions/protocol/printable.ts";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { NODE_FLAGS } from "../build/node-flags.ts";
import { projectRoot } from "../build/worker.ts";
import { GuardedProcess } from "./guarded-process.ts";
import { upload } from "../cli/deploy/upload.ts";
import type { Upload } from "../client/control-client.ts";
import { packExample } from "./example-source.ts";
import type { Stack } from "./stack.ts";

export const LOCAL_RUNNER = "local";
const ONLINE_TIMEOUT_MS = 30_000;
/** Less than a guarded process gets to end by itself. */
const DRAIN_TIMEOUT_MS = 3_000;
/** Of what it wrote, to say why it ended. */
const LAST_LINES = 8;

export interface LocalRunner {
  /** Resolves when the edge can place something on it; rejects, with the runner stopped, if it ends or takes too long. */
  online: Promise<void>;
  /** With what code it ended, and what it said last. */
  exited: Promise<string>;
  /** What it said last. */
  lastLines(): readonly string[];
  stop(): Promise<void>;
}

/** Starts the runner that comes with the local stack. The caller stops it, also while it isn't online yet. */
export function startLocalRunner(stack: Stack, home: string): LocalRunner {
  const runner = [...NODE_FLAGS, join(projectRoot, "runner/index.ts"), "runner"];
  const workspace = join(home, "workspace");
  const network = pick(process.env, networkVariables);
  const guarded = new GuardedProcess(process.execPath, runner, {
    env: {
      // Installs have to reach what `npm ci` reaches here, also by a proxy that asks for a password.
      ...network,
      RUNNER_INHERIT_ENV: Object.keys(network).join(","),
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? home,
      RUNNER_ID: LOCAL_RUNNER,
      RUNNER_SHARED_SECRET: stack.secrets.runnerSharedSecret,
      RUNNER_BROKER_URL: `ws://127.0.0.1:${stack.workerd.port}/_signalbox/socket`,
      API_BASE_URL: stack.url,
      WORKSPACE_ROOT: workspace,
      RUNNER_DRAIN_TIMEOUT: String(DRAIN_TIMEOUT_MS),
    },
    stdout: "pipe",
  });
  const lines: string[] = [];
  for (const stream of [guarded.child.stdout, guarded.child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(printable(line));
      lines.splice(0, lines.length - LAST_LINES);
    });
  }
  const exited = once(guarded.child, "close").then(([code]: unknown[]) =>
    [`the local runner, whose workspace is ${workspace}, ended with code ${String(code)}`, ...lines].join(
      "\n  ",
    ),
  );
  const died = exited.then((how) => {
    throw new Error(how);
  });
  died.catch(() => undefined);
  const online = Promise.race([isOnline(stack), died]).catch(async (error: unknown) => {
    await guarded.stop();
    throw error;
  });
  return { online, exited, lastLines: () => lines, stop: () => guarded.stop() };
}

/** Puts the example's source on the local runner; returns what a deployment names it by. */
export async function uploadExample({ control }: Stack): Promise<{ sha256: string }> {
  const archive = await packExample();
  try {
    const send = async (bytes: Upload): Promise<string> =>
      (await control.uploadToRunner(LOCAL_RUNNER, bytes)).sha256;
    await upload(send, archive, () => undefined);
    return { sha256: archive.sha256 };
  } finally {
    archive.remove();
  }
}

async function isOnline({ control }: Stack): Promise<void> {
  const deadline = Date.now() + ONLINE_TIMEOUT_MS;
  for (;;) {
    const runner = await control.call("GET", `/runners/${LOCAL_RUNNER}`).catch(() => null);
    if (JSON.stringify(runner)?.includes('"state":"online"')) return;
    if (Date.now() > deadline) throw new Error("The local runner didn't connect in time.");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
