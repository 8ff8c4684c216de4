import { totalmem } from "node:os";

/** What one deployment may take. Null: no limit. */
export interface GuestLimits {
  /** Of its tree, its temporary files and its app's home. */
  diskBytes: number | null;
  /** Files, links and directories of these. */
  diskInodes: number | null;
  logBytes: number;
  memoryBytes: number | null;
  /** Processes and threads at a time. */
  processes: number | null;
}

/** A large app with its modules and build caches has 2 GB in 300,000 files. */
const DISK_BYTES = 10 * 1024 ** 3;
const DISK_INODES = 1_000_000;
/** Days of an ordinary app's output. */
const LOG_BYTES = 5 * 1024 * 1024;
/** What is left of the memory is the runner's and its neighbours'. */
const MEMORY_SHARE = 0.75;
/** Node has 11 threads, Chromium with a few pages 300. */
const PROCESSES = 4_096;

export const guestLimits = (): GuestLimits => ({
  diskBytes: DISK_BYTES,
  diskInodes: DISK_INODES,
  logBytes: LOG_BYTES,
  memoryBytes: Math.floor(MEMORY_SHARE * memoryOfThisHost()),
  processes: PROCESSES,
});

/** A container's limit, where there is one. */
function memoryOfThisHost(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** "512 MiB" */
export function mebibytes(bytes: number): string {
  const mib = bytes / 1024 / 1024;
  return `${mib < 10 ? mib.toFixed(1) : Math.round(mib)} MiB`;
}
