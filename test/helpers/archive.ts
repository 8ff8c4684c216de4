import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { packTar, type TarEntry, type TarHeader } from "modern-tar";

/** What an archive holds, by path: a string is a file's content, a header anything else. */
export type Tree = Record<string, string | Partial<TarHeader>>;

/** A gzip tar archive. */
export async function archive(tree: Tree): Promise<{ data: Buffer; sha256: string }> {
  const entries = Object.entries(tree).map(([name, given]): TarEntry => {
    if (typeof given !== "string") return { header: { name, size: 0, ...given } };
    return { header: { name, size: Buffer.byteLength(given), type: "file", mode: 0o644 }, body: given };
  });
  return hashed(gzipSync(await packTar(entries)));
}

/** A gzip tar archive of a tree, or of a directory's files. */
export async function archiveOf(source: string | Tree): Promise<Buffer> {
  const tree = typeof source === "string" ? await readTree(source) : source;
  return (await archive(tree)).data;
}

export function hashed(data: Buffer): { data: Buffer; sha256: string } {
  return { data, sha256: createHash("sha256").update(data).digest("hex") };
}

async function readTree(directory: string): Promise<Tree> {
  const tree: Tree = {};
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    if ((await stat(path)).isFile()) tree[name] = await readFile(path, "utf8");
  }
  return tree;
}
