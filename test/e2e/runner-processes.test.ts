import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { wrapped } from "../../runner/confinement/launch.ts";
import { cleanEnvironment } from "../../runner/processes/environment.ts";
import { HostedProcess, type StartOptions } from "../../runner/processes/hosted-process.ts";
import { ProcessJournal } from "../../runner/processes/journal.ts";
import { findProcesses, startTimeOf } from "../../runner/processes/process-table.ts";
import { FileLock } from "../../runner/processes/file-lock.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { isAlive, processesWith } from "../helpers/program.ts";
import { until } from "../helpers/unconnected-runner.ts";
import { standsStill } from "../helpers/stands-still.ts";

let root: string;
let journal: ProcessJournal;
let output: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-processes-"));
  await mkdir(join(root, "work"));
  journal = await ProcessJournal.open(join(root, "journal"));
  output = "";
});
afterEach(async () => {
  for (const pid of processesWith(root)) process.kill(pid, "SIGKILL");
  await rm(root, { recursive: true, force: true });
});

async function collect(_stream: string, readable: Readable): Promise<void> {
  for await (const chunk of readable) output += String(chunk);
}

function start(command: string, more: Partial<StartOptions> = {}): Promise<HostedProcess> {
  return HostedProcess.start({
    command,
    cwd: join(root, "work"),
    env: cleanEnvironment({ home: join(root, "home"), temporary: join(root, "tmp") }),
    owner: "test",
    journal,
    output: collect,
    graceMs: 300,
    ...more,
  });
}

/** The ids that a command wrote, one a file, so that they are known whatever becomes of their processes. */
async function writtenPids(count: number): Promise<number[]> {
  return until(`${count} processes have written their ids`, async () => {
    const names = await readdir(join(root, "work"));
    const texts = await Promise.all(names.map((name) => readFile(join(root, "work", name), "utf8")));
    const pids = texts.map(Number).filter((pid) => pid > 0);
    return pids.length === count ? pids : null;
  });
}

