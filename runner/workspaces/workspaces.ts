import { lstat, mkdir, readdir, realpath, rename } from "node:fs/promises";
import { basename, join } from "node:path";
import { SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import type { Evictable } from "./disk.ts";
import { syncDirectory } from "./atomic-file.ts";
import { findCaches } from "./caches.ts";
import type { Trash } from "./trash.ts";

/** A person who comes back within half an hour shouldn't wait for an install. */
const IDLE_AFTER_MS = 30 * 60 * 1_000;

/** Who knows what runs in each project. */
export interface ProjectWatch {
  /** Why nothing of it may be deleted now. */
  inUse(slug: string): string | null;
  evicted(slug: string): void;
}

/** The projects below WORKSPACE_ROOT, one directory each, and who is using them. */
export class Workspaces {
  /** WORKSPACE_ROOT without symlinks. */
  readonly root: string;
  readonly #trash: Trash;
  readonly #idleAfterMs: number;
  readonly #users = new Map<string, number>();
  readonly #lastUsedAt = new Map<string, number>();
  #watch: ProjectWatch | null = null;

  private constructor(root: string, trash: Trash, idleAfterMs: number) {
    this.root = root;
    this.#trash = trash;
    this.#idleAfterMs = idleAfterMs;
  }

  static async open(root: string, trash: Trash, idleAfterMs: number = IDLE_AFTER_MS): Promise<Workspaces> {
    await mkdir(root, { recursive: true });
    return new Workspaces(await realpath(root), trash, idleAfterMs);
  }

  /**
   * A project's directory, which counts as used from now on. Errors: `invalid_project` for anything but a slug, `project_not_found`,
   * `path_outside_project` if a symlink has taken its place.
   */
  async enter(slug: unknown): Promise<string> {
    const directory = this.#directory(slug);
    try {
      const stats = await lstat(directory);
      if (stats.isSymbolicLink()) {
        throw new RunnerError("path_outside_project", "The project's directory is a symlink.");
      }
      if (!stats.isDirectory())
        throw new RunnerError("not_a_directory", "The project's place is taken by a file.");
    } catch (error) {
      if (isSystemError(error, "ENOENT"))
        throw new RunnerError("project_not_found", "There is no such project.");
      throw error;
    }
    this.#touch(directory);
    return directory;
  }

  /** As {@link enter}, and makes the directory if there is none. */
  async enterOrMake(slug: unknown): Promise<string> {
    await mkdir(this.#directory(slug)).then(
      () => syncDirectory(this.root),
      (error: unknown) => {
        if (!isSystemError(error, "EEXIST")) throw error;
      },
    );
    return this.enter(slug);
  }

  watchedBy(watch: ProjectWatch): void {
    this.#watch = watch;
  }

  /** When it was last used, in milliseconds since 1970; now, while it is. */
  async usedAt(slug: string): Promise<number> {
    const directory = this.#directory(slug);
    if (this.#isUsed(directory)) this.#touch(directory);
    const known = this.#lastUsedAt.get(directory);
    // A deletion in it changes its own time.
    return known ?? (await lstat(directory).catch(() => null))?.mtimeMs ?? 0; // deleted meanwhile
  }

  /** Whether somebody used it so shortly ago that they may come back. */
  isFresh(slug: string): boolean {
    return Date.now() - (this.#lastUsedAt.get(this.#directory(slug)) ?? -Infinity) < this.#idleAfterMs;
  }

  /** A restart of the runner is no use of a project. */
  remember(slug: string, usedAt: number): void {
    const directory = this.#directory(slug);
    if (!this.#isUsed(directory)) this.#lastUsedAt.set(directory, usedAt);
  }

  /** Keeps a project from counting as idle until the returned function is called. */
  use(slug: string): () => void {
    const directory = this.#directory(slug);
    this.#users.set(directory, (this.#users.get(directory) ?? 0) + 1);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const left = (this.#users.get(directory) ?? 1) - 1;
      if (left > 0) this.#users.set(directory, left);
      else this.#users.delete(directory);
      this.#touch(directory);
    };
  }

  async list(): Promise<string[]> {
    const entries = await readdir(this.root, { withFileTypes: true });
    return entries.flatMap((entry) =>
      entry.isDirectory() && SLUG_PATTERN.test(entry.name) ? entry.name : [],
    );
  }

  /** Deletes a project with everything in it; whether there was one. */
  async remove(slug: unknown): Promise<boolean> {
    const directory = this.#directory(slug);
    const removed = await this.#trash.discard(directory);
    this.#lastUsedAt.delete(directory);
    return removed;
  }

  /** Puts a project's files beside the projects, under a name that no project has; answers where, or null if there are none. */
  async setAside(slug: string): Promise<string | null> {
    const directory = this.#directory(slug);
    const path = `${directory}.kept-${new Date().toISOString().replace(/[:.]/g, "-")}`;
    const isThere = await rename(directory, path).then(
      () => true,
      (error: unknown) => {
        if (isSystemError(error, "ENOENT")) return false;
        throw error;
      },
    );
    this.#lastUsedAt.delete(directory);
    return isThere ? path : null;
  }

  /** The caches of unused projects, longest unused first. */
  async evictables(): Promise<Evictable[]> {
    const found: { usedAt: number; path: string }[] = [];
    for (const slug of await this.list()) {
      const directory = join(this.root, slug);
      const usedAt = await this.#idleSince(directory);
      if (usedAt === null) continue;
      for (const path of await findCaches(directory)) found.push({ usedAt, path });
    }
    found.sort((a, b) => a.usedAt - b.usedAt);
    return found.map(({ path }) => ({
      path,
      evict: async () => {
        // Work may have begun since the list was made.
        const directory = join(this.root, path.slice(this.root.length + 1).split("/")[0] ?? "");
        if ((await this.#idleSince(directory)) === null) return;
        await this.#trash.discard(path);
        this.#watch?.evicted(basename(directory));
      },
    }));
  }

  async #idleSince(directory: string): Promise<number | null> {
    if (this.#isUsed(directory)) return null;
    const stats = await lstat(directory).catch(() => null); // deleted meanwhile: nothing to evict
    if (stats === null) return null;
    const usedAt = Math.max(this.#lastUsedAt.get(directory) ?? 0, stats.mtimeMs);
    return Date.now() - usedAt >= this.#idleAfterMs ? usedAt : null;
  }

  #isUsed(directory: string): boolean {
    return this.#users.has(directory) || (this.#watch?.inUse(basename(directory)) ?? null) !== null;
  }

  #directory(slug: unknown): string {
    if (typeof slug !== "string" || !SLUG_PATTERN.test(slug)) {
      throw new RunnerError("invalid_project", `A project's slug must match ${SLUG_PATTERN.source}.`, "slug");
    }
    return join(this.root, slug);
  }

  #touch(directory: string): void {
    this.#lastUsedAt.set(directory, Date.now());
  }
}
