import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, posix } from "node:path";

/** More than any manifest or configuration has; what is longer is data. */
const READ_LIMIT_BYTES = 1024 * 1024;

/** A directory as detection sees it. Paths are relative, with forward slashes. */
export interface ProjectFiles {
  /** Null: it isn't there, or can't be read. */
  read(path: string): string | null;
  has(path: string): boolean;
  /** The names in a directory; none if there is no such directory. */
  list(path: string): string[];
}

export function projectFiles(directory: string): ProjectFiles {
  const at = (path: string): string => join(directory, path);
  return {
    read(path) {
      try {
        return statSync(at(path)).size > READ_LIMIT_BYTES ? null : readFileSync(at(path), "utf8");
      } catch {
        return null; // whoever needs the file says what is wrong with it
      }
    },
    has: (path) => existsSync(at(path)),
    list(path) {
      try {
        return readdirSync(at(path)).toSorted();
      } catch {
        return [];
      }
    },
  };
}

/** The same below one of its directories. */
export function filesBelow(files: ProjectFiles, directory: string): ProjectFiles {
  const at = (path: string): string => posix.join(directory, path);
  return {
    read: (path) => files.read(at(path)),
    has: (path) => files.has(at(path)),
    list: (path) => files.list(at(path)),
  };
}

/** The text of the first of these files that is there; empty without any. */
export function readFirst(files: ProjectFiles, paths: readonly string[]): string {
  for (const path of paths) {
    const text = files.read(path);
    if (text !== null) return text;
  }
  return "";
}

/** The spellings of a configuration file: `vite.config.ts` and so on. */
export function configNames(name: string): string[] {
  return ["js", "mjs", "cjs", "ts", "mts", "cts"].map((extension) => `${name}.${extension}`);
}
