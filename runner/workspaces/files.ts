import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { temporaryName } from "./atomic-file.ts";
import { giveLike, HeldDirectory, verifyOpened, walk } from "./held-directory.ts";
import { outside, parseOutsidePath } from "./outside-path.ts";
import type { Trash } from "./trash.ts";

/** Leaves room for base64 and JSON escapes in a control message of 4 MiB. */
export const FILE_LIMIT_BYTES = 2 * 1024 * 1024;
/** A directory of this size is already unreadable in any file tree; node_modules of large projects have 2,000. */
export const LIST_LIMIT = 5_000;

export type FileEncoding = "utf8" | "base64";

export interface FileEntry {
  name: string;
  /** Relative to the project. */
  path: string;
  /** A symlink is listed as such, and followed only while it stays inside the project. */
  type: "file" | "directory" | "symlink" | "other";
  /** Bytes, of files only. */
  size?: number;
}

export interface FileContent {
  content: string;
  encoding: FileEncoding;
  /** Bytes of the whole file. */
  size: number;
}

/** The entries of a directory, sorted by name; the first {@link LIST_LIMIT} of them. */
export async function listFiles(
  project: string,
  path: unknown,
): Promise<{ files: FileEntry[]; truncated: boolean }> {
  const components = parseOutsidePath(path);
  const place = await walk(project, components, { create: false, followLast: true }).catch(explainChange);
  let opened: HeldDirectory | null = null;
  try {
    const { name } = place;
    if (name !== null) {
      opened = await HeldDirectory.open(place.directory.at(name), place.directory.real(name));
    }
    const directory = opened ?? place.directory;
    const names = (await readdir(directory.at()).catch(explainChange)).sort();
    const files: FileEntry[] = [];
    for (const name of names.slice(0, LIST_LIMIT)) {
      const entry = await describe(directory, name, [...components, name].join("/"));
      if (entry !== null) files.push(entry);
    }
    return { files, truncated: names.length > LIST_LIMIT };
  } finally {
    await opened?.handle.close();
    await place.close();
  }
}

/**
 * A whole file. Without an encoding it is text if it is UTF-8 and base64 if not.
 * Errors: `not_found`, `not_a_file`, `too_large`, `path_outside_project`, `invalid_path`.
 */
export async function readFile(
  project: string,
  path: unknown,
  encoding?: FileEncoding,
): Promise<FileContent> {
  const components = parseOutsidePath(path);
  const place = await walk(project, components, { create: false, followLast: true }).catch(explainChange);
  try {
    const { directory, name } = place;
    if (name === null) throw new RunnerError("not_a_file", "This path is a directory.");
    // Without O_NONBLOCK a named pipe would hold this call, and a thread of the pool, for ever.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await open(directory.at(name), flags).catch(explainOpen);
    try {
      await verifyOpened(file, directory.real(name));
      const { size } = await requireFile(file);
      if (size > FILE_LIMIT_BYTES) throw tooLarge();
      // A file may grow while it is read: the buffer, not the size, is the limit.
      const buffer = Buffer.alloc(FILE_LIMIT_BYTES + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
        length += bytesRead;
        if (length > FILE_LIMIT_BYTES) throw tooLarge();
        if (bytesRead === 0) break;
      }
      return { ...encode(buffer.subarray(0, length), encoding), size: length };
    } finally {
      await file.close();
    }
  } finally {
    await place.close();
  }
}

/** Writes a file as a whole, with the directories on its way; an existing one keeps its mode. Returns its bytes. */
export async function writeFile(
  project: string,
  path: unknown,
  content: string,
  encoding: FileEncoding = "utf8",
): Promise<number> {
  const data = decode(content, encoding);
  const components = parseOutsidePath(path);
  if (components.length === 0) throw new RunnerError("not_a_file", "This path is the project itself.");
  const place = await walk(project, components, { create: true, followLast: true }).catch(explainChange);
  try {
    const { directory, name } = place;
    if (name === null) throw new RunnerError("not_a_file", "This path is a directory.");
    const before = await lstat(directory.at(name)).catch(ignoreMissing);
    if (before !== null && !before.isFile())
      throw new RunnerError("not_a_file", "This path isn't a plain file.");
    const temporary = temporaryName();
    try {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await open(directory.at(temporary), flags, 0o644);
      try {
        await verifyOpened(file, directory.real(temporary));
        await file.writeFile(data);
        await giveLike(file, before ?? (await directory.handle.stat()));
        if (before !== null) await file.chmod(before.mode & 0o777);
        await file.sync();
      } finally {
        await file.close();
      }
      // A rename replaces what has the name, be it a symlink by now, and never follows it.
      await rename(directory.at(temporary), directory.at(name));
    } catch (error) {
      await rm(directory.at(temporary), { force: true });
      if (isSystemError(error, "EISDIR", "ENOTEMPTY", "EEXIST")) {
        throw new RunnerError("not_a_file", "This path is a directory.");
      }
      return explainChange(error);
    }
    return data.length;
  } finally {
    await place.close();
  }
}

