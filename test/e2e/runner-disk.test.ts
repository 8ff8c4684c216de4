import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { processesWith } from "../helpers/program.ts";
import { UnconnectedRunner, server, until } from "../helpers/unconnected-runner.ts";
import { Disk, type DiskStatus } from "../../runner/workspaces/disk.ts";
import { Trash } from "../../runner/workspaces/trash.ts";
import { Workspaces } from "../../runner/workspaces/workspaces.ts";

const MIB = 1024 * 1024;
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** A file system of 200 MB of its own; null where this user may not mount one. */
async function smallDisk(): Promise<string | null> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-disk-"));
  cleanups.push(() => rm(root, { recursive: true, force: true }));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=200m", "tmpfs", root], { stdio: "ignore" });
  } catch {
    return null;
  }
  cleanups.push(() => void execFileSync("umount", ["-l", root]));
  return root;
}

const kinds = [
  { name: "a file system of 200 MB", quotaBytes: undefined },
  { name: "a quota of 200 MB", quotaBytes: 200 * MIB },
];

async function fill(path: string, bytes: number): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, Buffer.alloc(bytes, 1));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

describe.each(kinds)("on $name", ({ quotaBytes }) => {
  async function root(): Promise<string> {
    const mounted = quotaBytes === undefined ? await smallDisk() : null;
    if (mounted !== null) return mounted;
    const directory = await mkdtemp(join(tmpdir(), "signalbox-disk-"));
    cleanups.push(() => rm(directory, { recursive: true, force: true }));
    return directory;
  }

  test("new work is refused before the disk is full, caches of idle projects go first, sources never, and it recovers", async ({
    skip,
  }) => {
    const directory = await root();
    if (quotaBytes === undefined && (await Disk.open({ root: directory }).then(freeOf)) > 300 * MIB) {
      skip("this user may not mount a file system");
    }
    await mkdir(join(directory, ".signalbox"));
    const trash = await Trash.open(join(directory, ".signalbox", "trash"));
    const workspaces = await Workspaces.open(directory, trash, 1_000);
    const disk = await Disk.open({ root: directory, quotaBytes });
    cleanups.push(() => disk.close());
    disk.addEvictor(() => workspaces.evictables());
    for (const slug of ["old", "older", "busy"]) {
      await mkdir(join(directory, slug));
      await fill(join(directory, slug, "src", "app.ts"), MIB);
      await fill(join(directory, slug, "node_modules", "big"), 40 * MIB);
      if (slug === "older") await fill(join(directory, slug, "packages", "ui", "node_modules", "x"), 4 * MIB);
      const age = Date.now() / 1_000 - (slug === "older" ? 7_200 : 3_600);
      await utimes(join(directory, slug), age, age);
    }
    const release = workspaces.use("busy");

    const room = await disk.reserve(30 * MIB);
    expect((await disk.status()).evictions).toBe(0);
    room.release();

    const more = await disk.reserve(60 * MIB);
    // The longest unused project's caches went, all of them, and nothing else.
    expect(await exists(join(directory, "older", "node_modules"))).toBe(false);
    expect(await exists(join(directory, "busy", "node_modules"))).toBe(true);
    await expect(disk.reserve(100 * MIB)).rejects.toMatchObject({ code: "disk_full" });
    expect(await exists(join(directory, "old", "node_modules"))).toBe(false);
    expect(await exists(join(directory, "busy", "node_modules"))).toBe(true);
    for (const slug of ["old", "older", "busy"]) {
      expect(await exists(join(directory, slug, "src", "app.ts"))).toBe(true);
    }
    more.release();

    await fill(join(directory, "busy", "data"), 140 * MIB);
    disk.touch(join(directory, "busy", "data"));
    const full = await until<DiskStatus>("it is full", async () => {
      const status = await disk.status();
      return status.state === "full" ? status : null;
    });
    expect(full.freeBytes).toBeGreaterThan(0);
    await expect(disk.reserve(0)).rejects.toMatchObject({ code: "disk_full" });
    // Even so there is room for a journal.
    await fill(join(directory, ".signalbox", "journal"), MIB);

    expect(await workspaces.remove("busy")).toBe(true);
    disk.touch(join(directory, "busy"));
    await until("it has recovered", async () => (await disk.status()).state === "ok");
    (await disk.reserve(50 * MIB)).release();
    release();
  });

  test("an install that fills the disk is ended while others still have room, and its directory is given back", async ({
    skip,
  }) => {
    const directory = await root();
    const host = await UnconnectedRunner.start({
      root: directory,
      timing: { diskCheckMs: 50, stopGraceMs: 300 },
      ...(quotaBytes === undefined ? {} : { quotaBytes }),
    });
    cleanups.push(() => host.stop());
    const before = (await host.json("GET", "/status")).body["disk"] as DiskStatus;
    if (before.freeBytes > 300 * MIB) skip("this user may not mount a file system");
    const sha256 = await host.upload({ "server.mjs": server("response.end('up')") });
    await host.put("shop/good", { source: { sha256 }, start: "node server.mjs" });
    const { port } = await host.reaches("shop/good", "running");
    await host.put("shop/greedy", {
      source: { sha256 },
      install: "for i in $(seq 1 1000); do head -c 2000000 /dev/zero > file-$i; sleep 0.02; done",
      start: "node server.mjs",
    });
    const status = await host.reaches("shop/greedy", "failed");
    expect(status.reason).toContain("disk is full");
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("up");
    await until("the room is given back", async () => {
      const disk = (await host.json("GET", "/status")).body["disk"] as DiskStatus;
      return disk.state === "ok" && disk.freeBytes > before.freeBytes - 20 * MIB;
    });
    expect(await readdir(join(directory, ".signalbox", "deployments", "shop", "greedy"))).not.toContain(
      "work",
    );
    expect(await host.put("shop/next", { source: { sha256 }, start: "node server.mjs" })).toMatchObject({
      status: 202,
    });
    await host.reaches("shop/next", "running");
    await host.stop();
    expect(processesWith(directory)).toEqual([]);
  });

  test("an upload that doesn't fit is refused with disk_full, and the disk isn't filled by trying", async ({
    skip,
  }) => {
    const directory = await root();
    const host = await UnconnectedRunner.start({
      root: directory,
      ...(quotaBytes === undefined ? {} : { quotaBytes }),
    });
    cleanups.push(() => host.stop());
    const before = (await host.json("GET", "/status")).body["disk"] as DiskStatus;
    if (before.freeBytes > 300 * MIB) skip("this user may not mount a file system");
    const size = 400 * MIB;
    let sent = 0;
    const body = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        pull(controller) {
          const chunk = new Uint8Array(MIB);
          if (sent === 0) chunk.set([0x1f, 0x8b]);
          sent += chunk.length;
          controller.enqueue(chunk);
          if (sent >= size) controller.close();
        },
      });
    const response = await fetch(`${host.origin}/sources`, {
      method: "PUT",
      body: body(),
      duplex: "half",
    });
    expect([response.status, await response.json()]).toEqual([
      507,
      expect.objectContaining({ code: "disk_full" }),
    ]);
    await until("what was written is given back", async () => {
      const after = (await host.json("GET", "/status")).body["disk"] as DiskStatus;
      return after.state === "ok" && after.freeBytes > before.freeBytes - 10 * MIB;
    });
  });
});

