/** Images of a prompt: uploaded to a project first, then named by the build by their SHA-256. */

import { isObject } from "./control.ts";

/** Source: what vendors' APIs take. */
export const imageTypes = ["image/png", "image/jpeg", "image/gif", "image/webp"] as const;
export type ImageType = (typeof imageTypes)[number];

export const IMAGE_LIMIT_BYTES = 10 * 1024 * 1024;
/** Of one prompt. */
export const IMAGES_LIMIT = 5;
/** Of one prompt together: in base64 they are one line, and agents end at 32 MiB of it. */
export const IMAGES_LIMIT_BYTES = 20 * 1024 * 1024;

export interface StoredImage {
  sha256: string;
  type: ImageType;
  bytes: number;
}

/** By the file's first bytes; null: it is none of these. */
export function imageTypeOf(start: Uint8Array): ImageType | null {
  const text = String.fromCharCode(...start.subarray(0, IMAGE_START_BYTES));
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (text.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (/^GIF8[79]a/.test(text)) return "image/gif";
  return /^RIFF[^]{4}WEBP/.test(text) ? "image/webp" : null;
}

/** Bytes that {@link imageTypeOf} looks at. */
export const IMAGE_START_BYTES = 12;

/** Null for anything else. */
export function parseStoredImage(value: unknown): StoredImage | null {
  if (!isObject(value)) return null;
  const { sha256, bytes } = value;
  const type = imageTypes.find((one) => one === value["type"]);
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) return null;
  if (type === undefined || typeof bytes !== "number") return null;
  return { sha256, type, bytes };
}