/** Deletes a file or a directory with everything in it; a symlink itself, not what it leads to. */
export async function deleteFile(project: string, path: unknown, trash: Trash): Promise<boolean> {
  const components = parseOutsidePath(path);
  if (components.length === 0) throw new RunnerError("invalid_path", "This path is the project itself.");
  try {
    const place = await walk(project, components, { create: false, followLast: false }).catch(explainChange);
    try {
      const { directory, name } = place;
      if (name === null) throw outside();
      return await trash.discard(directory.at(name));
    } finally {
      await place.close();
    }
  } catch (error) {
    if (error instanceof RunnerError && error.code === "not_found") return false;
    throw error;
  }
}

async function describe(directory: HeldDirectory, name: string, path: string): Promise<FileEntry | null> {
  const stats = await lstat(directory.at(name)).catch(ignoreMissing);
  if (stats === null) return null;
  if (stats.isFile()) return { name, path, type: "file", size: stats.size };
  if (stats.isDirectory()) return { name, path, type: "directory" };
  return { name, path, type: stats.isSymbolicLink() ? "symlink" : "other" };
}

async function requireFile(file: FileHandle): Promise<{ size: number }> {
  const stats = await file.stat();
  if (!stats.isFile()) throw new RunnerError("not_a_file", "This path isn't a plain file.");
  return stats;
}

function encode(data: Buffer, wanted: FileEncoding | undefined): { content: string; encoding: FileEncoding } {
  if (wanted === "base64") return { content: data.toString("base64"), encoding: "base64" };
  try {
    const content = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    return { content, encoding: "utf8" };
  } catch {
    // Not UTF-8: as text it would come back damaged.
    if (wanted === "utf8")
      throw new RunnerError("invalid_request", "This file isn't text: read it as base64.");
    return { content: data.toString("base64"), encoding: "base64" };
  }
}

function decode(content: string, encoding: FileEncoding): Buffer {
  // Four base64 characters are three bytes: refuse before decoding.
  const most = encoding === "base64" ? Math.ceil(FILE_LIMIT_BYTES / 3) * 4 : FILE_LIMIT_BYTES;
  if (content.length > most) throw tooLarge();
  if (encoding === "base64" && !/^[A-Za-z0-9+/]*={0,2}$/.test(content)) {
    throw new RunnerError("invalid_request", "The content isn't base64.", "content");
  }
  const data = Buffer.from(content, encoding);
  if (data.length > FILE_LIMIT_BYTES) throw tooLarge();
  return data;
}

function tooLarge(): RunnerError {
  return new RunnerError(
    "too_large",
    `Files of more than ${FILE_LIMIT_BYTES} bytes don't fit a control message.`,
  );
}

/** Another process deleted or replaced the file since it was opened. */
function explainChange(error: unknown): never {
  if (isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
    throw new RunnerError("changed_meanwhile", "The directory was changed meanwhile: try again.");
  }
  throw error;
}

function explainOpen(error: unknown): never {
  if (isSystemError(error, "ENOENT")) throw new RunnerError("not_found", "There is no such file.");
  // A symlink was put there between the look and the opening.
  if (isSystemError(error, "ELOOP")) throw outside();
  if (isSystemError(error, "ENXIO", "ENODEV")) {
    throw new RunnerError("not_a_file", "This path isn't a plain file.");
  }
  throw error;
}

function ignoreMissing(error: unknown): null {
  if (isSystemError(error, "ENOENT")) return null;
  throw error;
}
