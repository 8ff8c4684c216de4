import { randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { isSystemError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";

/**
 * Deletes directories in two steps: a rename, after which nobody sees the thing any more, and the slow rest. The next
 * start deletes what a killed process left.
 */
export class Trash {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(directory: string): Promise<Trash> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const trash = new Trash(directory);
    await trash.empty();
    return trash;
  }

  /** Resolves when nothing of it is left; whether there was anything. */
  async discard(path: string): Promise<boolean> {
    const doomed = join(this.#directory, randomUUID());
    try {
      await rename(path, doomed);
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return false;
      // Another file system is mounted there: nothing can be moved out of it.
      if (!isSystemError(error, "EXDEV", "EBUSY")) throw error;
      await removeTree(path);
      return true;
    }
    await removeTree(doomed);
    return true;
  }

  async empty(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      // What can't be deleted (another user's files, a mount) harms nobody here; the runner starts all the same.
      await removeTree(join(this.#directory, name)).catch((error: unknown) =>
        complain(`trash: can't delete ${name}`, error),
      );
    }
  }
}

async function removeTree(path: string): Promise<void> {
  const options = { recursive: true, force: true, maxRetries: 3 };
  try {
    await rm(path, options);
  } catch (error) {
    if (!isSystemError(error, "EACCES", "EPERM")) throw error;
    await makeWritable(path);
    await rm(path, options);
  }
}

/** Some package caches make their directories read-only. */
async function makeWritable(path: string): Promise<void> {
  await chmod(path, 0o700);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(path, entry.name));
  }
}
