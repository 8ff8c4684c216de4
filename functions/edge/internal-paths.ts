import type { AppConfig } from "../apps/app-document.ts";

export const INTERNAL_PREFIX = "/_pulse/internal";

/**
 * Whether a request path, however it is spelled, could reach the contract's internal endpoints on some backend:
 * backends differ in how often they decode, whether they fold case, slashes and path parameters, in which order they
 * resolve dot segments, and where they think that a path ends. A path that might be read so by any of them is internal.
 */
export function isInternalPath(rawPath: string, paths?: AppConfig["paths"]): boolean {
  const endpoints = paths === undefined ? ALWAYS : endpointsOf(paths);
  if (isPlain(rawPath)) {
    const path = `${rawPath.toLowerCase()}/`;
    return endpoints.some(({ prefix }) => path.startsWith(prefix));
  }
  return reachesWith(decodeStrictly, rawPath, endpoints) || reachesWith(decodeSloppily, rawPath, endpoints);
}

interface Endpoint {
  /** With a slash at both ends, lower case. */
  prefix: string;
  names: string[];
}

const ALWAYS: Endpoint[] = [endpoint(INTERNAL_PREFIX)];
const configured = new WeakMap<AppConfig["paths"], Endpoint[]>();

function endpointsOf(paths: AppConfig["paths"]): Endpoint[] {
  let endpoints = configured.get(paths);
  if (!endpoints) {
    // A path of slashes alone names nothing: blocking it would block the app.
    const own = [endpoint(paths.sessions), endpoint(paths.reload)].filter(({ names }) => names.length > 0);
    endpoints = [...ALWAYS, ...own];
    configured.set(paths, endpoints);
  }
  return endpoints;
}

function endpoint(path: string): Endpoint {
  const { names } = read(path.toLowerCase());
  return { prefix: `/${names.join("/")}/`, names };
}

/** Only one reading is possible: nothing encoded, no parameters, no dot or empty segments, no dot before a slash. */
function isPlain(path: string): boolean {
  // Printable ASCII but for # % ; \ and the question mark.
  return /^[!"$&-:<->@-[\]-~]*$/.test(path) && !/\/[./]|\.\/|\.$/.test(path);
}

/** Nested encodings have no honest use beyond two or three; whatever needs more is hiding something. */
const DECODE_ROUNDS = 8;

function reachesWith(decode: (path: string) => string, rawPath: string, endpoints: Endpoint[]): boolean {
  let path = rawPath.normalize("NFKC");
  for (let round = 0; round < DECODE_ROUNDS; round++) {
    if (readings(path).some((reading) => endpoints.some(({ names }) => reaches(reading, names)))) return true;
    const decoded = decode(path).normalize("NFKC");
    if (decoded === path) return false;
    path = decoded;
  }
  return true;
}

interface Reading {
  names: string[];
  /** With dot segments, what a path means depends on what else was folded before them. */
  hasDotSegments: boolean;
  /** `//host/path`: a URL parser with a base takes the first segment for a host. */
  hasHost: boolean;
}

function reaches({ names, hasDotSegments, hasHost }: Reading, wanted: string[]): boolean {
  if (hasDotSegments) {
    let found = 0;
    for (const name of names) if (name === wanted[found]) found += 1;
    return found >= wanted.length;
  }
  const startsAt = (offset: number): boolean => wanted.every((name, index) => names[offset + index] === name);
  return startsAt(0) || (hasHost && startsAt(1));
}

/** What servers drop or stop at: control characters, spaces, invisible ones, and what stands for broken UTF-8. */
const UNSEEN = /[\p{C}\p{Z}\u0307\ufffd]/u;
const ALL_UNSEEN = new RegExp(UNSEEN, "gu");

function readings(path: string): Reading[] {
  // Upper case first: a dotless i becomes an I there, and only then an i.
  const folded = path
    .toUpperCase()
    .toLowerCase()
    .replace(/[\\\u2044\u2215\u2216\u29f8]/g, "/");
  const end = folded.search(UNSEEN);
  return end === -1 ? [read(folded)] : [read(folded.replace(ALL_UNSEEN, "")), read(folded.slice(0, end))];
}

function read(path: string): Reading {
  const names: string[] = [];
  let hasDotSegments = false;
  let hasHost = false;
  for (const [index, segment] of path.split("/").entries()) {
    // Parameters, and a query or a fragment whose mark was encoded.
    const name = segment.split(/[;?#]/, 1)[0] ?? "";
    const stem = withoutDotsAtTheEnd(name);
    if (stem !== "") names.push(stem);
    else if (name.length > 1) hasDotSegments = true;
    else if (index === 1) hasHost = true;
  }
  return { names, hasDotSegments, hasHost };
}

function withoutDotsAtTheEnd(name: string): string {
  let end = name.length;
  while (name[end - 1] === ".") end -= 1;
  return name.slice(0, end);
}

function decodeStrictly(path: string): string {
  return decodeWith((bytes) => new TextDecoder().decode(bytes), path);
}

/** As servers do that never check UTF-8: a first byte swallows what follows, and overlong forms count. */
function decodeSloppily(path: string): string {
  return decodeWith(sloppyUtf8, path);
}

function decodeWith(text: (bytes: Uint8Array) => string, path: string): string {
  return path
    .replace(/%u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/(?:%[0-9a-f]{2})+/gi, (run) =>
      text(Uint8Array.from(run.slice(1).split("%"), (hex) => parseInt(hex, 16))),
    );
}

function sloppyUtf8(bytes: Uint8Array): string {
  let text = "";
  for (let index = 0; index < bytes.length; index++) {
    const first = bytes[index] ?? 0;
    // The ones that the first byte starts with: how many bytes there are, and how many of its bits don't count.
    const ones = Math.clz32(~(first << 24));
    if (ones < 2 || ones > 6) {
      text += String.fromCharCode(first);
      continue;
    }
    let code = first & (0x7f >> ones);
    for (let left = ones - 1; left > 0; left--) code = (code << 6) | ((bytes[++index] ?? 0) & 0x3f);
    text += code >= 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  }
  return text;
}
