import { createHash, randomUUID } from "node:crypto";
import { constants, rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { createTarPacker } from "modern-tar";
import { SOURCES_LIMIT_BYTES } from "../../../functions/protocol/limits.ts";
import { Failure } from "../failure.ts";
import { identityOf, type SourceEntry, type SourceTree } from "./source-tree.ts";

/** Fixed, so that the same files make the same archive. Source: `npm pack`; some tools refuse times before 1980. */
const MTIME = new Date("1985-10-26T08:15:00.000Z");

const CHUNK_BYTES = 64 * 1024;

type FileEntry = Extract<SourceEntry, { kind: "file" }>;

export interface Archive {
  sha256: string;
  bytes: number;
  /** From its beginning, as often as it takes. */
  open(): Readable;
  /** Frees its room on the disk. Ending the process does so, too, however it ends. */
  remove(): void;
}

/** Packs a tree into a gzip tar in a temporary file that has no name. The same files, modes and links make the same bytes. */
export async function packTree(tree: SourceTree, signal?: AbortSignal): Promise<Archive> {
  const file = await openNameless();
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
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) await file.writeFile(chunk);
      },
      signal ? { signal } : {},
    );
    await filling;
  } catch (error) {
    await file.close();
    throw error;
  }
  let closing: Promise<void> | null = null;
  return {
    sha256: hash.digest("hex"),
    bytes,
    open: () => Readable.from(contents(file)),
    remove: () => void (closing ??= file.close()),
  };
}

/** Without a name from the start, so that even a killed process leaves nothing: the system frees it with its handle. */
async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `signalbox-source-${randomUUID()}.tgz`);
  const file = await open(path, "wx+", 0o600);
  // At once: before anything else of this process gets its turn.
  rmSync(path);
  return file;
}

/** Each reader at its own place. */
async function* contents(file: FileHandle): AsyncGenerator<Buffer> {
  for (let position = 0; ;) {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.allocUnsafe(CHUNK_BYTES), position });
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
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
    const file = await openUnchanged(entry);
    const writer = body.getWriter();
    let read = 0;
    try {
      // What is appended meanwhile would make the archive longer than its header says.
      const content = size === 0 ? [] : file.createReadStream({ end: size - 1, autoClose: false });
      for await (const chunk of content as AsyncIterable<Buffer>) {
        read += chunk.length;
        await writer.write(chunk);
      }
    } finally {
      await file.close();
    }
    if (read !== size) throw changed(entry.path, "became shorter");
    await writer.close();
  }
  packer.finalize();
}

/** The very file that was looked at: one that was swapped for a link could be anything on this machine. */
async function openUnchanged({ path, file: name, identity }: FileEntry): Promise<FileHandle> {
  let file: FileHandle;
  try {
    // Opening a pipe would wait for its writer.
    file = await open(name, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "ENOENT" || code === "ENOTDIR") throw changed(path, "vanished");
    // A link, or a socket.
    if (code === "ELOOP" || code === "ENXIO") throw changed(path, "was replaced");
    throw new Failure("failed", "unreadable_source", `${path} can't be read (${String(code)}).`);
  }
  const stats = await file.stat({ bigint: true });
  if (stats.isFile() && identityOf(stats) === identity) return file;
  await file.close();
  throw changed(path, "was replaced");
}

function changed(path: string, how: string): Failure {
  return new Failure("failed", "source_changed", `${path} ${how} while the source was packed. Try again.`);
}

function tooLarge(tree: SourceTree): Failure {
  return new Failure(
    "failed",
    "source_too_large",
    `${tree.directory} makes an archive of more than ${SOURCES_LIMIT_BYTES} bytes. Ignore what isn't needed in .signalboxignore.`,
  );
}
