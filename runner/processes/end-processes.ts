import { setTimeout as sleep } from "node:timers/promises";
import { findProcesses, type Quarry, signalAll } from "./process-table.ts";

/** Nothing survives SIGKILL but a process inside the kernel, on a hung disk for example: then the caller must know. */
const KILL_LIMIT_MS = 10_000;
const FIRST_LOOK_MS = 20;
const LOOK_LIMIT_MS = 200;

/**
 * Ends every process of a hosted command: SIGTERM, the grace, SIGKILL, and only returns once none is left. Throws if
 * some can't be killed.
 */
export async function endProcesses(quarry: Quarry, graceMs: number): Promise<void> {
  let left = await findProcesses(quarry);
  if (left.length === 0) return;
  signalAll(left, "SIGTERM");
  left = await waitUntilGone(quarry, graceMs, () => undefined);
  if (left.length === 0) return;
  signalAll(left, "SIGKILL");
  // Again at each look: a process may have forked between the look and the signal.
  left = await waitUntilGone(quarry, KILL_LIMIT_MS, (pids) => signalAll(pids, "SIGKILL"));
  if (left.length > 0) throw new Error(`Processes ${left.join(", ")} survived SIGKILL.`);
}

async function waitUntilGone(
  quarry: Quarry,
  limitMs: number,
  each: (pids: number[]) => void,
): Promise<number[]> {
  const deadline = Date.now() + limitMs;
  for (let pause = FIRST_LOOK_MS; ; pause = Math.min(2 * pause, LOOK_LIMIT_MS)) {
    const left = await findProcesses(quarry);
    const remaining = deadline - Date.now();
    if (left.length === 0 || remaining <= 0) return left;
    each(left);
    await sleep(Math.min(pause, remaining));
  }
}
