import { createHash, randomUUID } from "node:crypto";
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import {
  IMAGE_LIMIT_BYTES,
  IMAGE_START_BYTES,
  IMAGES_LIMIT_BYTES,
  imageTypeOf,
  imageTypes,
  type ImageType,
  type StoredImage,
} from "../../functions/protocol/images.ts";
import { RunnerError } from "../runner-error.ts";
import type { Disk } from "../workspaces/disk.ts";

/** Between an upload and the prompt that names it there are seconds, or the time in which a person writes one. */
const KEPT_MS = 6 * 60 * 60_000;
/** Uploads that no prompt has named yet; the oldest are forgotten first. */
const KEPT_LIMIT = 20;

/** Where a build keeps one: a file's name in its directory, which says its type. */
export type BuildImage = string;

/** Images that were uploaded for a project's next prompts. Each build gets copies of those that it names. */
export class ProjectImages {
  readonly #directory: string;
  readonly #disk: Disk;

  constructor(directory: string, disk: Disk) {
    this.#directory = directory;
    this.#disk = disk;
  }

  /**
   * Errors: `too_large`, `invalid_request` for what isn't an image, `hash_mismatch`, `disk_full`; nothing is left of a failed
   * upload.
   */
  async put(
    body: AsyncIterable<Uint8Array>,
    expected: { sha256: string | undefined; bytes: number | undefined },
  ): Promise<StoredImage> {
    const { bytes = IMAGE_LIMIT_BYTES } = expected;
    if (bytes > IMAGE_LIMIT_BYTES) throw tooLarge();
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const room = await this.#disk.reserve(bytes, this.#directory);
    const partial = join(this.#directory, `${randomUUID()}.partial`);
    try {
      const stored = await receive(body, partial);
      if (expected.sha256 !== undefined && expected.sha256 !== stored.sha256)
        throw new RunnerError("hash_mismatch", `The upload's SHA-256 is ${stored.sha256}: it was damaged.`);
      await rename(partial, join(this.#directory, nameOf(stored)));
      await this.#forgetOldest();
      return stored;
    } finally {
      await rm(partial, { force: true });
      room.release();
    }
  }

  /** Copies of these, as files of a directory. Errors: `invalid_request` for one that isn't here, `too_large`. */
  async copyTo(directory: string, wanted: readonly string[]): Promise<BuildImage[]> {
    if (wanted.length === 0) return [];
    const names = await readdir(this.#directory).catch(() => []); // none was uploaded
    const found = wanted.map((sha256) => {
      const name = names.find((one) => one.startsWith(`${sha256}.`));
      if (name !== undefined) return name;
      throw new RunnerError("invalid_request", `There is no image ${sha256}: upload it first.`, "images");
    });
    let bytes = 0;
    for (const name of found) bytes += (await stat(join(this.#directory, name))).size;
    if (bytes > IMAGES_LIMIT_BYTES)
      throw new RunnerError(
        "too_large",
        `The images of a prompt have ${IMAGES_LIMIT_BYTES / 1024 ** 2} MiB together at most.`,
        "images",
      );
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of found) {
      await copyFile(join(this.#directory, name), join(directory, name));
      // It may be named again: it isn't the oldest.
      await utimes(join(this.#directory, name), new Date(), new Date());
    }
    return found;
  }

  async #forgetOldest(): Promise<void> {
    const all = await Promise.all(
      (await readdir(this.#directory)).map(async (name) => {
        const { mtimeMs } = await stat(join(this.#directory, name)).catch(() => ({ mtimeMs: 0 }));
        return { name, mtimeMs };
      }),
    );
    const newest = all.sort((one, other) => other.mtimeMs - one.mtimeMs);
    for (const [index, { name, mtimeMs }] of newest.entries())
      if (index >= KEPT_LIMIT || Date.now() - mtimeMs > KEPT_MS)
        await rm(join(this.#directory, name), { force: true });
  }
}

/** As an agent gets it. */
export async function readImage(
  directory: string,
  name: BuildImage,
): Promise<{ type: "image"; mimeType: ImageType; data: string }> {
  const mimeType = imageTypes.find((type) => name.endsWith(`.${endingOf(type)}`));
  if (mimeType === undefined) throw new Error(`${name} isn't an image's name.`);
  return { type: "image", mimeType, data: (await readFile(join(directory, name))).toString("base64") };
}

async function receive(body: AsyncIterable<Uint8Array>, path: string): Promise<StoredImage> {
  const hash = createHash("sha256");
  const file = await open(path, "wx", 0o600);
  let start = Buffer.alloc(0);
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > IMAGE_LIMIT_BYTES) throw tooLarge();
      const isWhole = start.length >= IMAGE_START_BYTES;
      if (!isWhole) start = Buffer.concat([start, chunk.subarray(0, IMAGE_START_BYTES)]);
      if (!isWhole && start.length >= IMAGE_START_BYTES) requireImage(start);
      hash.update(chunk);
      await file.writeFile(chunk);
    }
    return { sha256: hash.digest("hex"), type: requireImage(start), bytes };
  } finally {
    await file.close();
  }
}

function requireImage(start: Uint8Array): ImageType {
  const type = imageTypeOf(start);
  if (type !== null) return type;
  throw new RunnerError("invalid_request", "This isn't a PNG, JPEG, GIF or WebP image.", "body");
}

function nameOf({ sha256, type }: StoredImage): string {
  return `${sha256}.${endingOf(type)}`;
}

function endingOf(type: ImageType): string {
  return type.slice("image/".length);
}

function tooLarge(): RunnerError {
  return new RunnerError("too_large", `An image has ${IMAGE_LIMIT_BYTES / 1024 ** 2} MiB at most.`, "body");
}
