import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Stats } from "node:fs";

/** Read and hashed in a millisecond or two, once. */
const HASHED_LIMIT_BYTES = 1024 * 1024;

/**
 * Entity tags of files that don't change while this runs. Of what they hold, since every file of a source has the same
 * time: another version's file of the same size must not pass for this one. Large ones are told apart by deployment.
 */
export class Etags {
  readonly #deployment: string;
  readonly #known = new Map<string, string>();

  constructor(deployment: string) {
    this.#deployment = deployment;
  }

  of(file: string, { size, mtimeMs }: Stats): string {
    const key = `${size}-${mtimeMs}-${file}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const hash = createHash("sha256");
    if (size <= HASHED_LIMIT_BYTES) hash.update(readFileSync(file));
    else hash.update(`${this.#deployment} ${key}`);
    const tag = `"${hash.digest("base64url").slice(0, 22)}"`;
    this.#known.set(key, tag);
    return tag;
  }
}
