import { existsSync, type BigIntStats } from "node:fs";
import { lstat, readdir, readFile, readlink, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import {
  ENTRIES_LIMIT,
  foldedPath,
  whyRefusedLink,
  whyRefusedPath,
} from "../../../functions/protocol/source-paths.ts";
import { Failure } from "../failure.ts";
import { IgnoreRules } from "./ignore-rules.ts";

/** Source: the runner's own limit on what it unpacks. */
const BYTES_LIMIT = 2 * 1024 * 1024 * 1024;

export type SourceEntry =
  | {
      kind: "file";
      path: string;
      file: string;
      bytes: number;
      executable: boolean;
      /** Device and inode: what is packed must be what was looked at. */
      identity: string;
    }
  | { kind: "symlink"; path: string; target: string };

export interface SourceTree {
  directory: string;
  /** In the order of their paths' bytes; empty directories aren't listed. */
  entries: SourceEntry[];
  bytes: number;
  /** Sockets, pipes and devices, and homes of local stacks. */
  skipped: string[];
}

export interface TreeOptions {
  /** What is above the directory says nothing about what to ignore. */
  alone: boolean;
  /** Directories that are left out wherever they are: they hold secrets. */
  secret?: string[];
}

/**
 * What of a directory would be packed. Throws {@link Failure} for whatever a runner would refuse, and for too much. What
 * vanishes meanwhile is left out.
 */
export async function readSourceTree(directory: string, options: TreeOptions): Promise<SourceTree> {
  if ((await stat(directory).catch(() => null))?.isDirectory() !== true)
    throw new Failure("usage", "no_directory", `There is no directory ${directory}.`);
  const tree: SourceTree = { directory, entries: [], bytes: 0, skipped: [] };
  const secret = new Set((options.secret ?? []).map((path) => resolve(path)));
  if (await isSecret(directory, secret))
    throw new Failure(
      "usage",
      "secret_directory",
      `${directory} holds secrets of Signalbox: it isn't packed.`,
    );
  const walk = new Walk(tree, secret);
  await walk.into(directory, "", IgnoreRules.of(directory, options.alone));
  if (tree.entries.length === 0) {
    throw new Failure(
      "failed",
      "nothing_to_pack",
      `There is nothing to pack in ${directory}: it is empty, or all of it is ignored.`,
    );
  }
  if (walk.size > ENTRIES_LIMIT) {
    throw tooLarge(tree, `${walk.size} files and directories; ${ENTRIES_LIMIT} are the limit`);
  }
  if (tree.bytes > BYTES_LIMIT) throw tooLarge(tree, `${tree.bytes} bytes; ${BYTES_LIMIT} are the limit`);
  tree.entries.sort((one, other) => Buffer.compare(Buffer.from(one.path), Buffer.from(other.path)));
  return tree;
}

export function identityOf({ dev, ino }: Pick<BigIntStats, "dev" | "ino">): string {
  return `${dev}:${ino}`;
}

class Walk {
  readonly #tree: SourceTree;
  readonly #secret: ReadonlySet<string>;
  /** Paths by the name that a file system without case and with another normal form would know them by. */
  readonly #folded = new Map<string, string>();

  constructor(tree: SourceTree, secret: ReadonlySet<string>) {
    this.#tree = tree;
    this.#secret = secret;
  }

  /** What an archive would make: files, links and the directories that they are in. */
  get size(): number {
    return this.#folded.size;
  }

  async into(directory: string, prefix: string, rules: IgnoreRules): Promise<void> {
    // Names as bytes, and their kinds by a look of our own: Bun's entries have no name then.
    const found = await unlessVanished(readdir(directory, { encoding: "buffer" }));
    for (const raw of found ?? []) {
      const at = Buffer.concat([Buffer.from(`${directory}${sep}`), raw]);
      const stats = await unlessVanished(lstat(at, { bigint: true }));
      if (stats === null) continue;
      const name = raw.toString("utf8");
      const binary = raw.toString("latin1");
      if (rules.excludes(binary, stats.isDirectory())) continue;
      const path = `${prefix}${name}`;
      if (!Buffer.from(name).equals(raw)) throw refused(path, "has a name that isn't UTF-8");
      const file = join(directory, name);
      if (stats.isDirectory()) {
        if (await isSecret(file, this.#secret)) {
          this.#tree.skipped.push(`${path}/`);
          continue;
        }
        const before = this.#tree.entries.length;
        await this.into(file, `${path}/`, rules.below(file, binary));
        // Empty ones aren't packed, so theirs is no name that could be in the way.
        if (this.#tree.entries.length > before) this.#claim(path);
      } else if (stats.isSymbolicLink()) {
        const given = await unlessVanished(readlink(file, { encoding: "buffer" }));
        if (given === null) continue;
        const target = given.toString("utf8");
        if (!Buffer.from(target).equals(given)) throw refused(path, "leads to a name that isn't UTF-8");
        this.#addLink(path, target.split(sep).join("/"));
      } else if (stats.isFile()) {
        this.#addFile(path, file, stats);
      } else {
        this.#tree.skipped.push(path);
      }
    }
  }

  #addLink(path: string, target: string): void {
    this.#claim(path);
    const why = whyRefusedLink(path, target);
    if (why !== null) {
      throw new Failure(
        "failed",
        "link_outside",
        `${path} ${why} (${target}). Replace it, or ignore it in .signalboxignore.`,
      );
    }
    this.#tree.entries.push({ kind: "symlink", path, target });
  }

  #addFile(path: string, file: string, stats: BigIntStats): void {
    this.#claim(path);
    const bytes = Number(stats.size);
    const executable = (stats.mode & 0o111n) !== 0n;
    this.#tree.entries.push({ kind: "file", path, file, bytes, executable, identity: identityOf(stats) });
    this.#tree.bytes += bytes;
  }

  /** Throws for a path that not every system can unpack beside the others. */
  #claim(path: string): void {
    const why = whyRefusedPath(path);
    if (why !== null) throw refused(path, why);
    const folded = foldedPath(path);
    const other = this.#folded.get(folded);
    if (other !== undefined)
      throw refused(path, `and ${other} are one on systems where case or Unicode form doesn't count`);
    this.#folded.set(folded, path);
  }
}

