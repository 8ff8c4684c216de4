import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream, rmSync, type ReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { createTarPacker } from "modern-tar";
import { SOURCES_LIMIT_BYTES } from "../../../functions/protocol/limits.ts";
import { Failure } from "../failure.ts";
import type { SourceTree } from "./source-tree.ts";

/** Fixed, so that the same files make the same archive. Source: `npm pack`; some tools refuse times before 1980. */
const MTIME = new Date("1985-10-26T08:15:00.000Z");

export interface Archive {
  sha256: string;
  bytes: number;
  /** From its beginning, as often as it takes. */
  open(): ReadStream;
  /** At once, since a command that is interrupted has no time. */
  remove(): void;
}

/** Packs a tree into a gzip tar in a temporary file. The same files, modes and links make the same bytes. */
export async function packTree(tree: SourceTree, signal?: AbortSignal): Promise<Archive> {
  const file = join(tmpdir(), `signalbox-source-${randomUUID()}.tgz`);
  const hash = createHash("sha256");
  let bytes = 0;
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      if (bytes <= SOURCES_LIMIT_BYTES) done(null, chunk);
      else done(tooLarge(tree));
    },
  });
  const { readable, controller } = createTarPacker();
  const filling = fill(tree, controller);
  // Should writing fail first, that is what is reported.
  filling.catch((error: unknown) => controller.error(error));
  try {
    await pipeline(
      Readable.fromWeb(readable),
      createGzip({ level: 6 }),
      counting,
      createWriteStream(file, { mode: 0o600 }),
      signal ? { signal } : {},
    );
    await filling;
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
  return {
    sha256: hash.digest("hex"),
    bytes,
    open: () => createReadStream(file, { highWaterMark: 64 * 1024 }),
    remove: () => rmSync(file, { force: true }),
  };
}

async function fill(
  tree: SourceTree,
  packer: ReturnType<typeof createTarPacker>["controller"],
): Promise<void> {
  for (const entry of tree.entries) {
    if (entry.kind === "symlink") {
      const header = { name: entry.path, linkname: entry.target, size: 0, mtime: MTIME, mode: 0o777 };
      await packer.add({ ...header, type: "symlink" }).close();
      continue;
    }
    const { path: name, bytes: size, executable } = entry;
    const body = packer.add({ name, size, mtime: MTIME, mode: executable ? 0o755 : 0o644, type: "file" });
    // What is appended meanwhile would make the archive longer than its header says.
    const content = size === 0 ? [] : createReadStream(entry.file, { end: size - 1 });
    const writer = body.getWriter();
    let read = 0;
    for await (const chunk of content as AsyncIterable<Buffer>) {
      read += chunk.length;
      await writer.write(chunk);
    }
    if (read !== size) {
      throw new Failure(
        "failed",
        "source_changed",
        `${entry.path} became shorter while it was packed. Try again.`,
      );
    }
    await writer.close();
  }
  packer.finalize();
}

function tooLarge(tree: SourceTree): Failure {
  return new Failure(
    "failed",
    "source_too_large",
    `${tree.directory} makes an archive of more than ${SOURCES_LIMIT_BYTES} bytes. Ignore what isn't needed in .signalboxignore.`,
  );
}
