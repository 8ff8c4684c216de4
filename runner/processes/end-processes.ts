import { setTimeout as sleep } from "node:timers/promises";
import { findProcesses, type ProcessIdentity, type Quarry, signalAll } from "./process-table.ts";

/** Nothing survives SIGKILL but a process inside the kernel, on a hung disk for example: then the caller must know. */
const KILL_LIMIT_MS = 10_000;
const FIRST_LOOK_MS = 20;
const LOOK_LIMIT_MS = 200;

/**
 * Ends every process of a hosted command: SIGTERM, the grace, SIGKILL, and only returns once none is left. Throws if
 * some can't be killed.
 */
export async function endProcesses(quarry: Quarry, graceMs: number): Promise<void> {
  // Remember what was found: its parent may end first, and with it the only tie to this command.
  const known: ProcessIdentity[] = [];
  const look = async (): Promise<ProcessIdentity[]> => {
    const found = await findProcesses(quarry, known);
    known.push(...found.filter(({ pid }) => !known.some((one) => one.pid === pid)));
    return found;
  };
  let left = await look();
  if (left.length === 0) return;
  signalAll(
    left.filter(({ isWrapper }) => isWrapper !== true),
    "SIGTERM",
  );
  left = await waitUntilGone(look, graceMs, () => undefined);
  if (left.length === 0) return;
  signalAll(left, "SIGKILL");
  // Again at each look: a process may have forked between the look and the signal.
  left = await waitUntilGone(look, KILL_LIMIT_MS, (survivors) => signalAll(survivors, "SIGKILL"));
  if (left.length > 0)
    throw new Error(`Processes ${left.map(({ pid }) => pid).join(", ")} survived SIGKILL.`);
}

async function waitUntilGone(
  look: () => Promise<ProcessIdentity[]>,
  limitMs: number,
  each: (processes: ProcessIdentity[]) => void,
): Promise<ProcessIdentity[]> {
  // The time of day may be set meanwhile; this clock isn't.
  const deadline = performance.now() + limitMs;
  for (let delayMs = FIRST_LOOK_MS; ; delayMs = Math.min(2 * delayMs, LOOK_LIMIT_MS)) {
    const left = await look();
    const remaining = Math.ceil(deadline - performance.now());
    if (left.length === 0 || remaining <= 0) return left;
    each(left);
    await sleep(Math.min(delayMs, remaining));
  }
}
