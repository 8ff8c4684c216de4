import { readFile } from "node:fs/promises";
import { findProcesses, type Quarry } from "./process-table.ts";

/** A process that waits for ever does a little now and then, too. */
const BYTES_NEEDED = 64 * 1024;
/** In ticks of 10 ms, as Linux has them everywhere. */
const TICKS_NEEDED = 200;

interface Activity {
  bytes: number;
  ticks: number;
}

/** Sees whether a command gets anywhere: by what it reads, writes and computes. Without /proc it always does. */
export class ActivityWatch {
  #before: Activity = { bytes: 0, ticks: 0 };
  #movedAt = performance.now();

  /** Milliseconds since it last got somewhere. */
  async idleMs(quarry: Quarry): Promise<number> {
    const now = await activityOf(quarry);
    // Fewer: processes have ended, which is progress.
    const moved =
      now === null ||
      now.bytes < this.#before.bytes ||
      now.bytes - this.#before.bytes >= BYTES_NEEDED ||
      now.ticks - this.#before.ticks >= TICKS_NEEDED;
    if (moved) {
      this.#before = now ?? this.#before;
      this.#movedAt = performance.now();
    }
    return performance.now() - this.#movedAt;
  }

  /** It said something. */
  moved(): void {
    this.#movedAt = performance.now();
  }
}

/** Null: this host doesn't show it. */
async function activityOf(quarry: Quarry): Promise<Activity | null> {
  const sum: Activity = { bytes: 0, ticks: 0 };
  let isShown = false;
  for (const { pid } of await findProcesses(quarry)) {
    const [io, stat] = await Promise.all([
      readFile(`/proc/${pid}/io`, "latin1").catch(() => null), // it ended meanwhile
      readFile(`/proc/${pid}/stat`, "latin1").catch(() => null),
    ]);
    if (io === null || stat === null) continue;
    isShown = true;
    for (const name of ["rchar", "wchar"])
      sum.bytes += Number(new RegExp(`^${name}: (\\d+)`, "m").exec(io)?.[1] ?? 0);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    sum.ticks += Number(fields[11]) + Number(fields[12]);
  }
  return isShown ? sum : null;
}
