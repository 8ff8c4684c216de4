import { constants } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createGzip } from "node:zlib";
import { createTarPacker } from "modern-tar";
import { whyRefusedLink, whyRefusedPath } from "../../functions/protocol/source-paths.ts";
import { RunnerError } from "../runner-error.ts";
import { isCache } from "../workspaces/caches.ts";
import { HeldDirectory, verifyOpened } from "../workspaces/held-directory.ts";

type Packer = ReturnType<typeof createTarPacker>["controller"];

/**
 * A project as a gzipped tar: its files and its repository, without packages and caches. Links that lead out of it are left
 * out, as an upload would be refused for them. Its variables are kept elsewhere and so aren't in it.
 */
export function exportProject(directory: string): Readable {
  const { readable, controller } = createTarPacker();
  const tar = Readable.fromWeb(readable);
  const archive = createGzip({ level: 6 });
  pipeline(tar, archive, () => undefined); // its reader sees it break off
  const packing = (async () => {
    const root = await HeldDirectory.open(directory, directory);
    try {
      await add(controller, root, "");
    } finally {
      await root.handle.close();
    }
    controller.finalize();
  })();
  packing.catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error("broke off")));
  return archive;
}

async function add(packer: Packer, directory: HeldDirectory, prefix: string): Promise<void> {
  const names = (await readdir(directory.at())).sort();
  for (const name of names) {
    const path = `${prefix}${name}`;
    if (isCache(name) || whyRefusedPath(path) !== null) continue;
    const stats = await lstat(directory.at(name)).catch(() => null); // deleted meanwhile
    if (stats === null) continue;
    const { mtime } = stats;
    if (stats.isSymbolicLink()) {
      const linkname = await readlink(directory.at(name));
      if (whyRefusedLink(path, linkname) !== null) continue;
      await packer.add({ name: path, linkname, size: 0, mtime, mode: 0o777, type: "symlink" }).close();
    } else if (stats.isDirectory()) {
      await packer.add({ name: `${path}/`, size: 0, mtime, mode: 0o755, type: "directory" }).close();
      const inside = await HeldDirectory.open(directory.at(name), directory.real(name));
      try {
        await add(packer, inside, `${path}/`);
      } finally {
        await inside.handle.close();
      }
    } else if (stats.isFile()) await addFile(packer, directory, name, path);
  }
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
