import { type FSWatcher, watch } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { Readable } from "node:stream";
import type { FileChanges } from "../../functions/protocol/workspace-api.ts";
import { hasSystemCode, isSystemError, RunnerError } from "../runner-error.ts";
import { TEMPORARY_FILE } from "../workspaces/atomic-file.ts";
import { isCache } from "../workspaces/caches.ts";
import { HeldDirectory } from "../workspaces/held-directory.ts";

/** The system allows a user 8,192 watches and more; a project without its packages has some hundreds of directories. */
const DIRECTORIES_LIMIT = 2_000;
/** Each level holds a descriptor while it is read. */
const DEPTH_LIMIT = 64;
/** Editors and installs write many files at once. */
const GATHER_MS = 100;
const PATHS_LIMIT = 500;
/** Proxies close what is silent. */
const KEEP_ALIVE_MS = 15_000;

/**
 * What changes in a project from now on, as server-sent events: `ready`, `files` ({@link FileChanges}), and `incomplete` with a
 * reason where not all of it can be watched. Packages, caches and `.git` are left out, and links aren't followed. Ends with its
 * reader, and with `ending`.
 */
export function fileChanges(project: string, ending: AbortSignal): Readable {
  return new ChangeWatch(project, ending).stream;
}

type Opening = "done" | "gone" | "failed";

class ChangeWatch {
  readonly stream: Readable;
  readonly #project: string;
  /** By path of the project; its own is empty. */
  readonly #watchers = new Map<string, FSWatcher>();
  /** Paths since the reader was last told; true: made, moved or deleted. */
  readonly #touched = new Map<string, boolean>();
  readonly #keepAlive: NodeJS.Timeout;
  readonly #reasons = new Set<string>();
  #gathering: NodeJS.Timeout | undefined;
  #isTelling = false;
  #isTruncated = false;
  /** The reader takes more. While it doesn't, nothing is written, and what changes is gathered up to its limit. */
  #isTaken = true;

  constructor(project: string, ending: AbortSignal) {
    this.#project = project;
    const end = (): void => void this.stream.destroy();
    this.stream = new Readable({
      read: () => {
        this.#isTaken = true;
        this.#gather();
      },
      destroy: (error, done) => {
        ending.removeEventListener("abort", end);
        clearTimeout(this.#gathering);
        clearInterval(this.#keepAlive);
        for (const watcher of this.#watchers.values()) watcher.close();
        this.#watchers.clear();
        done(error);
      },
    });
    this.#keepAlive = setInterval(() => this.#isTaken && this.#say(": still here\n\n"), KEEP_ALIVE_MS);
    ending.addEventListener("abort", end, { once: true });
    if (ending.aborted) end();
    this.#say("retry: 1000\n\n");
    void this.#begin();
  }

  async #begin(): Promise<void> {
    await this.#inDirectory("", (root) => this.#follow(root, "", false));
    this.#say("event: ready\ndata: {}\n\n");
  }

  #say(text: string): void {
    if (!this.stream.destroyed) this.#isTaken = this.stream.push(text);
  }

  #touch(path: string, isRenamed: boolean): void {
    const known = this.#touched.get(path);
    if (known !== undefined || this.#touched.size < PATHS_LIMIT)
      this.#touched.set(path, isRenamed || known === true);
    else this.#isTruncated = true;
    this.#gather();
  }

  #gather(): void {
    const isIdle = this.#touched.size === 0 && !this.#isTruncated;
    if (isIdle || this.#isTelling || !this.#isTaken || this.stream.destroyed) return;
    this.#gathering ??= setTimeout(() => void this.#tell(), GATHER_MS);
  }

  async #tell(): Promise<void> {
    this.#gathering = undefined;
    this.#isTelling = true;
    const changes: FileChanges = { changed: [], deleted: [], truncated: this.#isTruncated };
    const touched = [...this.#touched].sort(([one], [other]) => (one < other ? -1 : 1));
    this.#touched.clear();
    this.#isTruncated = false;
    for (const [parent, names] of byParent(touched)) {
      const opening = await this.#inDirectory(parent, async (directory) => {
        for (const [name, isRenamed] of names) await this.#look(directory, parent, name, isRenamed, changes);
      });
      if (opening === "gone") changes.deleted.push(...names.map(([name]) => below(parent, name)));
    }
    if (changes.changed.length + changes.deleted.length > 0 || changes.truncated)
      this.#say(`event: files\ndata: ${JSON.stringify(changes)}\n\n`);
    this.#isTelling = false;
    this.#gather();
  }

