import { readdir, readFile, readlink } from "node:fs/promises";
import { sep } from "node:path";
import { MARKER_VARIABLE } from "./environment.ts";
import { type ProcessIdentity, type ProcessRow, readTable } from "./process-table.ts";

/** Open for writing, in the octal flags of /proc/PID/fdinfo. Source: open(2). */
const WRITES = 0o3;

/** A process that uses a directory and isn't known to be hosted. */
export interface Stranger extends ProcessIdentity {
  name: string;
  /** Why it is left alone. */
  why: string;
}

/**
 * The processes that use a directory: by their working directory, their program, a file that they have open for writing
 * or have mapped. A daemon that overwrote its environment and left its session and parent is found by these.
 *
 * `ours` are those that nobody but a hosted command can have left there: of the runner's user and cgroup, begun after
 * the command, without a terminal, and orphans, whose parent is init or whoever adopts the runner's orphans. An
 * operator's shell, editor or backup fails one of these and is a stranger. Where /proc is missing it finds none.
 */
export async function findHolders(
  directory: string,
  since: ProcessIdentity | null,
): Promise<{ ours: ProcessIdentity[]; strangers: Stranger[] }> {
  const rows = await readTable();
  const holders = await only(rows, (row) => holds(row.pid, `${directory}${sep}`, directory));
  const byPid = new Map(rows.map((row) => [row.pid, row]));
  const adopters = ancestorsOf(process.pid, byPid);
  const own = await facts(process.pid);
  const ours: ProcessIdentity[] = [];
  const strangers: Stranger[] = [];
  for (const row of holders) {
    if (adopters.has(row.pid)) continue;
    const why = await whyStranger(row, { byPid, adopters, own, since });
    const { pid, startTime, name } = row;
    if (why === null) ours.push({ pid, startTime });
    else if (why !== OF_ANOTHER) strangers.push({ pid, startTime, name, why });
  }
  return { ours, strangers };
}

/** Another hosted command's, which its own mark finds. */
const OF_ANOTHER = "it is another hosted command's";

interface Surroundings {
  byPid: ReadonlyMap<number, ProcessRow>;
  /** The runner and its ancestors: orphans of what it started become children of one of these. */
  adopters: ReadonlySet<number>;
  own: Facts;
  since: ProcessIdentity | null;
}

async function whyStranger(
  row: ProcessRow,
  { byPid, adopters, own, since }: Surroundings,
): Promise<string | null> {
  const { user, cgroup } = await facts(row.pid);
  if (user !== own.user) return "it is another user's";
  if (cgroup !== own.cgroup) return "it is of another service or session of this machine";
  if (row.terminal !== 0) return "it has a terminal";
  if (since !== null && /^\d+$/.test(since.startTime) && Number(row.startTime) < Number(since.startTime))
    return "it is older than what it would belong to";
  const environment = await readFile(`/proc/${row.pid}/environ`, "latin1").catch(() => "");
  if (environment.includes(`${MARKER_VARIABLE}=`)) return OF_ANOTHER;
  for (let at: ProcessRow | undefined = row; at !== undefined; at = byPid.get(at.parent)) {
    if (at.terminal !== 0) return `${at.name}, which started it, has a terminal`;
    if (!adopters.has(at.parent)) continue;
    // A child of the runner's own shell has that shell's session; what an adopter took in has not.
    const adopter = byPid.get(at.parent);
    if (at.session === adopter?.session || (at.parent === process.pid && process.pid !== 1)) break;
    return at === row || at.session === row.session ? null : `it was started by ${at.name}`;
  }
  return "it isn't an orphan";
}

async function holds(pid: number, prefix: string, directory: string): Promise<boolean> {
  const isInside = (path: string): boolean => path === directory || path.startsWith(prefix);
  for (const link of ["cwd", "exe"]) if (isInside(await linkOf(`/proc/${pid}/${link}`))) return true;
  for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    if (!isInside(await linkOf(`/proc/${pid}/fd/${fd}`))) continue;
    const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, "latin1").catch(() => "");
    if ((Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? "0", 8) & WRITES) !== 0) return true;
  }
  const maps = await readFile(`/proc/${pid}/maps`, "utf8").catch(() => "");
  return maps.includes(prefix);
}

/** Empty: it ended, or is another user's. */
async function linkOf(path: string): Promise<string> {
  return (await readlink(path).catch(() => "")).replace(/ \(deleted\)$/, "");
}

interface Facts {
  user: string;
  cgroup: string;
}

async function facts(pid: number): Promise<Facts> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const cgroup = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
  return { user: /^Uid:\s+(\d+)/m.exec(status)?.[1] ?? "", cgroup };
}

function ancestorsOf(pid: number, byPid: ReadonlyMap<number, ProcessRow>): Set<number> {
  const found = new Set<number>();
  for (let at = pid; at > 0 && !found.has(at); at = byPid.get(at)?.parent ?? 0) found.add(at);
  return found.add(1);
}

async function only<T>(all: readonly T[], test: (one: T) => Promise<boolean>): Promise<T[]> {
  const passed = await Promise.all(all.map(test));
  return all.filter((_, index) => passed[index]);
}
