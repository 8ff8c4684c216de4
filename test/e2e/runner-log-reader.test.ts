import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { until } from "../helpers/stack.ts";

test("a runner whose log nobody reads any more still stops when it is told to", async () => {
  let attempts = 0;
  // Hangs up on each of them, so that the runner has something to log.
  const broker = createServer((socket) => {
    attempts += 1;
    socket.on("error", () => undefined).destroy();
  });
  await once(broker.listen(0, "127.0.0.1"), "listening");
  const { port } = broker.address() as AddressInfo;
  const workspace = await mkdtemp(join(tmpdir(), "signalbox-runner-"));
  const child = spawn(process.execPath, [join(projectRoot, "runner/index.ts"), "runner"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      RUNNER_ID: "unread",
      RUNNER_SHARED_SECRET: "a-secret-for-this-test",
      RUNNER_BROKER_URL: `ws://127.0.0.1:${port}/_signalbox/socket`,
      API_BASE_URL: "http://127.0.0.1:1",
      WORKSPACE_ROOT: workspace,
      HEALTH_PORT: "0",
      NODE_ENV: "production",
    },
  });
  const exited = once(child, "exit", { signal: AbortSignal.timeout(100_000) });
  try {
    await once(child.stdout, "data");
    child.stdout.destroy();
    child.stderr.destroy();
    const unread = attempts;
    // Each but the last has been logged.
    await until(
      () => attempts,
      (count) => count >= unread + 3,
    );
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
    broker.close();
    await rm(workspace, { recursive: true, force: true });
  }
});
