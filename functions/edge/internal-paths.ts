import type { AppConfig } from "../deployments/app-document.ts";

export const INTERNAL_PREFIX = "/_pulse/internal";

/**
 * Whether a request path, however it is spelled, could reach the contract's internal endpoints on some backend:
 * backends differ in how often they decode, whether they fold case, slashes, dots and path parameters.
 */
export function isInternalPath(rawPath: string, paths?: AppConfig["paths"]): boolean {
  const prefixes =
    paths === undefined ? [INTERNAL_PREFIX] : [INTERNAL_PREFIX, fold(paths.sessions), fold(paths.reload)];
  for (const spelling of spellings(rawPath)) {
    for (const prefix of prefixes) {
      if (spelling === prefix || spelling.startsWith(`${prefix}/`)) return true;
    }
  }
  return false;
}

/** A path of plain characters has one spelling; others are decoded until nothing changes. */
function* spellings(rawPath: string): Iterable<string> {
  let path = rawPath;
  yield fold(path);
  if (PLAIN.test(path)) return;
  // Each round removes at least two characters, so this ends; nested encodings have no honest use beyond a few.
  for (let decoded = decodeOnce(path); decoded !== path; decoded = decodeOnce(path)) {
    path = decoded;
    yield fold(path);
  }
}

const PLAIN = /^[\w\-./~]*$/;

function decodeOnce(path: string): string {
  return path
    .replace(/%u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
      const bytes = Uint8Array.from(run.slice(1).split("%"), (hex) => parseInt(hex, 16));
      // Latin-1 as well as UTF-8 must give the ASCII letters; overlong UTF-8 is turned into what it stands for.
      return overlong(bytes) ?? new TextDecoder().decode(bytes);
    });
}

function overlong(bytes: Uint8Array): string | undefined {
  if (!bytes.some((byte) => byte === 0xc0 || byte === 0xc1 || byte === 0xe0)) return undefined;
  let text = "";
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] ?? 0;
    const next = bytes[index + 1] ?? 0;
    if ((byte & 0xe0) === 0xc0 && (next & 0xc0) === 0x80) {
      text += String.fromCharCode(((byte & 0x1f) << 6) | (next & 0x3f));
      index += 1;
    } else if (byte === 0xe0 && (next & 0xc0) === 0x80) {
      text += String.fromCharCode(((next & 0x3f) << 6) | ((bytes[index + 2] ?? 0) & 0x3f));
      index += 2;
    } else {
      text += String.fromCharCode(byte);
    }
  }
  return text;
}

/** Lower case, compatibility forms (fullwidth letters), slashes one way, no parameters, no dot segments. */
function fold(path: string): string {
  const segments: string[] = [];
  const plain = path
    .normalize("NFKC")
    .toLowerCase()
    .replaceAll("\\", "/")
    // eslint-disable-next-line no-control-regex -- control characters are what some servers drop
    .replace(/[\u0000-\u0020\u007f\u00ad\u200b-\u200d\ufeff]/g, "");
  for (const segment of plain.split("/")) {
    const name = segment.split(";", 1)[0] ?? "";
    if (name === "" || name === ".") continue;
    if (name === "..") segments.pop();
    else segments.push(name);
  }
  return `/${segments.join("/")}`;
}
