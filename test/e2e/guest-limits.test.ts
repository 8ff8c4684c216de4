import { execFileSync } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { WorkspaceOptions } from "../../runner/workspace.ts";
import { UnconnectedRunner, server, until } from "../helpers/unconnected-runner.ts";

const MIB = 1024 * 1024;
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** A file system of its own; null where this user may not mount one. */
async function smallDisk(options = "size=200m"): Promise<string | null> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-shares-"));
  cleanups.push(() => rm(root, { recursive: true, force: true }));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", root], { stdio: "ignore" });
  } catch {
    return null;
  }
  cleanups.push(() => void execFileSync("umount", ["-l", root]));
  return root;
}

async function directory(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-shares-"));
  cleanups.push(() => rm(root, { recursive: true, force: true }));
  return root;
}

const timing = { backoffFirstMs: 100, backoffLimitMs: 200, stopGraceMs: 300 };

async function startRunner(options: WorkspaceOptions): Promise<UnconnectedRunner> {
  const runner = await UnconnectedRunner.start({ timing, ...options });
  cleanups.push(() => runner.stop());
  return runner;
}

/** Two deployments: one that does what a request to /go says, and its neighbour. */
async function guests(
  runner: UnconnectedRunner,
  hostile: string,
): Promise<{ port: number; neighbour: number; go: () => Promise<void> }> {
  const sha256 = await runner.upload({
    "server.mjs": server(
      `if (request.url !== "/go") return response.end("up"); response.end("going"); ${hostile}`,
    ).replace(
      "import {",
      `import * as fs from "node:fs"; import { spawn } from "node:child_process"; import {`,
    ),
  });
  const quiet = await runner.upload({ "server.mjs": server("response.end('up')") });
  await runner.put("shop/neighbour", { source: { sha256: quiet }, start: "node server.mjs" });
  await runner.put("shop/hostile", { source: { sha256 }, start: "node server.mjs" });
  const neighbour = (await runner.reaches("shop/neighbour", "running")).port ?? 0;
  const port = (await runner.reaches("shop/hostile", "running")).port ?? 0;
  return {
    port,
    neighbour,
    go: async () => void (await fetch(`http://127.0.0.1:${port}/go`)).body?.cancel(),
  };
}

/** Asks a neighbour 50 times a second until `done` settles; how many were lost, and the 99th percentile. */
async function visits(
  port: number,
  done: Promise<unknown>,
): Promise<{ lost: number; p99: number; count: number }> {
  const over = new AbortController();
  const finished = done.finally(() => over.abort());
  const times: number[] = [];
  let lost = 0;
  const asked: Promise<void>[] = [];
  while (!over.signal.aborted) {
    const at = performance.now();
    asked.push(
      fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(20_000) })
        .then(async (response) =>
          (await response.text()) === "up" ? undefined : Promise.reject(new Error("other")),
        )
        .then(
          () => void times.push(performance.now() - at),
          () => void (lost += 1),
        ),
    );
    await sleep(20);
  }
  await Promise.all(asked);
  await finished;
  times.sort((a, b) => a - b);
  const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
  return { lost, p99, count: times.length };
}

function report(what: string, { lost, p99, count }: { lost: number; p99: number; count: number }): void {
  console.log(`${what}: ${count} requests to the neighbour, ${lost} lost, p99 ${p99.toFixed(1)} ms`);
}

const FILL = `
  let number = 0;
  const fill = () => {
    try { fs.writeFileSync("filler-" + number++, Buffer.alloc(4 * 1024 * 1024)); } catch {}
    setImmediate(fill);
  };
  fill();`;

test("who fills the disk is stopped before it is full and says why; its neighbour goes on; it recovers by itself", async ({
  skip,
}) => {
  const root = (await smallDisk()) ?? skip("this user may not mount a file system");
  const runner = await startRunner({ root });
  const { neighbour, go } = await guests(runner, FILL);
  await go();
  const stopped = until("it is stopped", async () => {
    const status = await runner.status("shop/hostile");
    return status.reason?.includes("Stopped") === true && status;
  });
  const seen = await visits(neighbour, stopped);
  report("disk", seen);
  expect(seen.lost).toBe(0);
  const status = await stopped;
  expect(status).toMatchObject({
    state: "starting",
    reason: expect.stringMatching(/disk is nearly full, and this deployment has grown by \d+ MiB lately/),
  });
  expect(await runner.logs("shop/hostile")).toContain("disk is nearly full");
  expect(await runner.status("shop/neighbour")).toMatchObject({ state: "running", crashes: 0 });
  // What it wrote is removed by a person, or by its own app: it comes back by itself.
  const work = join(root, ".signalbox/deployments/shop/hostile/work");
  execFileSync("/bin/sh", ["-c", `rm -f ${work}/filler-*`]);
  await runner.reaches("shop/hostile", "running");
});