/** All that a process has written so far. */
function writtenBytes(pid: number): number {
  return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

async function expectAllGone(pids: number[]): Promise<void> {
  const living = [];
  for (const pid of pids) if ((await startTimeOf(pid)) !== null) living.push(pid);
  expect(living).toEqual([]);
  expect(processesWith(root)).toEqual([]);
  expect(await readdir(join(root, "journal"))).toEqual([]);
}

test("a process gets the allow-list and its own home, and nothing of the runner's environment", async () => {
  process.env["RUNNER_SHARED_SECRET"] = "hush";
  process.env["ANTHROPIC_API_KEY"] = "hush";
  try {
    const hosted = await start("env; cat /proc/$$/environ | tr '\\0' '\\n'");
    expect(await hosted.finished).toEqual({ code: 0, signal: null });
  } finally {
    delete process.env["RUNNER_SHARED_SECRET"];
    delete process.env["ANTHROPIC_API_KEY"];
  }
  expect(output).not.toContain("hush");
  const names = new Set(output.split("\n").map((line) => line.split("=")[0] ?? ""));
  for (const name of ["RUNNER_SHARED_SECRET", "NODE_OPTIONS", "VITEST"]) expect(names).not.toContain(name);
  expect(output).toContain(`HOME=${join(root, "home")}`);
  expect(output).toMatch(/SIGNALBOX_PROCESS=[0-9a-f-]{36}/);
  await expectAllGone([]);
});

test("stop ends a polite process by SIGTERM, and says how it ended", async () => {
  const command = "trap 'echo bye; exit 7' TERM; echo $$ > pid; while :; do sleep 0.05; done";
  const hosted = await start(command, { graceMs: 60_000 });
  const pids = await writtenPids(1);
  expect(await hosted.stop()).toEqual({ code: 7, signal: null });
  expect(output).toContain("bye");
  await expectAllGone(pids);
});

const stubborn: [name: string, count: number, command: string][] = [
  ["ignores SIGTERM", 1, `trap '' TERM; echo $$ > a; while :; do sleep 1; done`],
  [
    "has a child that ignores SIGTERM",
    2,
    `echo $$ > a; sh -c 'trap "" TERM; echo $$ > b; while :; do sleep 1; done' & wait`,
  ],
  [
    "has a child in a session of its own",
    2,
    `echo $$ > a; setsid sh -c 'echo $$ > b; exec sleep 100' & wait`,
  ],
  [
    "has a child that forks away from it and ignores SIGTERM in a session of its own",
    2,
    `echo $$ > a; ( ( setsid sh -c 'trap "" TERM; echo $$ > b; while :; do sleep 1; done' ) & ) & wait; exec sleep 100`,
  ],
  [
    "has a child that cleared its environment",
    2,
    `echo $$ > a; env -i /bin/sh -c 'echo $$ > b; exec sleep 100' & wait`,
  ],
  [
    "has a child that cleared its environment in a session of its own",
    2,
    `echo $$ > a; setsid env -i /bin/sh -c 'trap "" TERM; echo $$ > b; while :; do sleep 1; done' & wait`,
  ],
  ["stopped itself", 1, `echo $$ > a; kill -STOP $$; sleep 100`],
  [
    "starts another process every few milliseconds",
    1,
    `echo $$ > a; trap '' TERM; while :; do setsid sh -c 'trap "" TERM; sleep 100' & sleep 0.02; done`,
  ],
];

test.each(stubborn)("stop means stopped for a process that %s", async (_name, count, command) => {
  const hosted = await start(command);
  const pids = await writtenPids(count);
  for (const pid of pids) expect(isAlive(pid)).toBe(true);
  await hosted.stop();
  await expectAllGone(pids);
});

test("a command that is stopped before its wrappers have come to it is over at once, as if it had been told", async () => {
  // As one that is process 1 of a namespace, until it becomes the next.
  const wrappers = ["/bin/sh", "-c", `trap "" TERM; echo $$ > a; sleep 100; exec "$@"`, "sh"];
  const hosted = await start("echo begun", {
    graceMs: 60_000,
    confine: (command) => ({
      ...wrapped(wrappers, command, { umask: "022", isFirst: true }),
      cwd: join(root, "work"),
    }),
  });
  const pids = await writtenPids(1);
  expect(await hosted.stop()).toEqual({ code: null, signal: "SIGTERM" });
  expect(output).not.toContain("begun");
  await expectAllGone(pids);
});

test("what a process leaves behind when it ends by itself is ended too", async () => {
  const hosted = await start(
    `setsid sh -c 'echo $$ > a; exec sleep 100' & while [ ! -s a ]; do sleep 0.02; done; exit 3`,
  );
  const pids = await writtenPids(1);
  expect(await hosted.finished).toEqual({ code: 3, signal: null });
  await expectAllGone(pids);
});

test("a start that is cancelled midway leaves nothing, whenever it happens", async () => {
  for (let delay = 0; delay < 40; delay += 2) {
    const abort = new AbortController();
    const starting = start("setsid sleep 100 & exec sleep 100", { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("cancelled")), delay);
    try {
      await (
        await starting
      ).finished;
    } catch (error) {
      expect(String(error)).toContain("cancelled");
    }
    await expectAllGone([]);
  }
});

test("a command that can't be started fails and leaves no journal", async () => {
  await expect(start("true", { cwd: join(root, "nowhere") })).rejects.toThrow("ENOENT");
  await expectAllGone([]);
});

test("a process that writes without end is held back and not kept in memory", async () => {
  const busy = Promise.withResolvers<void>();
  const before = process.memoryUsage().rss;
  const hosted = await start("exec yes", { output: () => busy.promise });
  await standsStill(() => writtenBytes(hosted.pid));
  expect(process.memoryUsage().rss - before).toBeLessThan(50 * 1024 * 1024);
  busy.resolve();
  await hosted.stop();
  await expectAllGone([]);
});

test("another process with an orphan's id isn't touched", async () => {
  const stranger = await start("exec sleep 100", { env: { PATH: "/usr/bin:/bin", ROOT: root } });
  const [name = ""] = await readdir(join(root, "journal"));
  await rm(join(root, "journal", name));
  // The id lives, but the start time is another's: a runner that was killed long ago had this id's former owner.
  await journal.record({
    marker: "00000000-0000-4000-8000-000000000000",
    owner: "old",
    uid: null,
    leader: { pid: stranger.pid, startTime: "1" },
  });
  expect(await journal.reapOrphans()).toEqual(["old"]);
  expect(isAlive(stranger.pid)).toBe(true);
  await stranger.stop();
});

test("half-written and foreign files in the journal are cleared away", async () => {
  await writeFile(join(root, "journal", "x.json"), '{"marker":');
  await writeFile(join(root, "journal", ".signalbox-00000000-0000-4000-8000-000000000000.tmp"), "");
  expect(await journal.reapOrphans()).toEqual([]);
  await expectAllGone([]);
});

test("nothing is found for a marker that nobody carries", async () => {
  expect(await findProcesses({ marker: crypto.randomUUID(), leader: null, isOwnChild: false })).toEqual([]);
});

test("a workspace belongs to one runner, until that one is gone", async () => {
  const file = join(root, "lock");
  const take = async (): Promise<FileLock | null> => {
    const lock = await FileLock.take(file);
    if (lock instanceof FileLock) return lock;
    expect(lock).toEqual({ holder: String(process.pid) });
    return null;
  };
  const lock = await take();
  expect(await take()).toBe(null);
  lock?.release();
  const next = await take();
  expect(next).not.toBe(null);
  next?.release();
});

test("of runners that start in a workspace at the same time one gets it, also after one that was killed", async () => {
  const script = `import { FileLock } from ${JSON.stringify(join(projectRoot, "runner/processes/file-lock.ts"))};
    globalThis.lock = await FileLock.take(process.argv[1]);
    console.log(lock instanceof FileLock ? "mine" : "another's");
    setInterval(() => {}, 1_000);`;
  for (let round = 0; round < 3; round++) {
    const runners = Array.from({ length: 5 }, () =>
      spawn(process.execPath, ["--input-type=module", "-e", script, join(root, "lock")], {
        stdio: ["ignore", "pipe", "inherit"],
      }),
    );
    try {
      const told = await Promise.all(
        runners.map(async ({ stdout }) => String((await once(stdout, "data"))[0])),
      );
      expect(told.sort()).toEqual([...Array.from({ length: 4 }, () => "another's\n"), "mine\n"]);
    } finally {
      const gone = runners.map((runner) => once(runner, "exit"));
      for (const runner of runners) runner.kill("SIGKILL");
      await Promise.all(gone);
    }
  }
});

test("a clock that is set back doesn't let a process live on", async () => {
  const hosted = await start("trap 'touch told' TERM; touch ready; while :; do sleep 0.1; done", {
    graceMs: 1_000,
  });
  const there = (name: string) => async (): Promise<boolean> =>
    (await readdir(join(root, "work"))).includes(name);
  await until("it ignores SIGTERM", there("ready"));
  const now = Date.now.bind(Date);
  const stopped = hosted.stop();
  await until("it has been told to end", there("told"));
  const clock = vi.spyOn(Date, "now");
  clock.mockImplementation(() => now() - 3_600_000);
  try {
    expect(await stopped).toEqual({ code: null, signal: "SIGKILL" });
  } finally {
    clock.mockRestore();
  }
});
