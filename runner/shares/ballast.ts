import { randomBytes } from "node:crypto";
import { open, rm, stat, truncate } from "node:fs/promises";
import { isSystemError } from "../runner-error.ts";

const CHUNK_BYTES = 1024 * 1024;
/** Given back in so many parts: whoever filled the disk may still take the first. */
const PARTS = 4;

/**
 * Room on the disk that only the runner can give back. A disk that was filled faster than anybody could look has room
 * again for logs, journals and the local Worker's state, until there is more.
 */
export class Ballast {
  readonly #file: string;
  readonly #size: number;
  #bytes = 0;

  private constructor(file: string, size: number) {
    this.#file = file;
    this.#size = size;
  }

  static async open(file: string, size: number): Promise<Ballast> {
    const ballast = new Ballast(file, size);
    ballast.#bytes = (await stat(file).catch(() => null))?.size ?? 0;
    return ballast;
  }

  get isWhole(): boolean {
    return this.#bytes >= this.#size;
  }

  /** So little is left that nobody can count on a write. */
  isNeeded(freeBytes: number): boolean {
    return this.#bytes > 0 && freeBytes < this.#size / PARTS;
  }

  async give(): Promise<void> {
    const left = Math.max(0, this.#bytes - Math.ceil(this.#size / PARTS));
    await truncate(this.#file, left);
    this.#bytes = left;
  }

  /** Whole again, or as it was where the disk turns out to be full. */
  async fill(): Promise<void> {
    try {
      const file = await open(this.#file, "w", 0o600);
      try {
        // Noise: some file systems store zeros in no room at all.
        for (let bytes = 0; bytes < this.#size; bytes += CHUNK_BYTES) {
          await file.writeFile(randomBytes(Math.min(CHUNK_BYTES, this.#size - bytes)));
        }
        await file.sync();
      } finally {
        await file.close();
      }
      this.#bytes = this.#size;
    } catch (error) {
      await rm(this.#file, { force: true });
      this.#bytes = 0;
      if (!isSystemError(error, "ENOSPC", "EDQUOT")) throw error;
    }
  }
}
