import { constants, existsSync } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readlink, realpath } from "node:fs/promises";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { outside } from "./outside-path.ts";

/** Linux: a path below an open directory's descriptor is what openat() takes, and can't be swapped on the way. */
const hasDescriptorPaths = existsSync("/proc/self/fd");
/** Linux's own limit on symlinks in one path. */
const LINK_LIMIT = 40;

/** A directory that is held open, so that nobody can put a symlink in its place while its entries are used. */
export class HeldDirectory {
  readonly handle: FileHandle;
  /** Its real path when it was opened. */
  readonly path: string;

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle;
    this.path = path;
  }

  static async open(location: string, path: string): Promise<HeldDirectory> {
    const handle = await open(
      location,
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    ).catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) throw new RunnerError("not_found", "There is no such directory.");
      if (isSystemError(error, "ENOTDIR", "ELOOP")) {
        throw new RunnerError("not_a_directory", "A part of this path isn't a directory.");
      }
      throw error;
    });
    try {
      await verifyOpened(handle, path);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new HeldDirectory(handle, path);
  }

  /** Where to find an entry, or the directory itself, for the calls of node:fs. */
  at(name = ""): string {
    const base = hasDescriptorPaths ? `/proc/self/fd/${this.handle.fd}` : this.path;
    return name === "" ? `${base}/` : `${base}/${name}`;
  }

  real(name: string): string {
    return `${this.path}/${name}`;
  }
}

/** Where a path ends: an entry of a held directory, or with `name` null the project's own or a linked directory. */
export interface Place {
  directory: HeldDirectory;
  name: string | null;
  close(): Promise<void>;
}

/**
 * Throws `path_outside_project` unless the opened file is the one at this path: what `realpath` says before opening
 * may no longer be true after it. Where there are no descriptor paths, this is what notices a swap.
 */
export async function verifyOpened(handle: FileHandle, path: string): Promise<void> {
  if (hasDescriptorPaths) {
    if ((await readlink(`/proc/self/fd/${handle.fd}`)) !== path) throw outside();
    return;
  }
  const [opened, named, real] = await Promise.all([handle.stat(), lstat(path), realpath(path)]).catch(
    (error: unknown) => {
      throw isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP") ? outside() : error;
    },
  );
  if (real !== path || opened.ino !== named.ino || opened.dev !== named.dev) throw outside();
}

/**
 * Walks from a project's directory to a path, following symlinks by hand, so that each step is known to stay inside.
 * `create` makes missing directories on the way; `followLast` also follows a symlink at the end.
 */
export async function walk(
  root: string,
  components: readonly string[],
  options: { create: boolean; followLast: boolean },
): Promise<Place> {
  const stack: HeldDirectory[] = [];
  const closeFrom = async (length: number): Promise<void> => {
    for (const directory of stack.splice(length)) await directory.handle.close();
  };
  const pending = [...components].toReversed();
  let links = 0;
  try {
    let here = await HeldDirectory.open(root, root);
    stack.push(here);
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      const isLast = pending.length === 0;
      if (name === "..") {
        if (stack.length === 1) throw outside();
        await closeFrom(stack.length - 1);
        here = stack.at(-1) ?? here;
        continue;
      }
      const kind = await statEntry(here, name);
      if (kind === "link" && (!isLast || options.followLast)) {
        if (++links > LINK_LIMIT) throw outside();
        const target = await readlink(here.at(name)).catch((error: unknown) => {
          if (isSystemError(error, "EINVAL", "ENOENT")) return null;
          throw error;
        });
        if (target === null) {
          // No longer a symlink: look again.
          pending.push(name);
          continue;
        }
        if (target.startsWith("/")) {
          await closeFrom(1);
          here = stack[0] ?? here;
        }
        pending.push(...linkComponents(root, target).toReversed());
        continue;
      }
      if (isLast) return { directory: here, name, close: () => closeFrom(0) };
      if (kind === "missing") {
        if (!options.create) throw new RunnerError("not_found", "There is no such directory.");
        await mkdir(here.at(name)).catch((error: unknown) => {
          if (!isSystemError(error, "EEXIST")) throw error;
        });
      }
      const parent = here;
      here = await HeldDirectory.open(here.at(name), here.real(name));
      stack.push(here);
      if (kind === "missing") await giveLike(here.handle, await parent.handle.stat());
    }
    return { directory: here, name: null, close: () => closeFrom(0) };
  } catch (error) {
    await closeFrom(0);
    throw error;
  }
}

/** Where guests have users of their own, they own what is made for them. */
export async function giveLike(made: FileHandle, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  if (process.getuid?.() === 0 && uid !== 0) await made.chown(uid, gid);
}

async function statEntry(directory: HeldDirectory, name: string): Promise<"link" | "missing" | "other"> {
  try {
    return (await lstat(directory.at(name))).isSymbolicLink() ? "link" : "other";
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return "missing";
    throw error;
  }
}

function linkComponents(root: string, target: string): string[] {
  let relative = target;
  if (target.startsWith("/")) {
    if (target !== root && !target.startsWith(`${root}/`)) throw outside();
    relative = target.slice(root.length);
  }
  return relative.split("/").filter((name) => name !== "" && name !== ".");
}
