import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import type { FileSearch, FoundFile, FoundFiles } from "../../functions/protocol/workspace-api.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { isCache } from "../workspaces/caches.ts";
import { HeldDirectory, verifyOpened, walk } from "../workspaces/held-directory.ts";
import { parseOutsidePath } from "../workspaces/outside-path.ts";
import { matchesWildcard } from "./wildcard.ts";

const MATCHES = 200;
export const MATCHES_LIMIT = 1_000;
/** Files and directories; a large monorepo without its packages has 30,000. */
const ENTRIES_LIMIT = 50_000;
const DEPTH_LIMIT = 50;
/** A source file; larger ones are data. */
const FILE_BYTES = 1024 * 1024;
const READ_LIMIT_BYTES = 128 * 1024 * 1024;
const TIME_LIMIT_MS = 8_000;
const LINE_LIMIT = 300;
/** Where text has none of these. Source: git looks at the first 8,000 bytes. */
const SNIFFED_BYTES = 8_000;

/** Files by name, or lines by what is in them. It follows no link, and leaves out packages, caches and `.git`. */
export async function searchFiles(
  project: string,
  { name, text, path = "", limit = MATCHES }: FileSearch,
): Promise<FoundFiles> {
  if ((name ?? "") === "" && (text ?? "") === "")
    throw new RunnerError("invalid_request", "Search for a name or for text.", "text");
  const search = new Search(name?.toLowerCase(), text, Math.min(limit, MATCHES_LIMIT));
  const components = parseOutsidePath(path);
  const place = await walk(project, components, { create: false, followLast: false });
  try {
    const { directory, name: last } = place;
    if (last === null) await search.directory(directory, components, 0);
    else await search.entry(directory, last, components, 0, "unknown");
  } finally {
    await place.close();
  }
  return search.found;
}

class Search {
  readonly found: FoundFiles = { matches: [], truncated: false };
  readonly #name: string | undefined;
  readonly #text: string | undefined;
  readonly #limit: number;
  readonly #deadline = performance.now() + TIME_LIMIT_MS;
  #entries = 0;
  #bytes = 0;

  constructor(name: string | undefined, text: string | undefined, limit: number) {
    this.#name = name === "" ? undefined : name;
    this.#text = text === "" ? undefined : text;
    this.#limit = limit;
  }

  async directory(directory: HeldDirectory, components: readonly string[], depth: number): Promise<void> {
    const entries = await readdir(directory.at(), { withFileTypes: true });
    for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
      if (this.#isOver()) return;
      if (entry.isSymbolicLink()) continue;
      const kind = entry.isDirectory() ? "directory" : entry.isFile() ? "file" : "other";
      if (kind === "directory" && (entry.name === ".git" || isCache(entry.name))) continue;
      await this.entry(directory, entry.name, [...components, entry.name], depth, kind);
    }
  }

  /** What goes away meanwhile isn't found. */
  async entry(
    parent: HeldDirectory,
    name: string,
    components: readonly string[],
    depth: number,
    kind: "directory" | "file" | "other" | "unknown",
  ): Promise<void> {
    if (kind === "other") return;
    if (kind !== "file" && depth < DEPTH_LIMIT) {
      const inside = await HeldDirectory.open(parent.at(name), parent.real(name)).catch(absent);
      if (inside !== null) {
        try {
          return await this.directory(inside, components, depth + 1);
        } finally {
          await inside.handle.close();
        }
      }
    }
    if (kind === "directory") return;
    const path = components.join("/");
    if (!this.#fits(path)) return;
    if (this.#text === undefined) this.#add({ path });
    else await this.#lines(parent, name, path, this.#text);
  }

  async #lines(parent: HeldDirectory, name: string, path: string, wanted: string): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await open(parent.at(name), flags).catch(absent);
    if (file === null) return;
    try {
      await verifyOpened(file, parent.real(name));
      const stats = await file.stat();
      if (!stats.isFile() || stats.size > FILE_BYTES) return;
      const buffer = Buffer.alloc(stats.size);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      this.#bytes += bytesRead;
      const data = buffer.subarray(0, bytesRead);
      if (data.subarray(0, SNIFFED_BYTES).includes(0) || !data.includes(wanted)) return;
      for (const [at, line] of data.toString("utf8").split("\n").entries()) {
        const column = line.indexOf(wanted);
        if (column < 0) continue;
        if (this.#isOver()) return;
        const start = Math.max(0, Math.min(column - LINE_LIMIT / 3, line.length - LINE_LIMIT));
        this.#add({ path, line: at + 1, text: line.slice(start, start + LINE_LIMIT).replace(/\r$/, "") });
      }
    } finally {
      await file.close();
    }
  }

  #fits(path: string): boolean {
    if (this.#name === undefined) return true;
    const lower = path.toLowerCase();
    if (!/[*?]/.test(this.#name)) return lower.includes(this.#name);
    const last = lower.slice(lower.lastIndexOf("/") + 1);
    return matchesWildcard(this.#name, lower) || matchesWildcard(this.#name, last);
  }

  #add(match: FoundFile): void {
    this.found.matches.push(match);
  }

  #isOver(): boolean {
    const isOver =
      this.found.matches.length >= this.#limit ||
      ++this.#entries > ENTRIES_LIMIT ||
      this.#bytes > READ_LIMIT_BYTES ||
      performance.now() > this.#deadline;
    if (isOver) this.found.truncated = true;
    return isOver;
  }
}

function absent(error: unknown): null {
  if (error instanceof RunnerError || isSystemError(error, "ENOENT", "ELOOP", "ENOTDIR", "EACCES", "ENXIO"))
    return null;
  throw error;
}
