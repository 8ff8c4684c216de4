import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { isSystemError } from "../runner-error.ts";

/** Files of this form are leftovers of a killed process and may be deleted at its next start. */
export const TEMPORARY_FILE = /^\.signalbox-[0-9a-f-]{36}\.tmp$/;

export function temporaryName(): string {
  return `.signalbox-${randomUUID()}.tmp`;
}

/** Writes a file as a whole or not at all, whatever kills this process: readers see the old or the new one. */
export async function writeFileAtomically(path: string, data: string, mode = 0o600): Promise<void> {
  const temporary = `${dirname(path)}/${temporaryName()}`;
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes a rename survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    // Some systems can't open or sync a directory; there the rename is as durable as it gets.
    if (!isSystemError(error, "EISDIR", "EPERM", "EINVAL", "EACCES", "ENOTSUP", "EBADF")) throw error;
  }
}
