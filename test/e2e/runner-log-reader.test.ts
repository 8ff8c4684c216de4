import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build-worker.ts";

test("a runner whose log nobody reads any more still stops when it is told to", async () => {
  const workspace = await mkdtemp(join(tmpdir(), "signalbox-runner-"));
  const child = spawn(process.execPath, [join(projectRoot, "runner/index.ts"), "runner"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      RUNNER_ID: "unread",
      RUNNER_SHARED_SECRET: "a-secret-for-this-test",
      // Nothing listens there, so that it has something to log.
      RUNNER_BROKER_URL: "ws://127.0.0.1:1/_signalbox/socket",
      API_BASE_URL: "http://127.0.0.1:1",
      WORKSPACE_ROOT: workspace,
      HEALTH_PORT: "0",
      NODE_ENV: "production",
    },
  });
  const exited = once(child, "exit", { signal: AbortSignal.timeout(30_000) });
  try {
    await once(child.stdout, "data");
    child.stdout.destroy();
    child.stderr.destroy();
    // Long enough for the connection's first attempts and what is logged of them.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
    await rm(workspace, { recursive: true, force: true });
  }
});
