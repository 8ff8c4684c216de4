import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { gitSettings } from "../../runner/git/remote.ts";
import { MARKER_VARIABLE } from "../../runner/processes/environment.ts";
import { processesWith } from "../helpers/program.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

test("a git of a killed runner is ended by the next one", async (context) => {
  const root = await mkdtemp(join(tmpdir(), "signalbox-git-kill-"));
  context.onTestFinished(() => rm(root, { recursive: true, maxRetries: 5 }));
  // Takes connections and says nothing.
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on("error", () => undefined)));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  context.onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const options = {
    root,
    git: { ...gitSettings, protocols: ["http" as const] },
    confinement: { level: "none" as const },
  };
  const start = async (): Promise<UnconnectedRunner> => {
    const runner = await UnconnectedRunner.start(options);
    context.onTestFinished(() => runner.stop());
    return runner;
  };
  const first = await start();
  await first.json("PUT", "/projects/shop", { name: "Shop", agent: null });
  const remote = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/shop.git`;
  await first.json("PUT", "/projects/shop/git", { remote, branch: "main", pushAfterBuild: false });
  const synced = first.json("POST", "/projects/shop/git/sync").catch(() => null);
  await until("git has connected", () => sockets.length > 0);
  const gits = (): number[] => processesWith(`${MARKER_VARIABLE}=`, `${root}/.signalbox/projects/shop/git`);
  expect(gits().length).toBeGreaterThan(0);
  await first.kill();
  await synced;
  expect(gits().length).toBeGreaterThan(0);
  await start();
  expect(gits()).toEqual([]);
  expect(await readdir(join(root, ".signalbox/processes"))).toEqual([]);
});
