/** All packuments together, compressed. A project of 1,000 packages asks for some 30 MB. */
const LIMIT_BYTES = 96 * 1024 ** 2;
/** What the public registry says, and no more than that: a new version should be found soon. */
const MAX_AGE_MS = 5 * 60_000;
const DEFAULT_AGE_MS = 60_000;

export interface Packument {
  /** Gzipped. */
  body: Buffer;
  etag: string | undefined;
  type: string;
  freshUntil: number;
}

/** What the registry says of packages: in memory alone, so that no guest can write to it. The least used go first. */
export class Packuments {
  readonly #known = new Map<string, Packument>();
  #bytes = 0;

  find(key: string): Packument | null {
    const found = this.#known.get(key);
    if (found === undefined) return null;
    this.#known.delete(key);
    this.#known.set(key, found);
    return found;
  }

  set(key: string, packument: Packument): void {
    this.delete(key);
    this.#known.set(key, packument);
    this.#bytes += packument.body.length;
    for (const oldest of this.#known.keys()) {
      if (this.#bytes <= LIMIT_BYTES) return;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#bytes -= this.#known.get(key)?.body.length ?? 0;
    this.#known.delete(key);
  }
}

/** Until when an answer with this header is believed without asking again. */
export function freshUntil(cacheControl: string | undefined): number {
  const seconds = /max-age=(\d+)/.exec(cacheControl ?? "")?.[1];
  const ageMs = seconds === undefined ? DEFAULT_AGE_MS : Number(seconds) * 1_000;
  return Date.now() + Math.min(MAX_AGE_MS, ageMs);
}
