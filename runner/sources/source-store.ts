import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { StoredSource } from "../../functions/protocol/runner-api.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { syncDirectory } from "../workspaces/atomic-file.ts";
import type { Disk, Evictable } from "../workspaces/disk.ts";
import { unpack } from "./unpack.ts";

/** Sources, not images: a large monorepo is 100 MB. Cloudflare's own limit on a body is 100 to 500 MB. */
export const SOURCE_LIMIT_BYTES = 512 * 1024 * 1024;
/** How much room is asked for ahead of writing, when the size isn't known. */
const RESERVE_STEP_BYTES = 16 * 1024 * 1024;
/** An empty gzip file: header and trailer. */
const GZIP_LEAST_BYTES = 18;
/** Between an upload and the deployment that refers to it there are seconds. */
const UNREFERENCED_KEPT_MS = 60 * 60 * 1_000;
/** A redeploy of something that was removed is common for days, and cheap while its source is here. */
const UNREFERENCED_LIMIT_MS = 7 * 24 * 60 * 60 * 1_000;

export const SHA256_PATTERN = /^[0-9a-f]{64}$/;

/** Uploaded sources, by the SHA-256 of their bytes. A source is either whole or not there. */
export class SourceStore {
  readonly #directory: string;
  readonly #uploads: string;
  readonly #disk: Disk;
  readonly #limitBytes: number;
  readonly #keptMs: number;
  #isReferenced: (sha256: string) => boolean = () => true;

  private constructor(directory: string, disk: Disk, limitBytes: number, keptMs: number) {
    this.#directory = directory;
    this.#uploads = join(directory, ".uploads");
    this.#disk = disk;
    this.#limitBytes = limitBytes;
    this.#keptMs = keptMs;
  }