  async #look(
    directory: HeldDirectory,
    parent: string,
    name: string,
    isRenamed: boolean,
    changes: FileChanges,
  ): Promise<void> {
    const path = below(parent, name);
    // What was watched at this path may be somewhere else now.
    if (isRenamed) this.#forget(path);
    const stats = await lstat(directory.at(name)).catch(() => null); // deleted
    if (stats === null) changes.deleted.push(path);
    else if (!stats.isDirectory()) changes.changed.push(path);
    else if (!this.#watchers.has(path)) await this.#enter(directory, path, name, true);
  }

  /** `isNew`: what is in it already was made before we looked. */
  async #follow(directory: HeldDirectory, path: string, isNew: boolean): Promise<void> {
    if (this.stream.destroyed) return;
    if (this.#watchers.size >= DIRECTORIES_LIMIT)
      return this.#incomplete(`More than ${DIRECTORIES_LIMIT} directories aren't watched.`);
    if (path.split("/").length > DEPTH_LIMIT)
      return this.#incomplete(`Directories below ${DEPTH_LIMIT} others aren't watched.`);
    // By its descriptor: a guest may put a link in the place of a name at any time.
    const watcher = watch(directory.at(), (event, name) => {
      if (name !== null && !isLeftOut(name)) this.#touch(below(path, name), event === "rename");
    });
    watcher.on("error", () => {
      this.#forget(path);
      this.#incomplete("A directory could no longer be watched.");
    });
    this.#watchers.set(path, watcher);
    for await (const entry of await opendir(directory.at())) {
      if (isLeftOut(entry.name)) continue;
      if (entry.isDirectory()) await this.#enter(directory, below(path, entry.name), entry.name, isNew);
      else if (isNew) this.#touch(below(path, entry.name), true);
    }
  }

  async #enter(parent: HeldDirectory, path: string, name: string, isNew: boolean): Promise<void> {
    await this.#opened(
      () => HeldDirectory.open(parent.at(name), parent.real(name)),
      (directory) => this.#follow(directory, path, isNew),
    );
  }

  /** Each of its parents by descriptor. */
  async #inDirectory(path: string, work: (directory: HeldDirectory) => Promise<void>): Promise<Opening> {
    const names = path === "" ? [] : path.split("/");
    let inner: Opening = "done";
    const step = async (directory: HeldDirectory): Promise<void> => {
      const name = names.shift();
      if (name === undefined) return work(directory);
      inner = await this.#opened(() => HeldDirectory.open(directory.at(name), directory.real(name)), step);
    };
    const project = await this.#opened(() => HeldDirectory.open(this.#project, this.#project), step);
    // Deleted, or it has another slug: its reader asks again and is told.
    if (project === "gone") this.stream.destroy();
    return project === "done" ? inner : project;
  }

  async #opened(
    open: () => Promise<HeldDirectory>,
    work: (directory: HeldDirectory) => Promise<void>,
  ): Promise<Opening> {
    let directory: HeldDirectory | null = null;
    try {
      directory = await open();
      await work(directory);
      return "done";
    } catch (error) {
      if (error instanceof RunnerError || isSystemError(error, "ENOENT", "ENOTDIR")) return "gone";
      this.#incomplete(reasonOf(error));
      return "failed";
    } finally {
      await directory?.handle.close();
    }
  }

  /** Says each reason once. */
  #incomplete(reason: string): void {
    this.#isTruncated = true;
    if (this.#reasons.has(reason)) return;
    this.#reasons.add(reason);
    this.#say(`event: incomplete\ndata: ${JSON.stringify({ reason })}\n\n`);
  }

  #forget(path: string): void {
    for (const [watched, watcher] of this.#watchers) {
      if (watched !== path && !watched.startsWith(`${path}/`)) continue;
      watcher.close();
      this.#watchers.delete(watched);
    }
  }
}

function reasonOf(error: unknown): string {
  if (isSystemError(error, "ENOSPC"))
    return "The system lets this user watch no more directories: raise fs.inotify.max_user_watches.";
  if (isSystemError(error, "EMFILE", "ENFILE"))
    return "The runner has too many files open, or too many watches: raise its limit of open files, or fs.inotify.max_user_instances.";
  const code = hasSystemCode(error) ? error.code : "unknown error";
  return `A directory can't be watched (${code}).`;
}

function byParent(touched: [string, boolean][]): Map<string, [string, boolean][]> {
  const found = new Map<string, [string, boolean][]>();
  for (const [path, isRenamed] of touched) {
    const at = path.lastIndexOf("/");
    const parent = path.slice(0, Math.max(at, 0));
    const names = found.get(parent) ?? [];
    names.push([path.slice(at + 1), isRenamed]);
    found.set(parent, names);
  }
  return found;
}

function below(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

function isLeftOut(name: string): boolean {
  return name === ".git" || isCache(name) || TEMPORARY_FILE.test(name);
}
