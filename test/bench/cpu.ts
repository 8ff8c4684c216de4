import { readFile } from "node:fs/promises";

/** Clock ticks a second on any Linux. */
const TICKS = 100;

/** Processor time that a guarded process has used, in seconds: the guard's child does the work. */
export async function cpuSeconds(guard: number): Promise<number> {
  const children = await readFile(`/proc/${guard}/task/${guard}/children`, "utf8");
  const times = await Promise.all(children.trim().split(" ").map(ownCpuSeconds));
  return times.reduce((sum, time) => sum + time, 0);
}

async function ownCpuSeconds(pid: string): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // After the name, which may hold anything. Fields 14 and 15: time in user and in system mode.
  const [user = Number.NaN, system = Number.NaN] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return (user + system) / TICKS;
}