  static async open(options: {
    directory: string;
    disk: Disk;
    limitBytes?: number;
    /** How long an unreferenced source can't be evicted. */
    keptMs?: number;
  }): Promise<SourceStore> {
    const store = new SourceStore(
      options.directory,
      options.disk,
      options.limitBytes ?? SOURCE_LIMIT_BYTES,
      options.keptMs ?? UNREFERENCED_KEPT_MS,
    );
    // Uploads that a killed runner was receiving.
    await rm(store.#uploads, { recursive: true, force: true });
    await mkdir(store.#uploads, { recursive: true, mode: 0o700 });
    return store;
  }

  /**
   * Stores an upload while hashing it. Errors: `too_large`, `hash_mismatch`, `invalid_archive` for what isn't gzip,
   * `disk_full`; nothing is left of a failed upload.
   */
  async put(
    body: AsyncIterable<Uint8Array>,
    expected: { sha256?: string | undefined; bytes?: number | undefined } = {},
  ): Promise<StoredSource> {
    if (expected.bytes !== undefined && expected.bytes > this.#limitBytes) throw this.#tooLarge();
    const room = await this.#disk.reserve(expected.bytes ?? RESERVE_STEP_BYTES, this.#directory);
    const temporary = join(this.#uploads, randomUUID());
    try {
      const stored = await this.#receive(body, temporary, (written, total) => {
        const left = expected.bytes === undefined ? RESERVE_STEP_BYTES : Math.max(0, expected.bytes - total);
        return room.renew(written, left);
      });
      if (expected.sha256 !== undefined && expected.sha256 !== stored.sha256) {
        throw new RunnerError(
          "hash_mismatch",
          `The upload's SHA-256 is ${stored.sha256} and not ${expected.sha256}: it was damaged on the way, or is another.`,
        );
      }
      await rename(temporary, this.#file(stored.sha256));
      await syncDirectory(this.#directory);
      return stored;
    } finally {
      await rm(temporary, { force: true });
      room.release();
      this.#disk.touch(this.#directory);
    }
  }

  /** null if there is no such source. */
  async find(sha256: string): Promise<StoredSource | null> {
    if (!SHA256_PATTERN.test(sha256)) return null;
    try {
      return { sha256, bytes: (await stat(this.#file(sha256))).size };
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    }
  }

  /**
   * Unpacks a source to a new path, whole or not at all. Errors: `source_not_found`, and those of {@link unpack}.
   */
  async unpack(sha256: string, path: string, signal?: AbortSignal): Promise<void> {
    if ((await this.find(sha256)) === null) {
      throw new RunnerError("source_not_found", `There is no source ${sha256}: upload it first.`);
    }
    // Eviction goes by the time of last use.
    await utimes(this.#file(sha256), new Date(), new Date());
    const room = await this.#disk.reserve(0, path);
    const partial = `${path}.partial-${randomUUID()}`;
    try {
      await mkdir(partial, { mode: 0o755 });
      await unpack(this.#file(sha256), sha256, partial, { room, ...(signal ? { signal } : {}) });
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { recursive: true, force: true });
      throw error;
    } finally {
      room.release();
      this.#disk.touch(path);
    }
  }

  async list(): Promise<StoredSource[]> {
    const sources: StoredSource[] = [];
    for (const name of await readdir(this.#directory)) {
      const source = await this.find(name.replace(/\.tgz$/, ""));
      if (source !== null) sources.push(source);
    }
    return sources;
  }

  /** Who says which sources are still needed; until then all are. */
  useReferences(isReferenced: (sha256: string) => boolean): void {
    this.#isReferenced = isReferenced;
  }

  /** Sources that nothing refers to, longest unused first. */
  async evictables(keptMs: number = this.#keptMs): Promise<Evictable[]> {
    const found: { path: string; sha256: string; usedAt: number }[] = [];
    for (const { sha256 } of await this.list()) {
      const path = this.#file(sha256);
      const usedAt = (await stat(path)).mtimeMs;
      if (!this.#isReferenced(sha256) && Date.now() - usedAt >= keptMs) found.push({ path, sha256, usedAt });
    }
    found.sort((a, b) => a.usedAt - b.usedAt);
    return found.map(({ path, sha256 }) => ({
      path,
      evict: async () => {
        if (!this.#isReferenced(sha256)) await rm(path, { force: true });
      },
    }));
  }

  /** Deletes what nothing has referred to for a week, however much room there is. */
  async sweep(): Promise<void> {
    for (const old of await this.evictables(UNREFERENCED_LIMIT_MS)) await old.evict();
  }

  async #receive(
    body: AsyncIterable<Uint8Array>,
    path: string,
    renew: (written: number, total: number) => Promise<void>,
  ): Promise<StoredSource> {
    const hash = createHash("sha256");
    const file = await open(path, "wx", 0o600);
    try {
      let bytes = 0;
      let reservedAt = 0;
      for await (const chunk of body) {
        if (bytes < 2 && !isGzip(chunk, bytes)) {
          throw new RunnerError("invalid_archive", "The upload isn't a gzip file.");
        }
        bytes += chunk.length;
        if (bytes > this.#limitBytes) throw this.#tooLarge();
        if (bytes - reservedAt >= RESERVE_STEP_BYTES) {
          await renew(bytes - reservedAt, bytes);
          reservedAt = bytes;
        }
        hash.update(chunk);
        await file.writeFile(chunk);
      }
      if (bytes < GZIP_LEAST_BYTES) throw new RunnerError("invalid_archive", "The upload is empty.");
      await file.sync();
      return { sha256: hash.digest("hex"), bytes };
    } finally {
      await file.close();
    }
  }

  #file(sha256: string): string {
    return join(this.#directory, `${sha256}.tgz`);
  }

  #tooLarge(): RunnerError {
    return new RunnerError("too_large", `A source can't be larger than ${this.#limitBytes} bytes.`);
  }
}

/** The first bytes of every gzip file, whatever their split over chunks. */
function isGzip(chunk: Uint8Array, offset: number): boolean {
  const magic = [0x1f, 0x8b].slice(offset);
  return magic.every((byte, index) => chunk[index] === undefined || chunk[index] === byte);
}
