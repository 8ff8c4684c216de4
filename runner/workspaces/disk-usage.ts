import { lstat, opendir } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { isSystemError } from "../runner-error.ts";

/** How long the measurement of an unchanged part holds. */
const BELIEVED_MS = 60_000;
/** Measuring a part again waits this many times as long as measuring it took. */
const REST_FACTOR = 20;
const REST_LEAST_MS = 1_000;

interface Part {
  bytes: number;
  measuredAt: number;
  tookMs: number;
  changed: boolean;
}

/**
 * What a directory occupies on disk. Measures its parts (entries, and the entries of hidden entries) one at a time, and
 * only those that may have changed, so that asking often is cheap.
 */
export class DiskUsage {
  readonly #root: string;
  readonly #parts = new Map<string, Part>();
  #measuring: Promise<number> | null = null;

  constructor(root: string) {
    this.#root = root;
  }

  /** Something at or below this path has changed. */
  touch(path: string): void {
    this.grow(path, 0);
  }

  /** Counts bytes just written there, until the next measurement. */
  grow(path: string, bytes: number): void {
    for (const name of this.#partNames(path)) {
      const known = this.#parts.get(name);
      if (known === undefined) continue;
      known.changed = true;
      known.bytes += bytes;
    }
  }

  /** Something large was deleted: the next look measures its part anew. */
  forget(path: string): void {
    for (const name of this.#partNames(path)) this.#parts.delete(name);
  }

  /** Bytes, as blocks. */
  async measure(): Promise<number> {
    this.#measuring ??= this.#measureParts().finally(() => (this.#measuring = null));
    return this.#measuring;
  }

  #partNames(path: string): string[] {
    const [first = "", second = ""] = relative(this.#root, path).split(sep);
    return [first, join(first, second)];
  }

  async #measureParts(): Promise<number> {
    const names: string[] = [];
    for (const name of await entryNames(this.#root)) {
      if (!name.startsWith(".")) names.push(name);
      else for (const inner of await entryNames(join(this.#root, name))) names.push(join(name, inner));
    }
    for (const known of this.#parts.keys()) if (!names.includes(known)) this.#parts.delete(known);
    let total = 0;
    for (const name of names) {
      const now = performance.now();
      const part = this.#parts.get(name);
      if (part && !isDue(part, now)) {
        total += part.bytes;
        continue;
      }
      const bytes = await occupied(join(this.#root, name), new Set());
      this.#parts.set(name, { bytes, measuredAt: now, tookMs: performance.now() - now, changed: false });
      total += bytes;
    }
    return total;
  }
}

function isDue(part: Part, now: number): boolean {
  const age = now - part.measuredAt;
  if (part.changed) return age >= Math.max(REST_LEAST_MS, part.tookMs * REST_FACTOR);
  return age >= Math.max(BELIEVED_MS, part.tookMs * REST_FACTOR);
}

async function occupied(path: string, seen: Set<number>): Promise<number> {
  return (await measureTree(path, seen)).bytes;
}

export interface TreeSize {
  /** As blocks. */
  bytes: number;
  /** Files, links and directories. */
  inodes: number;
}

/** What a tree occupies; `seen` are the hard-linked files that are counted already. */
export async function measureTree(path: string, seen: Set<number> = new Set()): Promise<TreeSize> {
  const size: TreeSize = { bytes: 0, inodes: 0 };
  try {
    const stats = await lstat(path);
    if (stats.nlink > 1 && !stats.isDirectory()) {
      // Package managers hard-link one file into many projects: it occupies its blocks once.
      if (seen.has(stats.ino)) return size;
      seen.add(stats.ino);
    }
    size.bytes += stats.blocks * 512;
    size.inodes += 1;
    if (!stats.isDirectory()) return size;
    for await (const entry of await opendir(path)) {
      const inner = await measureTree(join(path, entry.name), seen);
      size.bytes += inner.bytes;
      size.inodes += inner.inodes;
    }
  } catch (error) {
    // Gone while it was measured, or not ours to see.
    if (!isSystemError(error, "ENOENT", "ENOTDIR", "EACCES", "EPERM", "ENAMETOOLONG")) throw error;
  }
  return size;
}

async function entryNames(path: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of await opendir(path)) names.push(entry.name);
  } catch (error) {
    if (!isSystemError(error, "ENOENT", "ENOTDIR")) throw error;
  }
  return names;
}
