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
  /** It only holds the others: asked to end, it would kill them. */
  isWrapper?: boolean;
}

/** What a sandbox is made of. Of a guest that gives itself such a name, only the grace is shorter. */
const WRAPPERS = /^(?:bwrap|pas(?:ta|st)(?:\..+)?)$/;

/** The processes of one hosted command, by what is known of them. */
export interface Quarry {
  marker: string;
  /** The first process and leader of the group; null if it isn't known to have started. */
  leader: ProcessIdentity | null;
  /** A system user whose processes all belong to it. */
  uid?: number | null;
  /** The leader is this process's own child, or was a moment ago: nobody else can have its number yet. */
  isOwnChild: boolean;
}

interface Row extends ProcessIdentity {
  parent: number;
  group: number;
  session: number;
  isWrapper: boolean;
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
 * Every living process that belongs to a hosted command: those that carry its marker in their environment, those of
 * its user, its group and session, those found earlier, and all descendants of these. Without a user it misses a process that sheds its environment,
 * session and parent before anybody looks; only a user or a container of its own helps there. Without /proc it knows
 * the group alone, as the negative id of its leader.
 */
export async function findProcesses(
  quarry: Quarry,
  known: readonly ProcessIdentity[] = [],
): Promise<ProcessIdentity[]> {
  const { marker, leader, isOwnChild, uid = null } = quarry;
  if (!hasProc) {
    if (leader === null || !(await isGroupOurs(leader, isOwnChild))) return [];
    return [{ ...leader, pid: -leader.pid }];
  }
  const rows = await readTable();
  const found = new Set<number>();
  for (const row of rows) {
    if (known.some(({ pid, startTime }) => pid === row.pid && startTime === row.startTime))
      found.add(row.pid);
  }
  const needle = `${MARKER_VARIABLE}=${marker}\0`;
  await Promise.all(
    rows.map(async ({ pid }) => {
      const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => ""); // ended, or another user's
      if (environment.includes(needle) || (uid !== null && (await userOf(pid)) === uid)) found.add(pid);
    }),
  );
  if (leader !== null) {
    const group = rows.filter((row) => row.group === leader.pid || row.session === leader.pid);
    const atItsNumber = rows.find(({ pid }) => pid === leader.pid);
    // Its id may be a stranger's by now, and then so are the group's and the session's.
    const isOurs =
      atItsNumber === undefined
        ? isOwnChild || group.some(({ pid }) => found.has(pid))
        : atItsNumber.startTime === leader.startTime;
    if (isOurs) for (const { pid } of group) found.add(pid);
  }
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const row of rows) if (found.has(row.parent)) found.add(row.pid);
  }
  return rows.flatMap(({ pid, startTime, isWrapper }) =>
    found.has(pid) && pid !== process.pid ? { pid, startTime, isWrapper } : [],
  );
}

/** Signals those of these that still live. */
export function signalAll(processes: readonly ProcessIdentity[], signal: NodeJS.Signals): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended meanwhile, or is another user's: the caller looks again.
    }
  }
}

async function isGroupOurs(leader: ProcessIdentity, isOwnChild: boolean): Promise<boolean> {
  if (!isOwnChild && (await startTimeOf(leader.pid)) !== leader.startTime) return false;
  try {
    process.kill(-leader.pid, 0);
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
  const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent, group, session] = fields;
  const startTime = fields[19];
  if (startTime === undefined || state === "Z" || state === "X") return null;
  return {
    pid,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startTime,
    isWrapper: WRAPPERS.test(name),
  };
}

/** Who runs a process. Whose its files in /proc are says less: some programs' are root's. */
async function userOf(pid: number): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => ""); // ended meanwhile
  const uid = /^Uid:\t(\d+)/m.exec(status)?.[1];
  return uid === undefined ? null : Number(uid);
}
