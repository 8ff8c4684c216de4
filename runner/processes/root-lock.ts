import { randomUUID } from "node:crypto";
import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isSystemError, Problem } from "../problem.ts";
import { bootId, startTimeOf } from "./process-table.ts";

const ATTEMPTS = 10;
/** Longer than a lock is empty between being made and being signed. */
const UNSIGNED_MS = 100;

/** One runner for each workspace: a second one would take the first one's processes for orphans. */
export class RootLock {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  /** A lock whose holder is gone, by identity, is taken over. Throws {@link Problem} `workspace_in_use`. */
  static async take(file: string): Promise<RootLock> {
    const boot = await bootId();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const handle = await createExclusively(file);
      if (handle) {
        await handle.writeFile(`${process.pid} ${boot} ${(await startTimeOf(process.pid)) ?? ""}\n`);
        await handle.close();
        return new RootLock(file);
      }
      const text = await readFile(file, "utf8").catch(() => ""); // released meanwhile: the next attempt takes it
      if (text === "" && attempt < ATTEMPTS / 2) {
        // Just being taken by another runner, or by one that a full disk or a power cut kept from signing it.
        await sleep(UNSIGNED_MS);
        continue;
      }
      const [pid = "0", holderBoot, ...started] = text.trim().split(" ");
      const startTime = Number(pid) > 0 ? await startTimeOf(Number(pid)) : null;
      if (holderBoot === boot && startTime !== null && startTime === started.join(" ")) {
        throw new Problem(
          "workspace_in_use",
          `The workspace belongs to the runner with process id ${pid}: stop it or choose another WORKSPACE_ROOT.`,
        );
      }
      await removeIfStill(file, text);
    }
    throw new Problem("workspace_in_use", "Other runners are starting in this workspace at the same time.");
  }

  async release(): Promise<void> {
    await rm(this.#file, { force: true });
  }
}

/** Of those who find the same stale lock, the later ones must not remove the new lock of the first. */
async function removeIfStill(file: string, text: string): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  try {
    await rename(file, aside);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return;
    throw error;
  }
  if ((await readFile(aside, "utf8")) === text) await rm(aside, { force: true });
  else await rename(aside, file);
}

async function createExclusively(file: string): Promise<FileHandle | null> {
  try {
    return await open(file, "wx", 0o600);
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return null;
    throw error;
  }
}
