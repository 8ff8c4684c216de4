import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";
import { until } from "../helpers/stack.ts";

const cleanUps: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

// What a runner hosts outlives a killed runner until the next one; test/e2e/start.test.ts has that.
test("when `npm start` is killed, all that it started itself is gone soon and a new start works at once", async () => {
  const home = await mkdtemp(join(tmpdir(), "signalbox-home-"));
  cleanUps.push(() => rm(home, { recursive: true, force: true }));
  const first = await startLocalStack(home);
  const started = await below(first.pid ?? 0);
  expect(started.filter(({ command }) => command.endsWith("workerd"))).toHaveLength(1);
  expect(started.length).toBeGreaterThanOrEqual(4);
  first.kill("SIGKILL");
  const left = () => started.filter(({ pid }) => isAlive(pid));
  await until(left, ({ length }) => length === 0);

  const second = await startLocalStack(home);
  const next = await below(second.pid ?? 0);
  const ended = once(second, "exit");
  second.kill("SIGTERM");
  await ended;
  await until(
    () => next.filter(({ pid }) => isAlive(pid)),
    ({ length }) => length === 0,
  );
});

test("a guarded command that ignores being asked to end is killed", async () => {
  const script = "process.on('SIGTERM',()=>{});console.log(process.pid);setInterval(()=>{},1000)";
  const guarded = new GuardedProcess(process.execPath, ["-e", script], { stdout: "pipe" });
  const pid = Number(await firstLine(guarded.child));
  await guarded.stop();
  expect(isAlive(pid)).toBe(false);
});

test("a guarded command's own end and exit code are passed on", async () => {
  const guarded = new GuardedProcess("/bin/sh", ["-c", "exit 7"], { stdout: "ignore" });
  expect(await guarded.exited).toBe(7);
  await guarded.stop();
  await guarded.kill();
});

test("a guarded command that doesn't exist ends with a code instead of hanging", async () => {
  const guarded = new GuardedProcess("/nowhere/to/be/found", [], { stdout: "ignore" });
  expect(await guarded.exited).toBe(127);
});

async function startLocalStack(home: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(projectRoot, "scripts/start.ts")], {
    cwd: projectRoot,
    env: {
      PATH: process.env["PATH"] ?? "",
      PORT: "0",
      SIGNALBOX_HOME: home,
      SIGNALBOX_DEMO: "0",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanUps.push(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
  });
  if (!child.stdout) throw new Error("its output isn't piped");
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise<void>((resolve) => {
    lines.on("line", (line) => {
      if (line.includes("is ready")) resolve();
    });
  });
  const died = once(child, "exit").then(([code]) => {
    throw new Error(`the local stack ended with code ${code}`);
  });
  died.catch(() => undefined);
  await Promise.race([ready, died]);
  return child;
}

/** All processes below another one: guards, workerd, the example app. */
async function below(ancestor: number): Promise<{ pid: number; command: string }[]> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid=,comm="]);
  const all = stdout.split("\n").map((line) => {
    const [pid = "", parent = "", command = ""] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), command };
  });
  const found: { pid: number; command: string }[] = [];
  for (let parents = [ancestor]; parents.length > 0;) {
    const children = all.filter(({ parent }) => parents.includes(parent));
    found.push(...children);
    parents = children.map(({ pid }) => pid);
  }
  return found;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // no such process
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error("its output isn't piped");
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error("it ended without a word");
}
