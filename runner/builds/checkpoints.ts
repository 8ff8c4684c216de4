// Over 400 lines on purpose: taking, comparing and putting back share how a tree is read without following a guest's links.

import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  symlink,
  unlink,
} from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { deflate, inflate } from "node:zlib";
import { z } from "zod";
import type { BuildDiff, ChangedFile } from "../../functions/protocol/builds.ts";
import type { GuestUser } from "../confinement/confinement.ts";
import { isSystemError, RunnerError, type RunnerErrorCode } from "../runner-error.ts";
import { TEMPORARY_FILE, temporaryName, writeFileAtomically } from "../workspaces/atomic-file.ts";
import { HeldDirectory, verifyOpened, walk } from "../workspaces/held-directory.ts";
import { lineDiff } from "./line-diff.ts";

/** What installs and caches make again, and the person's own git. */
const LEFT_OUT = new Set(
  ["node_modules", ".git", ".next", ".nuxt", ".astro", ".svelte-kit", ".turbo", ".cache", ".vite"].concat(
    ".pnpm-store",
    ".parcel-cache",
    ".output",
    ".wrangler",
  ),
);
/** Larger files are none that an agent writes: they are left as they are. */
const FILE_LIMIT_BYTES = 16 * 1024 * 1024;
/** Of one checkpoint. A project that has more has none: what is missing in one would count as deleted. */
const FILES_LIMIT = 20_000;
/** A file changed so shortly before a checkpoint may change again without another time. */
const RACY_MS = 2_000;
/** Of a file's diff, and of all files of a build together: an answer of a runner has 2 MiB. */
const FILE_DIFF_LIMIT = 64 * 1024;
const DIFF_LIMIT = 512 * 1024;
const DIFF_FILES_LIMIT = 1_000;

/** What a rename or deletion says of a directory with something in it. */
const OCCUPIED = ["EISDIR", "ENOTEMPTY", "EEXIST", "ENOTDIR", "EPERM"];

const entry = z.object({
  /** Of the content, or of where a symlink leads. */
  sha256: z.string(),
  isLink: z.boolean().default(false),
  /** There, and its content isn't kept. */
  isLarge: z.boolean().default(false),
  mode: z.number(),
  size: z.number(),
  mtimeMs: z.number(),
  ino: z.number(),
});
type Entry = z.infer<typeof entry>;
const snapshot = z.object({ at: z.number(), files: z.record(z.string(), entry) });
type Files = ReadonlyMap<string, Entry>;

/** What {@link Checkpoints.undo} did, by paths of the project. */
export interface Undone {
  restored: string[];
  /** Changed since by somebody else, and left as they are. */
  kept: string[];
}

/**
 * States of a project's files, outside of the project and of its git: each content is kept once, and a checkpoint is a
 * list of names. Nothing of the project is run or followed for it.
 */
export class Checkpoints {
  readonly #directory: string;
  readonly #project: string;
  readonly #filesLimit: number;

  constructor(directory: string, project: string, filesLimit = FILES_LIMIT) {
    this.#directory = directory;
    this.#project = project;
    this.#filesLimit = filesLimit;
  }