test("who has no inodes left for others is stopped", async ({ skip }) => {
  const root =
    (await smallDisk("size=200m,nr_inodes=20000")) ?? skip("this user may not mount a file system");
  const runner = await startRunner({ root });
  const { neighbour, go } = await guests(
    runner,
    `let number = 0; const fill = () => { try { for (let i = 0; i < 20; i++) fs.mkdirSync("d" + number++); } catch {} setImmediate(fill); }; fill();`,
  );
  await go();
  const stopped = until("it is stopped", async () =>
    (await runner.status("shop/hostile")).reason?.includes("Stopped"),
  );
  const seen = await visits(neighbour, stopped);
  report("inodes", seen);
  expect(seen.lost).toBe(0);
  expect(await runner.logs("shop/hostile")).toMatch(/disk is nearly full, and this deployment has grown by/);
  const { body } = await runner.json("GET", "/status");
  expect(body["disk"]).toMatchObject({ state: "full" });
  expect(await runner.put("shop/next", { source: { sha256: "0".repeat(64) }, start: "x" })).toMatchObject({
    status: 507,
    body: { detail: expect.stringContaining("no room for more files") },
  });
  await runner.json("DELETE", "/deployments/shop/hostile");
  await until("there is room", async () => {
    const disk = (await runner.json("GET", "/status")).body["disk"] as { state: string };
    return disk.state === "ok";
  });
});

describe("a deployment over its own share", () => {
  test.each([
    [
      "bytes",
      { diskBytes: 30 * MIB },
      FILL.replaceAll("setImmediate(fill)", "setTimeout(fill, 50)"),
      /RUNNER_GUEST_DISK is 30 MiB/,
    ],
    [
      "files",
      { diskInodes: 2_000 },
      `let n = 0; const fill = () => { for (let i = 0; i < 50; i++) fs.writeFileSync("f" + n++, ""); setTimeout(fill, 20); }; fill();`,
      /RUNNER_GUEST_INODES is 2000/,
    ],
  ])(
    "of %s is stopped, stays so and comes back when it is within it",
    async (_name, limits, hostile, reason) => {
      const root = await directory();
      const runner = await startRunner({ root, limits });
      const { neighbour, go } = await guests(runner, hostile);
      await go();
      const stopped = until("it is stopped", async () =>
        (await runner.status("shop/hostile")).reason?.match(reason),
      );
      expect((await visits(neighbour, stopped)).lost).toBe(0);
      expect(await runner.logs("shop/hostile")).toMatch(reason);
      const work = join(root, ".signalbox/deployments/shop/hostile/work");
      execFileSync("/bin/sh", ["-c", `cd ${work} && find . ! -name server.mjs -type f -delete`]);
      await runner.reaches("shop/hostile", "running");
    },
  );

  test("that fills its temporary directory starts again by itself with an empty one", async () => {
    const root = await directory();
    const runner = await startRunner({ root, limits: { diskBytes: 30 * MIB } });
    const { go } = await guests(
      runner,
      `setInterval(() => fs.appendFileSync(process.env.TMPDIR + "/cache", Buffer.alloc(4 * 1024 * 1024)), 50);`,
    );
    await go();
    await until("it was stopped", async () =>
      (await runner.logs("shop/hostile")).includes("RUNNER_GUEST_DISK"),
    );
    const cache = join(root, ".signalbox/deployments/shop/hostile/tmp/cache");
    await until("what it wrote is gone", () =>
      stat(cache).then(
        () => false,
        () => true,
      ),
    );
    await runner.reaches("shop/hostile", "running");
  });

  test("in an install fails, and what it wrote is given back", async () => {
    const root = await directory();
    const runner = await startRunner({ root, limits: { diskBytes: 30 * MIB } });
    const sha256 = await runner.upload({ "server.mjs": server("response.end('up')") });
    await runner.put("shop/greedy", {
      source: { sha256 },
      install: "while :; do head -c 4000000 /dev/zero >> big; sleep 0.05; done",
      start: "node server.mjs",
    });
    const { reason } = await runner.reaches("shop/greedy", "failed");
    expect(reason).toMatch(/RUNNER_GUEST_DISK is 30 MiB/);
    const work = join(root, ".signalbox/deployments/shop/greedy/work");
    await until("what it wrote is gone", () =>
      stat(work).then(
        () => false,
        () => true,
      ),
    );
  });

  test("of log keeps its newest lines", async () => {
    const root = await directory();
    const runner = await startRunner({ root, limits: { logBytes: 200_000 } });
    const { go } = await guests(runner, `for (let i = 0; i < 20000; i++) console.log("line " + i);`);
    await go();
    const log = join(root, ".signalbox/deployments/shop/hostile/log");
    const kept = (): string =>
      execFileSync("/bin/sh", ["-c", `cat ${log}/*.log || true`], { encoding: "utf8" });
    await until("the last line is there", () => kept().includes("line 19999"));
    expect(Buffer.byteLength(kept())).toBeLessThanOrEqual(200_000);
    expect(kept()).not.toContain('"line 10"');
  });
});

