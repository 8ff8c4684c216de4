import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar/fs";
import { projectRoot } from "../../scripts/build/worker.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, type TestStack, until } from "./stack.ts";

const RUNNER_ID = "hosting-runner";

/** A real runner in a process of its own, connected to a stack. */
export interface HostingRunner {
  /** Puts a directory's content where deployments find it; returns the source's SHA-256. */
  upload(directory: string): Promise<string>;
  /** Where a deployment's files are. */
  workDirectory(app: string, id: string): string;
  stop(): Promise<void>;
}

/** Its workspace lies in the repository, so that what it hosts finds the repository's node_modules. */
export async function startHostingRunner(stack: TestStack): Promise<HostingRunner> {
  await mkdir(join(projectRoot, "dist/test"), { recursive: true });
  const workspace = await mkdtemp(join(projectRoot, "dist/test/workspace-"));
  const child = spawn(process.execPath, [join(projectRoot, "runner/index.ts"), "runner"], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      PATH: process.env["PATH"],
      RUNNER_ID,
      RUNNER_SHARED_SECRET: RUNNER_SECRET,
      RUNNER_BROKER_URL: `ws://127.0.0.1:${stack.port}/_signalbox/socket`,
      API_BASE_URL: stack.origin,
      WORKSPACE_ROOT: workspace,
      HEALTH_PORT: "0",
      NODE_ENV: "production",
    },
  });
  const exited = once(child, "exit");
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await exited;
    await rm(workspace, { recursive: true, force: true });
  };
  try {
    await until(
      async () => JSON.stringify((await stack.api("GET", "/runners")).body),
      (runners) => runners.includes('"online"'),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    async upload(directory) {
      const answer = await fetch(`${stack.origin}/_signalbox/api/v1/runners/${RUNNER_ID}/sources`, {
        method: "PUT",
        headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
        body: gzipSync(await buffer(packTar(directory))),
      });
      const text = await answer.text();
      const stored: unknown = JSON.parse(text);
      if (typeof stored !== "object" || stored === null || !("sha256" in stored)) throw new Error(text);
      return String(stored.sha256);
    },
    workDirectory: (app, id) => join(workspace, ".signalbox/deployments", app, id, "work"),
    stop,
  };
}