function refused(path: string, why: string): Failure {
  return new Failure(
    "failed",
    "bad_name",
    `${JSON.stringify(path)} ${why}, which runners refuse. Rename it, or ignore it in .signalboxignore.`,
  );
}

/** Null: it was there a moment ago. */
async function unlessVanished<T>(looking: Promise<T>): Promise<T | null> {
  try {
    return await looking;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && "path" in error)) throw error;
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return null;
    throw new Failure(
      "failed",
      "unreadable_source",
      `${String(error.path)} can't be read (${String(error.code)}).`,
    );
  }
}

/** Whether a directory is named as one with secrets, or is the home of a local stack under any name. */
async function isSecret(directory: string, secret: ReadonlySet<string>): Promise<boolean> {
  if (secret.has(resolve(directory))) return true;
  const file = join(directory, "local.json");
  // Reading a pipe would wait for its writer.
  const isFile = (await stat(file).catch(() => null))?.isFile() === true;
  const text = isFile ? await readFile(file, "utf8").catch(() => null) : null;
  // A damaged one is the home of a stack all the same: beside it lies its state.
  return text !== null && (text.includes('"controlToken"') || existsSync(join(directory, "state")));
}

function tooLarge(tree: SourceTree, why: string): Failure {
  const largest = tree.entries
    .filter((entry) => entry.kind === "file")
    .toSorted((one, other) => other.bytes - one.bytes)
    .slice(0, 3)
    .map(({ path }) => path);
  return new Failure(
    "failed",
    "source_too_large",
    `${tree.directory} has ${why}. Ignore what isn't needed in .signalboxignore; the largest are ${largest.join(", ")}.`,
  );
}