async function freeOf(disk: Disk): Promise<number> {
  const { freeBytes } = await disk.status();
  disk.close();
  return freeBytes;
}

test("what can't be evicted doesn't keep the rest from being", async () => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-disk-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const cache = join(directory, "project", "node_modules");
  await fill(join(cache, "file"), 190 * MIB);
  const disk = await Disk.open({ root: directory, quotaBytes: 200 * MIB });
  cleanups.push(() => disk.close());
  const stuck = { path: join(directory, "stuck"), evict: () => Promise.reject(new Error("it is a mount")) };
  const good = { path: cache, evict: () => rm(cache, { recursive: true }) };
  disk.addEvictor(() => Promise.resolve([stuck, good]));
  (await disk.reserve(MIB)).release();
  expect(await exists(cache)).toBe(false);
});

test("on a disk that is full to the last byte, what serves is started again and what isn't wanted can be removed", async ({
  skip,
}) => {
  const directory = (await smallDisk()) ?? skip("this user may not mount a file system");
  const timing = { backoffFirstMs: 100, backoffLimitMs: 200, stopGraceMs: 300 };
  const host = await UnconnectedRunner.start({ root: directory, timing });
  cleanups.push(() => host.stop());
  const sha256 = await host.upload({
    "server.mjs": server("request.url === '/crash' ? process.exit(1) : response.end('up')"),
  });
  for (const key of ["shop/serving", "shop/unwanted"]) {
    await host.put(key, { source: { sha256 }, start: "node server.mjs" });
    await host.reaches(key, "running");
  }
  const filler = spawn("sh", ["-c", "while :; do cat /dev/zero >> filler; sleep 0.01; done"], {
    cwd: directory,
    stdio: "ignore",
  });
  const { port, crashes } = await host.status("shop/serving");
  await until("it has crashed more than once", async () => {
    const status = await host.status("shop/serving");
    expect(status.state).toMatch(/^(running|starting)$/);
    if (status.state === "running") await fetch(`http://127.0.0.1:${port}/crash`).catch(() => undefined);
    return status.crashes > crashes + 3;
  });
  expect(await host.json("DELETE", "/deployments/shop/unwanted")).toMatchObject({ status: 200 });
  const ended = once(filler, "exit");
  filler.kill("SIGKILL");
  await ended;
  await rm(join(directory, "filler"));
  await host.reaches("shop/serving", "running");
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("up");
  await host.stop();
});
