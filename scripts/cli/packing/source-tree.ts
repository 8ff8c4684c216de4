import { lstat, readdir, readlink } from "node:fs/promises";
import { join, posix, sep } from "node:path";
import { Failure } from "../failure.ts";
import { IgnoreRules } from "./ignore-rules.ts";

/** Source: the runner's own limits on what it unpacks. */
const ENTRIES_LIMIT = 100_000;
const BYTES_LIMIT = 2 * 1024 * 1024 * 1024;

export type SourceEntry =
  | { kind: "file"; path: string; file: string; bytes: number; executable: boolean }
  | { kind: "symlink"; path: string; target: string };

export interface SourceTree {
  directory: string;
  /** In the order of their paths' bytes; empty directories aren't listed. */
  entries: SourceEntry[];
  bytes: number;
  /** Sockets, pipes and devices. */
  skipped: string[];
}

/** What of a directory would be packed. Throws {@link Failure} for links that lead out of it and for too much. */
export async function readSourceTree(directory: string, options: { alone: boolean }): Promise<SourceTree> {
  const tree: SourceTree = { directory, entries: [], bytes: 0, skipped: [] };
  try {
    await walk(directory, "", IgnoreRules.of(directory, options.alone), tree);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) {
      throw new Failure("usage", "no_directory", `There is no directory ${directory}.`);
    }
    throw error;
  }
  if (tree.entries.length === 0) {
    throw new Failure(
      "failed",
      "nothing_to_pack",
      `There is nothing to pack in ${directory}: it is empty, or all of it is ignored.`,
    );
  }
  if (tree.entries.length > ENTRIES_LIMIT) {
    throw tooLarge(tree, `${tree.entries.length} files; ${ENTRIES_LIMIT} are the limit`);
  }
  if (tree.bytes > BYTES_LIMIT) throw tooLarge(tree, `${tree.bytes} bytes; ${BYTES_LIMIT} are the limit`);
  tree.entries.sort((one, other) => Buffer.compare(Buffer.from(one.path), Buffer.from(other.path)));
  return tree;
}

async function walk(directory: string, prefix: string, rules: IgnoreRules, tree: SourceTree): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const file = join(directory, entry.name);
    const path = `${prefix}${entry.name}`;
    if (rules.excludes(file, entry.isDirectory())) continue;
    if (entry.isDirectory()) {
      await walk(file, `${path}/`, rules.below(file), tree);
    } else if (entry.isSymbolicLink()) {
      tree.entries.push({ kind: "symlink", path, target: insideTarget(path, await readlink(file)) });
    } else if (entry.isFile()) {
      const { size, mode } = await lstat(file);
      tree.entries.push({ kind: "file", path, file, bytes: size, executable: (mode & 0o111) !== 0 });
      tree.bytes += size;
    } else {
      tree.skipped.push(path);
    }
  }
}

/** A link may climb only at its beginning, and not out: where it leads is then the same on every machine. */
function insideTarget(path: string, given: string): string {
  const target = given.split(sep).join("/");
  const refuse = (why: string): Failure =>
    new Failure(
      "failed",
      "link_outside",
      `${path} is a symbolic link ${why} (${given}). Replace it, or ignore it in .signalboxignore.`,
    );
  if (posix.isAbsolute(target) || /^[a-z]:/i.test(target)) throw refuse("to an absolute path");
  const parts = target.split("/").filter((part) => part !== "" && part !== ".");
  const descent = parts.slice(parts.findLastIndex((part) => part === "..") + 1);
  if (parts.slice(0, parts.length - descent.length).some((part) => part !== "..")) {
    throw refuse("that climbs after it has descended");
  }
  const height = path.split("/").length - 1;
  if (parts.length - descent.length > height) throw refuse("that leads out of the directory");
  return target;
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
