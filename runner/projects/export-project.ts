import { isUtf8 } from "node:buffer";
import { constants, type Stats } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createGzip } from "node:zlib";
import { createTarPacker } from "modern-tar";
import { whyRefusedLink, whyRefusedPath } from "../../functions/protocol/source-paths.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { isCache } from "../workspaces/caches.ts";
import { HeldDirectory, verifyOpened } from "../workspaces/held-directory.ts";

type Packer = ReturnType<typeof createTarPacker>["controller"];

/** What can't be packed: its path, and why. */
type Leave = (path: string, why: string) => void;

/**
 * A project as a gzipped tar: its files and its repository, without packages and caches. Links that lead out of it are left
 * out, as an upload would be refused for them. Its variables are kept elsewhere and so aren't in it.
 */
export function exportProject(directory: string, leave: Leave = () => undefined): Readable {
  const { readable, controller } = createTarPacker();
  const tar = Readable.fromWeb(readable);
  const archive = createGzip({ level: 6 });
  pipeline(tar, archive, () => undefined); // its reader sees it break off
  const packing = (async () => {
    await eachEntry(directory, leave, (entry) => add(controller, entry));
    controller.finalize();
  })();
  packing.catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error("broke off")));
  return archive;
}

/** As {@link exportProject}, for a project that is deleted afterwards. Errors: `path_outside_project`, `invalid_path`. */
export async function exportWhole(directory: string): Promise<Readable> {
  const refuse: Leave = (path, why) => {
    const code = why.includes("symlink") ? "path_outside_project" : "invalid_path";
    const shown = JSON.stringify(path.slice(0, PATH_SHOWN));
    throw new RunnerError(code, `${shown} ${why}: a move would lose it. Change or delete it first.`);
  };
  // Before the first byte, while there is an answer to say it in.
  await eachEntry(directory, refuse, () => Promise.resolve());
  return exportProject(directory, refuse);
}

const PATH_SHOWN = 300;

interface Entry {
  directory: HeldDirectory;
  name: string;
  /** Of the project. */
  path: string;
  stats: Stats;
  linkname: string | null;
}

/** In the order of an archive: a directory before what is in it. */
async function eachEntry(
  project: string,
  leave: Leave,
  take: (entry: Entry) => Promise<void>,
): Promise<void> {
  const root = await HeldDirectory.open(project, project);
  try {
    await eachIn(root, "", leave, take);
  } finally {
    await root.handle.close();
  }
}

async function eachIn(
  directory: HeldDirectory,
  prefix: string,
  leave: Leave,
  take: (entry: Entry) => Promise<void>,
): Promise<void> {
  const isRepository = prefix.split("/").includes(".git");
  // As bytes: a name that isn't UTF-8 would otherwise be another one, and not found.
  const names = (await readdir(directory.at(), { encoding: "buffer" })).sort((one, other) =>
    one.compare(other),
  );
  for (const bytes of names) {
    const name = bytes.toString();
    const path = `${prefix}${name}`;
    if (!isUtf8(bytes)) {
      leave(path, "isn't UTF-8");
      continue;
    }
    const stats = await lstat(directory.at(name)).catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) return null; // deleted meanwhile
      throw error;
    });
    // In a repository such a name is a branch's, for example.
    if (stats === null || (!isRepository && isCache(name) && !stats.isFile())) continue;
    const why = whyRefusedPath(path);
    if (why !== null) {
      leave(path, why);
      continue;
    }
    const linkname = stats.isSymbolicLink() ? await readlink(directory.at(name)) : null;
    const whyLink = linkname === null ? null : whyRefusedLink(path, linkname);
    if (whyLink !== null) {
      leave(path, whyLink);
      continue;
    }
    // A socket is nothing without the process that made it.
    if (stats.isSocket()) continue;
    if (!stats.isFile() && !stats.isDirectory() && linkname === null) {
      leave(path, "is neither a file nor a directory");
      continue;
    }
    await take({ directory, name, path, stats, linkname });
    if (!stats.isDirectory()) continue;
    const inside = await HeldDirectory.open(directory.at(name), directory.real(name));
    try {
      await eachIn(inside, `${path}/`, leave, take);
    } finally {
      await inside.handle.close();
    }
  }
}

async function add(packer: Packer, { directory, name, path, stats, linkname }: Entry): Promise<void> {
  const { mtime } = stats;
  if (linkname !== null)
    await packer.add({ name: path, linkname, size: 0, mtime, mode: 0o777, type: "symlink" }).close();
  else if (stats.isDirectory())
    await packer.add({ name: `${path}/`, size: 0, mtime, mode: 0o755, type: "directory" }).close();
  else await addFile(packer, directory, name, path);
}

async function addFile(packer: Packer, directory: HeldDirectory, name: string, path: string): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(directory.at(name), flags);
  try {
    await verifyOpened(file, directory.real(name));
    const { size, mtime, mode } = await file.stat();
    const header = {
      name: path,
      size,
      mtime,
      mode: (mode & 0o111) === 0 ? 0o644 : 0o755,
      type: "file",
    } as const;
    const writer = packer.add(header).getWriter();
    let read = 0;
    // What is appended meanwhile would make it longer than its header says.
    const content = size === 0 ? [] : file.createReadStream({ end: size - 1, autoClose: false });
    for await (const chunk of content as AsyncIterable<Buffer>) {
      read += chunk.length;
      await writer.write(chunk);
    }
    if (read !== size)
      throw new RunnerError("changed_meanwhile", `${path} became shorter while it was packed: try again.`);
    await writer.close();
  } finally {
    await file.close();
  }
}
