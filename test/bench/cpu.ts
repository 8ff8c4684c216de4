import { readdir, readFile } from "node:fs/promises";

/** Processor time that a guarded process has used, in seconds: the guard's child does the work. */
export async function cpuSeconds(guard: number): Promise<number> {
  const children = await readFile(`/proc/${guard}/task/${guard}/children`, "utf8");
  const times = await Promise.all(children.trim().split(" ").map(ownCpuSeconds));
  return sum(times);
}

/** By the scheduler's count of each thread: in nanoseconds, where `stat` counts ticks of ten milliseconds. */
async function ownCpuSeconds(pid: string): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = await Promise.all(
    threads.map(async (thread) => {
      const [nanoseconds] = (await readFile(`/proc/${pid}/task/${thread}/schedstat`, "utf8")).split(" ");
      return Number(nanoseconds) / 1e9;
    }),
  );
  return sum(times);
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
