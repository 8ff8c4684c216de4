import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { MARKER_VARIABLE } from "./environment.ts";
import type { ProcessGroup } from "./process-group.ts";

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
  /** What holds all of them, where the host has it. */
  group?: ProcessGroup | null;
  /** Whoever uses it is of this command, unless it is plainly somebody else's. */
  directory?: string | null;
  /** Start times, by process id, of those that were seen in its family while it ran. */
  family?: ReadonlyMap<number, string>;
}

/** A living process, of /proc/PID/stat. */
export interface ProcessRow extends ProcessIdentity {
  name: string;
  parent: number;
  group: number;
  session: number;
  /** 0: none. */
  terminal: number;
  threads: number;
  residentBytes: number;
  isWrapper: boolean;
}

/** Source: sysconf(3). Linux on the processors that Node is made for has 4 KiB but for some ARM and POWER kernels. */
const PAGE_BYTES = 4_096;

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
 * Every living process that belongs to a hosted command: those of its cgroup, those that carry its marker in their
 * environment, of its user, its process group and session, those found earlier, and all descendants of these. Without a cgroup it
 * misses a process that sheds its environment, session and parent before anybody looks; `findHolders` finds some of
 * these. Without /proc it knows the process group alone, as the negative id of its leader.
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
    const isKnown = known.some(({ pid, startTime }) => pid === row.pid && startTime === row.startTime);
    if (isKnown || quarry.family?.get(row.pid) === row.startTime) found.add(row.pid);
  }
  for (const pid of (await quarry.group?.members()) ?? []) found.add(pid);
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

/**
 * The family of a hosted command, as far as one look at the table shows it: cheap enough for each second.
 */
export async function findFamily(
  { leader, group, family }: Quarry,
  rows: readonly ProcessRow[],
): Promise<ProcessRow[]> {
  if (group) {
    const members = new Set(await group.members());
    return rows.filter(({ pid }) => members.has(pid));
  }
  const found = new Set<number>();
  const sessions = new Set<number>(leader === null ? [] : [leader.pid]);
  for (const row of rows) {
    const isLeader = row.pid === leader?.pid && row.startTime === leader.startTime;
    if (!isLeader && family?.get(row.pid) !== row.startTime) continue;
    found.add(row.pid);
    sessions.add(row.session);
  }
  if (found.size === 0) return [];
  for (const row of rows) if (sessions.has(row.session)) found.add(row.pid);
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const row of rows) if (found.has(row.parent)) found.add(row.pid);
  }
  return rows.filter(({ pid }) => found.has(pid) && pid !== process.pid);
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

/**
 * SIGKILL to the whole process groups of these: the system does that in one step, so that none of a group can fork
 * meanwhile. All of a group are in one session, so a group outside of the runner's session holds no stranger.
 */
export async function killGroups(processes: readonly ProcessIdentity[]): Promise<void> {
  const rows = await readTable();
  const own = rows.find(({ pid }) => pid === process.pid);
  const doomed = rows.filter(
    (row) =>
      row.session !== own?.session &&
      processes.some(({ pid, startTime }) => pid === row.pid && startTime === row.startTime),
  );
  for (const group of new Set(doomed.map((row) => row.group))) {
    if (group > 1) signalAll([{ pid: -group, startTime: "" }], "SIGKILL");
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

/** All living processes; none where /proc is missing. */
export async function readTable(): Promise<ProcessRow[]> {
  if (!hasProc) return [];
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const rows = await Promise.all(names.map((name) => readRow(Number(name))));
  return rows.filter((row) => row !== null);
}

async function readRow(pid: number): Promise<ProcessRow | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => ""); // ended meanwhile
  // The name, in parentheses, may contain anything, parentheses and spaces too.
  const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent, group, session, terminal] = fields;
  const startTime = fields[19];
  if (startTime === undefined || state === "Z" || state === "X") return null;
  return {
    pid,
    name,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    terminal: Number(terminal),
    startTime,
    threads: Number(fields[17]),
    residentBytes: Number(fields[21]) * PAGE_BYTES,
    isWrapper: WRAPPERS.test(name),
  };
}

/** Who runs a process. Whose its files in /proc are says less: some programs' are root's. */
async function userOf(pid: number): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => ""); // ended meanwhile
  const uid = /^Uid:\t(\d+)/m.exec(status)?.[1];
  return uid === undefined ? null : Number(uid);
}
