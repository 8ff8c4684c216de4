import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { CleanupPolicy } from "../cleanup/policy.ts";
import { isSystemError } from "../runner-error.ts";
import type { Disk } from "../workspaces/disk.ts";

/** How old a file's time of use may be: each write of it is one of the disk. */
const USED_AGE_MS = 60 * 60_000;
const ENTRY = /^([0-9a-f]{64})-([0-9a-f]{128})$/;
/** Of a tarball without a length. */
const ROOM_BYTES = 64 * 1024 ** 2;

interface Entry {
  file: string;
  sha512: string;
  bytes: number;
  usedAt: number;
}

/**
 * Tarballs by the path that the registry has them at. A file's name has the hash of what the registry sent, and each reading checks
 * it, so that a file that somebody changed is fetched again.
 */
export class TarballStore {
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #limitBytes: number | null;
  readonly #entries = new Map<string, Entry>();

  private constructor(directory: string, disk: Disk, limitBytes: number | null) {
    this.#directory = directory;
    this.#disk = disk;
    this.#limitBytes = limitBytes;
  }

  static async open(directory: string, disk: Disk, limitBytes: number | null): Promise<TarballStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const store = new TarballStore(directory, disk, limitBytes);
    for (const name of await readdir(directory)) {
      const file = join(directory, name);
      const [, key, sha512] = ENTRY.exec(name) ?? [];
      // What a killed runner was fetching.
      if (key === undefined || sha512 === undefined) await rm(file, { recursive: true, force: true });
      else {
        const { size, mtimeMs } = await stat(file);
        store.#entries.set(key, { file, sha512, bytes: size, usedAt: mtimeMs });
      }
    }
    return store;
  }

  get count(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return [...this.#entries.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Null: it isn't there, or isn't what the registry sent. */
  async find(path: string): Promise<{ file: string; bytes: number } | null> {
    const key = keyOf(path);
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    const hash = createHash("sha512");
    try {
      await pipeline(createReadStream(entry.file), hash);
    } catch (error) {
      if (!isSystemError(error, "ENOENT")) throw error;
    }
    if (hash.digest("hex") !== entry.sha512) {
      await this.#remove(key, entry);
      return null;
    }
    if (Date.now() - entry.usedAt > USED_AGE_MS)
      await utimes(entry.file, new Date(), new Date()).catch(() => undefined); // it counts as older than it is
    entry.usedAt = Date.now();
    return entry;
  }

  /** Throws `disk_full`, what the body throws, and an error where its hash isn't the expected one. */
  async put(
    path: string,
    body: Readable,
    { length, sha512: expected }: { length: number | undefined; sha512: string | undefined },
  ): Promise<{ file: string; bytes: number }> {
    const room = await this.#disk.reserve(length ?? ROOM_BYTES);
    const partial = join(this.#directory, `partial-${randomUUID()}`);
    const hash = createHash("sha512");
    let bytes = 0;
    const hashing = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        hash.update(chunk);
        bytes += chunk.length;
        done(null, chunk);
      },
    });
    try {
      await pipeline(body, hashing, createWriteStream(partial, { mode: 0o600 }));
      const sha512 = hash.digest("hex");
      if (expected !== undefined && expected !== sha512)
        throw new Error(`${path} isn't what the registry says that it is`);
      const key = keyOf(path);
      const file = join(this.#directory, `${key}-${sha512}`);
      const former = this.#entries.get(key);
      if (former !== undefined && former.file !== file) await this.#remove(key, former);
      await rename(partial, file);
      this.#entries.set(key, { file, sha512, bytes, usedAt: Date.now() });
      await this.trim({ ageSeconds: null, bytes: this.#limitBytes }, false);
      return { file, bytes };
    } finally {
      room.release();
      await rm(partial, { force: true });
      this.#disk.touch(this.#directory);
    }
  }

  /** What the cleanup does: by age, then the longest unused until the rest fits. */
  async trim(
    { ageSeconds, bytes: limit }: CleanupPolicy["packages"],
    dryRun: boolean,
  ): Promise<{ bytes: number; why: string | null }> {
    let left = this.bytes;
    let freed = 0;
    let why: string | null = null;
    const oldestFirst = [...this.#entries].sort(([, one], [, other]) => one.usedAt - other.usedAt);
    for (const [key, entry] of oldestFirst) {
      const isOld = ageSeconds !== null && Date.now() - entry.usedAt > ageSeconds * 1_000;
      if (!isOld && (limit === null || left <= limit)) break;
      why ??= isOld ? `unused for more than ${ageSeconds} s` : `it has more than ${limit} bytes`;
      left -= entry.bytes;
      freed += entry.bytes;
      if (!dryRun) await this.#remove(key, entry);
    }
    return { bytes: freed, why };
  }

  async clear(): Promise<void> {
    for (const [key, entry] of this.#entries) await this.#remove(key, entry);
  }

  async #remove(key: string, { file }: Entry): Promise<void> {
    this.#entries.delete(key);
    await rm(file, { force: true });
    this.#disk.touch(this.#directory);
  }
}

function keyOf(path: string): string {
  return createHash("sha256").update(path).digest("hex");
}
