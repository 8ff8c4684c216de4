import { mkdtemp, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Workspace } from "../../runner/workspace.ts";
import { archive } from "../helpers/archive.ts";
import { processesWith } from "../helpers/program.ts";
import { server, until } from "../helpers/unconnected-runner.ts";

let root: string;
let workspace: Workspace;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-drain-"));
  workspace = await Workspace.open({ root, timing: { stopGraceMs: 500 } });
});
afterEach(async () => {
  await workspace.close();
  expect(processesWith(root)).toEqual([]);
  await rm(root, { recursive: true, force: true });
});

async function upload(): Promise<string> {
  const { data } = await archive({ "server.mjs": server("response.end('up')") });
  return (await workspace.sources.put(Readable.from([data]))).sha256;
}

const start = "node server.mjs";

test("a runner that shuts down takes no new deployment, brings up what it has accepted, and goes on serving", async () => {
  const { deployments } = workspace;
  const source = { sha256: await upload() };
  await deployments.put("shop/v1", { source, build: "sleep 0.3", start });
  expect(deployments.lookup("shop/v1")).toBeNull();
  const settled = deployments.settle();
  await expect(deployments.put("shop/v2", { source, start })).rejects.toMatchObject({ code: "draining" });
  expect(await deployments.put("shop/v1", { source, build: "sleep 0.3", start })).toMatchObject({ id: "v1" });
  await settled;
  const found = deployments.lookup("shop/v1");
  expect(await (await fetch(`http://127.0.0.1:${found?.port}/`)).text()).toBe("up");
  expect(deployments.lookup("shop/v2")).toBeNull();
  expect(deployments.lookup("../shop/v1")).toBeNull();
});

test("a runner that an operator drains takes no new deployment until that is lifted, and keeps those it has", async () => {
  const { deployments } = workspace;
  const source = { sha256: await upload() };
  await deployments.put("shop/v1", { source, start });
  deployments.setDrained(true);
  await expect(deployments.put("shop/v2", { source, start })).rejects.toMatchObject({
    code: "draining",
    message: "An operator drains this runner: it takes no new deployments.",
  });
  expect(await deployments.put("shop/v1", { source, start })).toMatchObject({ id: "v1" });
  await until("it serves", () => deployments.lookup("shop/v1"));
  await deployments.restart("shop/v1");
  await until("it serves again", () => deployments.lookup("shop/v1"));
  deployments.setDrained(false);
  expect(await deployments.put("shop/v2", { source, start })).toMatchObject({ id: "v2" });
});

test("a closed runner's deployments come back with the next one, the failed ones still failed", async () => {
  const source = { sha256: await upload() };
  await workspace.deployments.put("shop/good", { source, start });
  await workspace.deployments.put("shop/bad", { source, build: "exit 1", start });
  await workspace.deployments.settle();
  await workspace.close();
  expect(processesWith(root)).toEqual([]);
  workspace = await Workspace.open({ root, timing: { stopGraceMs: 500 } });
  await until("it is back", () => workspace.deployments.lookup("shop/good"));
  expect(workspace.deployments.status("shop/bad")).toMatchObject({
    state: "failed",
    reason: "The build exited with code 1",
  });
});

test("sources that nothing refers to may be evicted once they are old, those of deployments never", async () => {
  await workspace.close();
  workspace = await Workspace.open({ root, sourceKeptMs: 0 });
  const source = { sha256: await upload() };
  const { data, sha256: unused } = await archive({ "unused.txt": "unused" });
  await workspace.sources.put(Readable.from([data]));
  await workspace.deployments.put("shop/v1", { source, start });
  const evictables = await workspace.sources.evictables();
  expect(evictables.map(({ path }) => path)).toEqual([expect.stringContaining(unused)]);
  for (const evictable of evictables) await evictable.evict();
  expect(await workspace.sources.list()).toMatchObject([source]);
  await workspace.deployments.settle();
});

test("sources that nothing has referred to for a week go, however long the runner runs", async () => {
  await workspace.close();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    workspace = await Workspace.open({ root });
    const sha256 = await upload();
    const then = new Date(Date.now() - 8 * 24 * 60 * 60 * 1_000);
    await utimes(join(root, ".signalbox", "sources", `${sha256}.tgz`), then, then);
    vi.advanceTimersByTime(24 * 60 * 60 * 1_000);
    await until("it is gone", async () => (await workspace.sources.find(sha256)) === null);
  } finally {
    vi.useRealTimers();
  }
});