  /** Answers the checkpoint's number. */
  async take(): Promise<number> {
    await mkdir(join(this.#directory, "objects"), { recursive: true, mode: 0o700 });
    const numbers = await this.#numbers();
    const last = numbers.at(-1) ?? 0;
    const before = last === 0 ? null : await this.#load(last);
    const at = Date.now();
    const files = await this.#look(before);
    const number = last + 1;
    await writeFileAtomically(
      this.#file(number),
      JSON.stringify({ at, files: Object.fromEntries(files) } satisfies z.infer<typeof snapshot>),
    );
    return number;
  }

  async diff(from: number, to: number): Promise<Pick<BuildDiff, "files" | "isTruncated">> {
    const [before, after] = [(await this.#load(from)).files, (await this.#load(to)).files];
    const large = largeChanges(before, after);
    const changed = [...changedPaths(before, after), ...large].toSorted();
    const files: ChangedFile[] = [];
    let length = 0;
    for (const path of changed.slice(0, DIFF_FILES_LIMIT)) {
      const [one, other] = [before.get(path), after.get(path)];
      const status = one === undefined ? "added" : other === undefined ? "deleted" : "modified";
      const text = length < DIFF_LIMIT ? await this.#textDiff(one, other) : undefined;
      length += text?.length ?? 0;
      files.push({ path, status, ...(text === undefined ? {} : { diff: text }) });
    }
    // What a file above the limit was isn't known, so neither is its change.
    const isTruncated = changed.length > files.length || length >= DIFF_LIMIT || large.length > 0;
    return { files, isTruncated };
  }

  async changed(from: number, to: number): Promise<string[]> {
    return changedPaths((await this.#load(from)).files, (await this.#load(to)).files);
  }

  /**
   * Takes back what changed between two checkpoints. What has changed again since stays as it is and is named, unless
   * `overwrite`. With `dryRun` nothing is touched.
   */
  async undo(
    from: number,
    to: number,
    { overwrite, dryRun, user }: { overwrite: boolean; dryRun: boolean; user: GuestUser | null },
  ): Promise<Undone> {
    const [before, after] = [(await this.#load(from)).files, (await this.#load(to)).files];
    const now = await this.#look(await this.#load(to));
    const restored: string[] = [];
    const kept: string[] = [];
    for (const path of changedPaths(before, after)) {
      const [wanted, made, current] = [before.get(path), after.get(path), now.get(path)];
      if (isSame(current, wanted)) continue;
      // No checkpoint could hold what would be lost.
      if (current?.isLarge !== true && (isSame(current, made) || overwrite)) restored.push(path);
      else kept.push(path);
    }
    if (dryRun) return { restored, kept };
    await this.#requireObjects(restored.flatMap((path) => before.get(path) ?? []));
    await this.#requireInside(restored.filter((path) => before.has(path)));
    // What was a file may be a directory now, or the other way round: first what goes, from within.
    const gone = restored.filter((path) => !before.has(path));
    for (const path of gone.toReversed()) await this.#restore(path, undefined, user);
    const blocked = new Set<string>();
    for (const path of restored) {
      const wanted = before.get(path);
      if (wanted !== undefined && !(await this.#restore(path, wanted, user))) blocked.add(path);
    }
    return {
      restored: restored.filter((path) => !blocked.has(path)),
      kept: [...kept, ...blocked].toSorted(),
    };
  }

  /** Forgets all checkpoints but these, and contents that none of them has. */
  async keepOnly(numbers: ReadonlySet<number>): Promise<void> {
    const all = await this.#numbers();
    const last = all.at(-1);
    const wanted = new Set<string>();
    for (const number of all) {
      // The last one is what the next one is compared with.
      if (numbers.has(number) || number === last)
        for (const { sha256 } of (await this.#load(number)).files.values()) wanted.add(sha256);
      else await rm(this.#file(number), { force: true });
    }
    for (const sha256 of await readdir(join(this.#directory, "objects")).catch(() => []))
      // there is none yet
      if (!wanted.has(sha256)) await rm(this.#object(sha256), { force: true });
  }

  async #look(before: { at: number; files: Files } | null): Promise<Map<string, Entry>> {
    const files = new Map<string, Entry>();
    const root = await HeldDirectory.open(this.#project, this.#project);
    try {
      await this.#lookInto(root, "", files, before);
    } finally {
      await root.handle.close();
    }
    return files;
  }

  async #lookInto(
    directory: HeldDirectory,
    prefix: string,
    files: Map<string, Entry>,
    before: { at: number; files: Files } | null,
  ): Promise<void> {
    for (const name of (await readdir(directory.at())).toSorted()) {
      if (LEFT_OUT.has(name) || TEMPORARY_FILE.test(name)) continue;
      if (files.size >= this.#filesLimit)
        throw new RunnerError("nothing_to_undo", `The project has more than ${this.#filesLimit} files.`);
      const path = `${prefix}${name}`;
      try {
        const stats = await lstat(directory.at(name));
        if (stats.isDirectory()) {
          const inner = await HeldDirectory.open(directory.at(name), directory.real(name));
          try {
            await this.#lookInto(inner, `${path}/`, files, before);
          } finally {
            await inner.handle.close();
          }
        } else if (stats.isFile() && stats.size > FILE_LIMIT_BYTES) {
          const { size, mtimeMs, ino, mode } = stats;
          files.set(path, {
            sha256: "",
            isLink: false,
            isLarge: true,
            mode: mode & 0o777,
            size,
            mtimeMs,
            ino,
          });
        } else if (stats.isSymbolicLink() || stats.isFile()) {
          const { size, mtimeMs, ino, mode } = stats;
          const known = before?.files.get(path);
          const isKnown =
            known?.mtimeMs === mtimeMs &&
            !known.isLarge &&
            known.size === size &&
            known.ino === ino &&
            mtimeMs < (before?.at ?? 0) - RACY_MS;
          const isLink = stats.isSymbolicLink();
          const sha256 = isKnown ? known.sha256 : await this.#keep(directory, name, isLink);
          files.set(path, { sha256, isLink, isLarge: false, mode: mode & 0o777, size, mtimeMs, ino });
        }
      } catch (error) {
        if (error instanceof RunnerError && error.code === "nothing_to_undo") throw error;
        // It went away, or became something else: it is in the next one.
        if (!isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP", "EINVAL", "ENXIO") && !isRunnerRefusal(error))
          throw error;
      }
    }
  }

  async #keep(directory: HeldDirectory, name: string, isLink: boolean): Promise<string> {
    const content = isLink
      ? Buffer.from(await readlink(directory.at(name)))
      : await contentOf(directory, name);
    const sha256 = createHash("sha256").update(content).digest("hex");
    const place = this.#object(sha256);
    if ((await lstat(place).catch(() => null)) === null) {
      const temporary = `${place}.${randomUUID()}`;
      const file = await open(temporary, "wx", 0o600);
      try {
        await file.writeFile(await promisify(deflate)(content));
      } finally {
        await file.close();
      }
      await rename(temporary, place);
    }
    return sha256;
  }

  /** Before anything is touched. Errors: `nothing_to_undo`. */
  async #requireObjects(entries: readonly Entry[]): Promise<void> {
    for (const { sha256 } of entries)
      if ((await lstat(this.#object(sha256)).catch(() => null)) === null)
        throw new RunnerError(
          "nothing_to_undo",
          "The runner no longer has all of what the files were: nothing was changed.",
        );
  }

  /** Before anything is touched. Errors: `path_outside_project`. */
  async #requireInside(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const place = await walk(this.#project, path.split("/"), { create: false, followLast: false }).catch(
        (error: unknown) => {
          if (isRunnerRefusal(error, "not_found", "not_a_directory")) return null; // it is made, or kept as it is
          throw error;
        },
      );
      await place?.close();
    }
  }

  /** False: something that no checkpoint knows is in its place. */
  async #restore(path: string, wanted: Entry | undefined, user: GuestUser | null): Promise<boolean> {
    const place = await walk(this.#project, path.split("/"), {
      create: wanted !== undefined,
      followLast: false,
    }).catch((error: unknown) => {
      // To be deleted: its directory is gone, too. To be put back: its directory is something else now.
      if (wanted === undefined ? isRunnerRefusal(error) : isRunnerRefusal(error, "not_a_directory"))
        return null;
      throw error;
    });
    if (place === null || place.name === null) return false;
    const { directory, name } = place;
    try {
      if (wanted === undefined) {
        await unlink(directory.at(name)).catch((error: unknown) => {
          if (!isSystemError(error, "ENOENT", ...OCCUPIED)) throw error;
        });
        return true;
      }
      const content = await this.#content(wanted.sha256);
      await removeEmpty(directory, name);
      const temporary = temporaryName();
      if (wanted.isLink) await symlink(content.toString(), directory.at(temporary));
      else {
        const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
        const file = await open(directory.at(temporary), flags, 0o600);
        try {
          await file.writeFile(content);
          await file.chmod(wanted.mode);
        } finally {
          await file.close();
        }
      }
      if (user !== null) await lchown(directory.at(temporary), user.uid, user.gid);
      try {
        await rename(directory.at(temporary), directory.at(name));
        return true;
      } catch (error) {
        await rm(directory.at(temporary), { force: true });
        if (isSystemError(error, ...OCCUPIED)) return false;
        throw error;
      }
    } finally {
      await place.close();
    }
  }

  /** Undefined: not of texts, or of one that is too long to show. */
  async #textDiff(one: Entry | undefined, other: Entry | undefined): Promise<string | undefined> {
    const [before, after] = [await this.#text(one), await this.#text(other)];
    if (before === null || after === null) return undefined;
    const diff = lineDiff(before, after);
    return diff.length > FILE_DIFF_LIMIT ? undefined : diff;
  }

  async #text(one: Entry | undefined): Promise<string | null> {
    if (one === undefined) return "";
    if (one.isLarge || one.size > FILE_DIFF_LIMIT * 4) return null;
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await this.#content(one.sha256));
      return text.includes("\0") ? null : text;
    } catch (error) {
      // It isn't text, or is lost.
      if (error instanceof TypeError || isSystemError(error, "ENOENT")) return null;
      throw error;
    }
  }

  async #content(sha256: string): Promise<Buffer> {
    return promisify(inflate)(await readFile(this.#object(sha256)));
  }

  async #load(number: number): Promise<{ at: number; files: Files }> {
    const text = await readFile(this.#file(number), "utf8").catch((error: unknown) => {
      if (!isSystemError(error, "ENOENT")) throw error;
      throw new RunnerError("nothing_to_undo", "The runner no longer has this build's checkpoints.");
    });
    const { at, files } = snapshot.parse(JSON.parse(text));
    return { at, files: new Map(Object.entries(files)) };
  }

  async #numbers(): Promise<number[]> {
    const names = await readdir(this.#directory).catch(() => []); // none was taken yet
    const numbers = names.flatMap((name) => /^(\d+)\.json$/.exec(name)?.[1] ?? []);
    return numbers.map(Number).toSorted((one, other) => one - other);
  }

  #file(number: number): string {
    return join(this.#directory, `${number}.json`);
  }

  #object(sha256: string): string {
    return join(this.#directory, "objects", sha256);
  }
}

async function contentOf(directory: HeldDirectory, name: string): Promise<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(directory.at(name), flags);
  try {
    await verifyOpened(file, directory.real(name));
    // A file may grow while it is read.
    const content = Buffer.alloc(Math.min((await file.stat()).size, FILE_LIMIT_BYTES));
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(content, length, content.length - length, length);
      length += bytesRead;
      if (bytesRead === 0) return content.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}

function changedPaths(before: Files, after: Files): string[] {
  const all = new Set([...before.keys(), ...after.keys()]);
  const isKept = (path: string): boolean => !before.get(path)?.isLarge && !after.get(path)?.isLarge;
  return [...all].filter((path) => isKept(path) && !isSame(before.get(path), after.get(path))).toSorted();
}

/** Files above the limit, as far as size and time tell that they changed. */
function largeChanges(before: Files, after: Files): string[] {
  const isLarge = (one: Entry | undefined): boolean => one?.isLarge === true;
  return [...new Set([...before.keys(), ...after.keys()])].filter((path) => {
    const [one, other] = [before.get(path), after.get(path)];
    if (!isLarge(one) && !isLarge(other)) return false;
    return one?.size !== other?.size || one?.mtimeMs !== other?.mtimeMs || one?.ino !== other?.ino;
  });
}

/** Removes a directory that has nothing but empty directories in it. What else is in it keeps all of it. */
async function removeEmpty(directory: HeldDirectory, name: string, isSure = false): Promise<void> {
  const stats = await lstat(directory.at(name)).catch(() => null); // there is nothing
  if (stats?.isDirectory() !== true) return;
  if (!isSure && !(await isEmptyTree(directory, name))) return;
  const inside = await HeldDirectory.open(directory.at(name), directory.real(name));
  try {
    for (const inner of await readdir(inside.at())) await removeEmpty(inside, inner, true);
  } finally {
    await inside.handle.close();
  }
  await rmdir(directory.at(name)).catch(() => undefined); // something came into it
}

async function isEmptyTree(directory: HeldDirectory, name: string): Promise<boolean> {
  const inside = await HeldDirectory.open(directory.at(name), directory.real(name));
  try {
    for (const entry of await readdir(inside.at(), { withFileTypes: true }))
      if (!entry.isDirectory() || !(await isEmptyTree(inside, entry.name))) return false;
    return true;
  } finally {
    await inside.handle.close();
  }
}

function isSame(one: Entry | undefined, other: Entry | undefined): boolean {
  return one?.sha256 === other?.sha256 && one?.isLink === other?.isLink && one?.mode === other?.mode;
}

/** What is said of a path that another process changed on the way. */
function isRunnerRefusal(error: unknown, ...codes: RunnerErrorCode[]): boolean {
  return error instanceof RunnerError && (codes.length === 0 || codes.includes(error.code));
}
