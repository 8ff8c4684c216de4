import { setTimeout as sleep } from "node:timers/promises";
import { findHolders } from "./directory-holders.ts";
import { findProcesses, killGroups, type ProcessIdentity, type Quarry, signalAll } from "./process-table.ts";

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
    let found = await findProcesses(quarry, known);
    // Slower: every open file of every process. Only what has shed all other ties needs it.
    if (found.length === 0 && quarry.directory)
      found = (await findHolders(quarry.directory, quarry.leader)).ours;
    const fresh = found.filter((one) => !known.some((other) => isSame(one, other)));
    known.push(...fresh);
    return found;
  };
  const asked: ProcessIdentity[] = [];
  const ask = (processes: ProcessIdentity[]): void => {
    // A wrapper becomes the command by `exec`, and is asked then.
    const fresh = processes.filter(
      (one) => one.isWrapper !== true && !asked.some((other) => isSame(one, other)),
    );
    asked.push(...fresh);
    signalAll(fresh, "SIGTERM");
  };
  let left = await look();
  if (graceMs > 0 && left.length > 0) left = await waitUntilGone(look, graceMs, ask, left);
  if (left.length === 0) return;
  // Again at each look: a process may have forked between the look and the signal.
  left = await waitUntilGone(
    look,
    KILL_LIMIT_MS,
    async (survivors) => {
      if ((await quarry.group?.kill()) === true) return;
      await killGroups(survivors);
      signalAll(survivors, "SIGKILL");
    },
    left,
  );
  if (left.length > 0)
    throw new Error(`Processes ${left.map(({ pid }) => pid).join(", ")} survived SIGKILL.`);
}

function isSame(one: ProcessIdentity, other: ProcessIdentity): boolean {
  return one.pid === other.pid && one.startTime === other.startTime;
}

async function waitUntilGone(
  look: () => Promise<ProcessIdentity[]>,
  limitMs: number,
  each: (processes: ProcessIdentity[]) => Promise<void> | void,
  first: ProcessIdentity[],
): Promise<ProcessIdentity[]> {
  // The time of day may be set meanwhile; this clock isn't.
  const deadline = performance.now() + limitMs;
  let left = first;
  for (let delayMs = FIRST_LOOK_MS; ; delayMs = Math.min(2 * delayMs, LOOK_LIMIT_MS)) {
    await each(left);
    await sleep(Math.min(delayMs, Math.max(1, Math.ceil(deadline - performance.now()))));
    left = await look();
    if (left.length === 0 || performance.now() >= deadline) return left;
  }
}
