import { open, readFile, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { SettingError } from "./settings.ts";

const FILE = "stack.lock";

/** One stack for each home. A lock whose holder is gone, by pid and start time, is taken over. */
export class HomeLock {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  static async take(home: string): Promise<HomeLock> {
    const file = join(home, FILE);
    for (let attempt = 0; attempt < 3; attempt++) {
      const handle = await createExclusively(file);
      if (handle) {
        await handle.writeFile(`${process.pid} ${await startTime(process.pid)}\n`);
        await handle.close();
        return new HomeLock(file);
      }
      const [pid = "0", started = ""] = (await readFile(file, "utf8").catch(() => "")).trim().split(" ");
      if (Number(pid) > 0 && (await startTime(Number(pid))) === started) {
        throw new SettingError(
          `${home} is in use by the stack with process id ${pid}. Stop it or set SIGNALBOX_HOME.`,
        );
      }
      await rm(file, { force: true });
    }
    throw new SettingError(`${file} can't be taken: others are starting at the same time.`);
  }

  async release(): Promise<void> {
    await rm(this.#file, { force: true });
  }
}

async function createExclusively(file: string): Promise<FileHandle | null> {
  try {
    return await open(file, "wx", 0o600);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return null;
    throw error;
  }
}

/** Tells a process from a later one with the same id; where the system doesn't say, whether it lives. */
async function startTime(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "unknown";
  } catch {
    return isAlive(pid) ? "alive" : "gone";
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // no such process, or not ours to ask
  }
}
