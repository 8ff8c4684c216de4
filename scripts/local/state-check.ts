import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SettingError } from "./settings.ts";

/** How every SQLite file begins. Source: sqlite.org/fileformat.html */
const MAGIC = "SQLite format 3\0";
/** A larger one takes seconds to check; what is wrong with it shows in its answers. */
const CHECKED_BYTES = 64 * 1024 * 1024;
/** Where workerd keeps the store. */
const STORE = "signalbox-EmbeddedStore";
/** SQLite and workerd keep tables of their own in an empty one. */
const STORE_TABLE = "apps";

/**
 * Looks at what workerd keeps of Durable Objects before workerd does, which takes an empty file for a new object. Throws
 * {@link SettingError} for a damaged file, and where a store was and isn't any more.
 */
export async function checkState(directory: string, hadStore: boolean): Promise<void> {
  let hasStore = false;
  for (const kind of await namesIn(directory)) {
    for (const name of await namesIn(join(directory, kind))) {
      if (!name.endsWith(".sqlite")) continue;
      const file = join(directory, kind, name);
      const tables = await checkDatabase(file);
      if (kind === STORE && tables.includes(STORE_TABLE)) hasStore = true;
    }
  }
  if (!hadStore || hasStore) return;
  throw new SettingError(
    `The store in ${directory} is gone: an earlier start left one there, and now it is empty. Restore it from a ` +
      "backup, or delete local.json beside it to begin anew.",
  );
}

/** The names of its tables. */
async function checkDatabase(file: string): Promise<string[]> {
  const { size } = await stat(file);
  if (size === 0) throw damaged(file, "it is empty");
  if ((await firstBytes(file)) !== MAGIC) throw damaged(file, "it isn't a database");
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { readOnly: true });
    if (size <= CHECKED_BYTES) {
      const [found] = Object.values(database.prepare("PRAGMA quick_check(1)").get() ?? {});
      if (found !== "ok") throw new Error(String(found));
    }
    return database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
      .all()
      .map((row) => String(row["name"]));
  } catch (error) {
    throw damaged(file, error instanceof Error ? error.message : String(error));
  } finally {
    database?.close();
  }
}

async function firstBytes(file: string): Promise<string> {
  const handle = await open(file, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return [];
    throw error;
  }
}

function damaged(file: string, why: string): SettingError {
  return new SettingError(
    `The state file ${file} is damaged: ${why}. Restore it from a backup, or delete the directory of all state ` +
      "and local.json beside it to begin anew.",
  );
}
