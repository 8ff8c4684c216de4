import { readFile, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { Problem } from "../problem.ts";

/** SQLite's "database is locked". Source: sqlite.org/rescode.html */
const SQLITE_BUSY = 5;

/**
 * One runner for each workspace: a second one would take the first one's processes for orphans. The lock is SQLite's own
 * on an empty database, so the system lets go of it when its holder ends, however that comes about.
 */
export class RootLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Throws {@link Problem} `workspace_in_use`. The file stays: to delete a lock is to let two hold one of its name. */
  static async take(file: string): Promise<RootLock> {
    const holder = `${file}.holder`;
    const database = new DatabaseSync(file, { timeout: 0 });
    try {
      database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      database.close();
      if (!isBusy(error)) throw error;
      const pid = await readFile(holder, "utf8").catch(() => "unknown"); // only says which one it is
      throw new Problem(
        "workspace_in_use",
        `The workspace belongs to the runner with process id ${pid}: stop it or choose another WORKSPACE_ROOT.`,
      );
    }
    await writeFile(holder, String(process.pid)).catch(() => undefined); // a full disk doesn't keep a runner out
    return new RootLock(database);
  }

  release(): void {
    this.#database.close();
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}
