import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { MARKER_VARIABLE } from "./environment.ts";

const hasProc = existsSync("/proc/self/stat");

/** Tells a process from every other one that had or will have its id. */
export interface ProcessIdentity {
  pid: number;
  /** In the system's own unit. */
  startTime: string;
}

/** The processes of one hosted command, by what is known of them. */
export interface Quarry {
  marker: string;
  /** The first process and leader of the group; null if it isn't known to have started. */
  leader: ProcessIdentity | null;
}

interface Row {
  pid: number;
  parent: number;
  group: number;
  session: number;
  startTime: string;
}

/** Which start of the machine this is: ids and start times of another one mean nothing. */
export async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "unknown")).trim();
}

/** When a process started, or null if there is no such process or it has ended and only waits to be collected. */
export async function startTimeOf(pid: number): Promise<string | null> {
  if (hasProc) return (await readRow(pid))?.startTime ?? null;
  const started = await new Promise<string>((resolve) => {
    execFile("ps", ["-o", "lstart=", "-p", String(pid)], (_error, output) => resolve(output.trim()));
  });
  return started === "" ? null : started;
}

/**
 * Every living process that belongs to a hosted command: those that carry its marker in their environment, its group
 * and session, and all descendants of these, whether or not they forked away or changed their session. Without /proc
 * only the group can be asked, as the negative id of its leader.
 */
export async function findProcesses(quarry: Quarry): Promise<number[]> {
  const { marker, leader } = quarry;
  if (!hasProc) {
    if (leader === null) return [];
    const started = await startTimeOf(leader.pid);
    // A group outlives its leader, and while it does nobody else gets the leader's id.
    const isOurs = started === null || started === leader.startTime;
    return isOurs && isGroupAlive(leader.pid) ? [-leader.pid] : [];
  }
  const rows = await readTable();
  const found = new Set<number>();
  const needle = `${MARKER_VARIABLE}=${marker}\0`;
  for (const { pid } of rows) {
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => ""); // ended, or another user's
    if (environment.includes(needle)) found.add(pid);
  }
  if (leader !== null) {
    const isLeader = (row: Row): boolean => row.pid === leader.pid;
    const inGroup = (row: Row): boolean => row.group === leader.pid || row.session === leader.pid;
    // The leader's id may be a stranger's by now; then so are the group and the session of that number.
    const isStranger = rows.some((row) => isLeader(row) && row.startTime !== leader.startTime);
    if (!isStranger) for (const row of rows) if (isLeader(row) || inGroup(row)) found.add(row.pid);
  }
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const row of rows) if (found.has(row.parent)) found.add(row.pid);
  }
  found.delete(process.pid);
  return [...found];
}

/** Sends a signal to whatever of these still lives. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended meanwhile, or belongs to another user: the caller looks again who is left.
    }
  }
}

function isGroupAlive(leader: number): boolean {
  try {
    process.kill(-leader, 0);
    return true;
  } catch {
    return false; // nobody is left in the group
  }
}

async function readTable(): Promise<Row[]> {
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const rows = await Promise.all(names.map((name) => readRow(Number(name))));
  return rows.filter((row) => row !== null);
}

async function readRow(pid: number): Promise<Row | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => ""); // ended meanwhile
  // The name, in parentheses, may contain anything, parentheses and spaces too.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent, group, session] = fields;
  const startTime = fields[19];
  if (startTime === undefined || state === "Z" || state === "X") return null;
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), startTime };
}
