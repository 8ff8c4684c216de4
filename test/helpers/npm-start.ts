import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { projectRoot } from "../../scripts/build/worker.ts";

const homes: string[] = [];
const children: ChildProcess[] = [];

/** Longer than a stack takes to end with its runner and all that it hosts. */
const END_TIMEOUT_MS = 30_000;

/** Ends what was started, with what that hosts, and deletes every home. */
export async function removeHomes(): Promise<void> {
  await Promise.all(children.map(end));
  await Promise.all(homes.map((home) => rm(home, { recursive: true, force: true })));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit", { signal: AbortSignal.timeout(END_TIMEOUT_MS) });
  child.kill("SIGTERM");
  await exited.catch(() => child.kill("SIGKILL"));
}

export async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), "signalbox-home-"));
  homes.push(home);
  return home;
}

export interface Started {
  child: ChildProcess;
  lines: string[];
  errors: () => string;
  /** Resolves with the address once the stack is ready; rejects when it ends before. */
  ready: Promise<string>;
  exited: Promise<number | null>;
}

/** Starts the local stack; `npm` as people do, by `npm start`. */
export function start(env: Record<string, string>, by: "node" | "npm" = "node"): Started {
  const [program, args, cwd] =
    by === "npm"
      ? (["npm", ["start"], projectRoot] as const)
      : ([process.execPath, [join(projectRoot, "scripts/start.ts")], tmpdir()] as const);
  const child = spawn(program, args, {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const lines: string[] = [];
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const exited = once(child, "exit").then(([code]: unknown[]) => (typeof code === "number" ? code : null));
  const ready = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      const port = /^Signalbox is ready: http:\/\/signalbox\.localhost:(\d+)\/_signalbox\/$/.exec(line)?.[1];
      if (port !== undefined) resolve(`http://localhost:${port}`);
    });
    void exited.then((code) => reject(new Error(`ended with ${code}: ${errors}`)));
  });
  ready.catch(() => undefined);
  return { child, lines, errors: () => errors, ready, exited };
}

/** The processes that mention a home or a child of the stack; the kernel's word, not ours. */
export async function descendants(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => ""); // it has ended
  const own = children.trim().split(" ").filter(Boolean).map(Number);
  const below = await Promise.all(own.map(descendants));
  return [...own, ...below.flat()];
}

/** Whether a runner started it: it carries the runner's mark. */
export async function isHosted(pid: number): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  return environment.includes("SIGNALBOX_PROCESS=");
}

/** A process that nobody has waited for yet is as gone as it can be. */
async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z");
  return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
}

export async function living(pids: number[]): Promise<number[]> {
  return (await Promise.all(pids.map(async (pid) => ((await isAlive(pid)) ? [pid] : [])))).flat();
}
