import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, link, mkdir, open, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { createTarDecoder, type ParsedTarEntry } from "modern-tar";
import { asRunnerError, RunnerError } from "../runner-error.ts";
import type { Reservation } from "../workspaces/disk.ts";
import { EntryGuard } from "./entry-guard.ts";

/** Four times the largest upload: sources compress to a quarter, bombs to a thousandth. */
const UNPACKED_LIMIT_BYTES = 2 * 1024 * 1024 * 1024;
/** How much room is asked for ahead of writing. */
const RESERVE_STEP_BYTES = 16 * 1024 * 1024;
/** An entry of no bytes still takes an inode and a block for its directory. So does a directory that none names. */
const ENTRY_COST_BYTES = 4_096;

/**
 * Unpacks a gzip tar file into an existing empty directory. Resolves only if it was whole and had this hash. Throws
 * {@link RunnerError} `invalid_archive`, `archive_too_large`, `hash_mismatch` or `disk_full`, and then the directory's
 * content is worthless.
 */
export async function unpack(
  archive: string,
  sha256: string,
  directory: string,
  options: { room: Reservation; signal?: AbortSignal; unpackedLimitBytes?: number },
): Promise<void> {
  const limit = options.unpackedLimitBytes ?? UNPACKED_LIMIT_BYTES;
  const hash = createHash("sha256");
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  let unpacked = 0;
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      unpacked += chunk.length;
      if (unpacked <= limit) done(null, chunk);
      else done(new RunnerError("archive_too_large", `The archive unpacks to more than ${limit} bytes.`));
    },
  });
  const decoder = createTarDecoder({ strict: true });
  const abort = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal;
  const reading = pipeline(
    createReadStream(archive),
    hashing,
    createGunzip(),
    counting,
    async (chunks: AsyncIterable<Uint8Array>) => {
      const writer = decoder.writable.getWriter();
      try {
        for await (const chunk of chunks) await writer.write(chunk);
        await writer.close();
      } catch (error) {
        await writer.abort(error).catch(() => undefined);
        throw error;
      }
    },
    { signal },
  );
  const writing = extract(decoder.readable, directory, options.room).catch(async (error: unknown) => {
    abort.abort(error);
    throw error;
  });
  const [read, wrote] = await Promise.allSettled([reading, writing]);
  options.signal?.throwIfAborted();
  // The reader ends with the writer's error or the other way round: a RunnerError is the cause, the others its echo.
  const failures = [read, wrote].flatMap((result): unknown[] =>
    result.status === "rejected" ? [result.reason] : [],
  );
  if (failures.length > 0) throw explain(failures);
  if (hash.digest("hex") !== sha256) {
    throw new RunnerError("hash_mismatch", "The stored source is damaged: upload it again.");
  }
}

async function extract(
  entries: ReadableStream<ParsedTarEntry>,
  directory: string,
  room: Reservation,
): Promise<void> {
  const guard = new EntryGuard();
  const made = new Set<string>([directory]);
  const makeDirectory = async (path: string): Promise<void> => {
    if (made.has(path)) return;
    await mkdir(path, { recursive: true, mode: 0o755 });
    made.add(path);
  };
  let spent = 0;
  const spend = async (bytes: number): Promise<void> => {
    if (spent + bytes > RESERVE_STEP_BYTES) {
      await room.renew(spent, RESERVE_STEP_BYTES);
      spent = 0;
    }
    spent += bytes;
  };
  await room.renew(0, RESERVE_STEP_BYTES);
  for await (const { header, body } of entries) {
    const before = guard.size;
    const entry = guard.check(header);
    await spend(ENTRY_COST_BYTES * Math.max(1, guard.size - before));
    if (entry?.kind !== "file") await body.cancel();
    if (entry === null) continue;
    const path = join(directory, entry.path);
    await makeDirectory(entry.kind === "directory" ? path : dirname(path));
    switch (entry.kind) {
      case "directory":
        break;
      case "symlink":
        await symlink(entry.target, path);
        break;
      case "hardlink":
        await link(join(directory, entry.source), path);
        break;
      case "file": {
        // "wx": the directory is new and each name comes once, so a file that exists is an attack.
        const file = await open(path, "wx", entry.executable ? 0o755 : 0o644);
        try {
          await writeBody(file, body, spend);
        } finally {
          await file.close();
        }
      }
    }
  }
}

async function writeBody(
  file: FileHandle,
  body: ReadableStream<Uint8Array>,
  spend: (bytes: number) => Promise<void>,
): Promise<void> {
  for await (const chunk of body) {
    await spend(chunk.length);
    await file.writeFile(chunk);
  }
}

function explain(failures: unknown[]): unknown {
  const expected = failures.find((failure) => failure instanceof RunnerError);
  if (expected !== undefined) return expected;
  const known = failures.map(asRunnerError).find(({ code }) => code !== "internal");
  if (known !== undefined) return known;
  const cause = failures.find(isFormatError);
  if (cause !== undefined) {
    return new RunnerError("invalid_archive", `The source isn't a whole gzip tar archive: ${cause.message}`);
  }
  return failures[0];
}

/** zlib's errors have a code that begins with Z, the tar reader's have none; the system's have one with E. */
function isFormatError(error: unknown): error is Error {
  if (!(error instanceof Error) || error.name === "AbortError") return false;
  const code = "code" in error && typeof error.code === "string" ? error.code : "Z";
  return code.startsWith("Z");
}