describe.each([
  ["with cgroups, where the host has them", true],
  ["without cgroups", false],
])("%s", (_name, cgroups) => {
  test("a memory hog is stopped at its limit and starts again; its log says why; its neighbour goes on", async () => {
    const runner = await startRunner({
      root: await directory(),
      cgroups,
      limits: { memoryBytes: 400 * MIB },
    });
    const { neighbour, go } = await guests(
      runner,
      `const kept = []; setInterval(() => kept.push(Buffer.alloc(16 * 1024 * 1024, 1)), 20);`,
    );
    await go();
    const told = until("its log says why", async () =>
      /RUNNER_GUEST_MEMORY is 400 MiB/.exec(await runner.logs("shop/hostile")),
    );
    const seen = await visits(neighbour, told);
    report("memory", seen);
    expect(seen.lost).toBe(0);
    await runner.reaches("shop/hostile", "running");
    expect(await runner.status("shop/neighbour")).toMatchObject({ state: "running", crashes: 0 });
  });

  test("a fork bomb is stopped and leaves nothing; its neighbour goes on", async () => {
    const runner = await startRunner({ root: await directory(), cgroups, limits: { processes: 200 } });
    const mark = `bomb-${process.pid}-${String(cgroups)}`;
    const { neighbour, go } = await guests(
      runner,
      `fs.writeFileSync("bomb.sh", "f() { sleep 0.1; (f) & (f) & wait; }; f"); spawn("/bin/sh", ["bomb.sh", "${mark}"]);`,
    );
    await go();
    const told = until("its log says why", async () =>
      /RUNNER_GUEST_PROCESSES is 200/.exec(await runner.logs("shop/hostile")),
    );
    const seen = await visits(neighbour, told);
    report("processes", seen);
    expect(seen.lost).toBe(0);
    await runner.json("DELETE", "/deployments/shop/hostile");
    expect(
      execFileSync("/bin/sh", ["-c", `pgrep -f ${mark} | grep -v $$ || true`], { encoding: "utf8" }),
    ).toBe("");
    expect(await runner.status("shop/neighbour")).toMatchObject({ state: "running", crashes: 0 });
  });
});

test("a machine out of memory would end what is hosted before the runner", async () => {
  const root = await directory();
  const runner = await startRunner({ root });
  const sha256 = await runner.upload({
    "server.mjs": server("response.end(fs.readFileSync('/proc/self/oom_score_adj'))").replace(
      "import {",
      `import * as fs from "node:fs"; import {`,
    ),
  });
  await runner.put("shop/score", { source: { sha256 }, start: "node server.mjs" });
  const status = await runner.reaches("shop/score", "running");
  const score = await (await fetch(`http://127.0.0.1:${status.port}/`)).text();
  expect(Number(score)).toBe(500);
});
