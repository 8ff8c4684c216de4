import { chmodSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";

/** SQLite's "database is locked". Source: sqlite.org/rescode.html */
const SQLITE_BUSY = 5;

/** The lock can't be used. The message names the file and the remedy. */
export class LockError extends Error {
  override readonly name = "LockError";

  constructor(file: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `The lock ${file} can't be taken (${why}). Make sure that its directory can be written, and delete it.`,
    );
  }
}

/**
 * At most one process holds it. The lock is SQLite's own on an empty database, so the system releases it when its holder
 * ends, however it ends. The file stays: whoever deletes a lock lets two processes hold it.
 */
export class FileLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** The lock, or the process id of who holds it. */
  static async take(file: string): Promise<FileLock | { holder: string }> {
    const holder = `${file}.holder`;
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file, { timeout: 0 });
      // Whoever can read it can hold it.
      chmodSync(file, 0o600);
      database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      database?.close();
      if (!isBusy(error)) throw new LockError(file, error);
      // For the message alone.
      return { holder: await readFile(holder, "utf8").catch(() => "unknown") };
    }
    await writeFile(holder, String(process.pid), { mode: 0o600 }).catch(() => undefined); // a full disk keeps nobody out
    return new FileLock(database);
  }

  release(): void {
    this.#database.close();
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}
