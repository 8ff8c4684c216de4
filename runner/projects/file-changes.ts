import { type FSWatcher, watch } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { Readable } from "node:stream";
import type { FileChanges } from "../../functions/protocol/workspace-api.ts";
import { isCache } from "../workspaces/caches.ts";
import { TEMPORARY_FILE } from "../workspaces/atomic-file.ts";

/** The system allows a user 8,192 watches and more; a project without its packages has some hundreds of directories. */
const DIRECTORIES_LIMIT = 2_000;
/** Editors and installs write many files at once. */
const GATHER_MS = 100;
const PATHS_LIMIT = 500;
/** Proxies close what is silent. */
const KEEP_ALIVE_MS = 15_000;

/**
 * What changes in a project from now on, as server-sent events `files`. Packages, caches and `.git` are left out, and links
 * aren't followed. Ends with its reader.
 */
export function fileChanges(project: string): Readable {
  const watchers = new Map<string, FSWatcher>();
  const touched = new Set<string>();
  let isIncomplete = false;
  let gathering: NodeJS.Timeout | undefined;
  const stream = new Readable({
    read: () => undefined,
    destroy(error, done) {
      clearTimeout(gathering);
      clearInterval(keepAlive);
      for (const watcher of watchers.values()) watcher.close();
      watchers.clear();
      done(error);
    },
  });
  const keepAlive = setInterval(() => stream.push(": still here\n\n"), KEEP_ALIVE_MS);

  const touch = (path: string): void => {
    if (touched.size < PATHS_LIMIT) touched.add(path);
    else isIncomplete = true;
    gathering ??= setTimeout(() => void tell(), GATHER_MS);
  };
  const tell = async (): Promise<void> => {
    gathering = undefined;
    const paths = [...touched].sort();
    touched.clear();
    const changes: FileChanges = { changed: [], deleted: [], truncated: isIncomplete };
    isIncomplete = false;
    for (const path of paths) {
      const stats = await lstat(path).catch(() => null); // deleted
      const name = relative(project, path);
      if (stats === null) changes.deleted.push(name);
      else if (stats.isDirectory()) await follow(path, true);
      else changes.changed.push(name);
    }
    if (changes.changed.length + changes.deleted.length > 0 || changes.truncated)
      stream.push(`event: files\ndata: ${JSON.stringify(changes)}\n\n`);
  };
  /** `isNew`: what is in it already was made before we looked. */
  const follow = async (directory: string, isNew: boolean): Promise<void> => {
    if (stream.destroyed || watchers.has(directory)) return;
    if (watchers.size >= DIRECTORIES_LIMIT) {
      isIncomplete = true;
      return;
    }
    try {
      const watcher = watch(directory, (_event, name) => {
        if (name === null || isLeftOut(name)) return;
        touch(join(directory, name));
      });
      watcher.on("error", () => forget(directory));
      watchers.set(directory, watcher);
      for (const entry of await readdir(directory, { withFileTypes: true })) {
        if (isLeftOut(entry.name)) continue;
        if (entry.isDirectory()) await follow(join(directory, entry.name), isNew);
        else if (isNew) touch(join(directory, entry.name));
      }
    } catch {
      forget(directory); // deleted meanwhile, which its parent tells
    }
  };
  const forget = (directory: string): void => {
    watchers.get(directory)?.close();
    watchers.delete(directory);
  };
  stream.push("retry: 1000\n\n");
  void follow(project, false).then(() => stream.push("event: ready\ndata: {}\n\n"));
  return stream;
}

function isLeftOut(name: string): boolean {
  return name === ".git" || isCache(name) || TEMPORARY_FILE.test(name);
}
