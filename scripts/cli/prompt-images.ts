import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import {
  IMAGE_LIMIT_BYTES,
  IMAGE_START_BYTES,
  IMAGES_LIMIT,
  IMAGES_LIMIT_BYTES,
  imageTypeOf,
} from "../../functions/protocol/images.ts";
import type { ControlClient } from "../client/control-client.ts";
import { Failure } from "./failure.ts";

type Image = Uint8Array<ArrayBuffer>;

/** The flag of commands that take a prompt. */
export const ofImages = {
  image: {
    type: "string",
    multiple: true,
    value: "FILE",
    summary: `an image for the prompt: png, jpeg, gif or webp (${IMAGES_LIMIT} at most)`,
  },
} as const;

/** Before anything is asked of the server: what it would refuse is refused here. */
export async function readImages(files: readonly string[]): Promise<Image[]> {
  if (files.length > IMAGES_LIMIT)
    throw refused(`A prompt has ${IMAGES_LIMIT} images at most, and these are ${files.length}.`);
  const images: Image[] = [];
  for (const file of files) images.push(await readImage(file));
  if (images.reduce((sum, { length }) => sum + length, 0) > IMAGES_LIMIT_BYTES)
    throw refused(`The images of a prompt have ${IMAGES_LIMIT_BYTES / 1024 ** 2} MiB together at most.`);
  return images;
}

/** What a build's body says of them. */
export async function uploadImages(
  control: ControlClient,
  project: string,
  images: readonly Image[],
): Promise<{ images?: string[] }> {
  if (images.length === 0) return {};
  const stored: string[] = [];
  for (const image of images) {
    const sha256 = createHash("sha256").update(image).digest("hex");
    stored.push((await control.uploadImage(project, image, sha256)).sha256);
  }
  return { images: stored };
}

async function readImage(path: string): Promise<Image> {
  const file = await open(path).catch((error: unknown) => {
    throw refused(`${path} can't be read: ${error instanceof Error ? error.message : String(error)}`);
  });
  try {
    const { size } = await file.stat();
    if (size > IMAGE_LIMIT_BYTES)
      throw refused(`${path} is larger than ${IMAGE_LIMIT_BYTES / 1024 ** 2} MiB, an image's limit.`);
    const content = await file.readFile();
    if (imageTypeOf(content.subarray(0, IMAGE_START_BYTES)) !== null) return content;
    throw refused(`${path} isn't a PNG, JPEG, GIF or WebP image.`);
  } finally {
    await file.close();
  }
}

function refused(message: string): Failure {
  return new Failure("usage", "image_refused", message);
}
