import { RunnerError } from "../runner-error.ts";

/** Linux's PATH_MAX. */
const PATH_LIMIT_BYTES = 4_096;
/** NAME_MAX of every common file system. */
const NAME_LIMIT_BYTES = 255;
/** Deeper trees are attacks or mistakes; each level is an open directory while a path is resolved. */
const DEPTH_LIMIT = 100;
/** One decoding more than any proxy between a browser and this line is known to do. */
const DECODINGS = 4;

/** On Windows these open devices, whatever their extension; a project that has them can't be moved there. */
const DEVICE_NAME = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\.|:|$)/i;
const DRIVE = /^[a-z]:/i;

/**
 * The components of a path that came from outside, relative to its project; none for the project itself.
 * Throws {@link RunnerError} `invalid_path` for what can't be a path, and `path_outside_project` for everything that leaves
 * the project or would leave it on another reading: absolute, dot segments, backslashes, drives, percent-encoded forms.
 *
 * @example parseOutsidePath("src//./app.ts") // ["src", "app.ts"]
 */
export function parseOutsidePath(path: unknown): string[] {
  if (typeof path !== "string") throw new RunnerError("invalid_path", "A path must be a string.");
  if (path.includes("\0")) throw new RunnerError("invalid_path", "A path can't contain a NUL character.");
  if (Buffer.byteLength(path) > PATH_LIMIT_BYTES) {
    throw new RunnerError("invalid_path", `A path can't be longer than ${PATH_LIMIT_BYTES} bytes.`);
  }
  if (!path.isWellFormed()) throw new RunnerError("invalid_path", "A path must be well-formed Unicode.");
  if (path.startsWith("/") || path.includes("\\") || DRIVE.test(path)) throw outside();
  const components: string[] = [];
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (components.pop() === undefined) throw outside();
      continue;
    }
    checkName(name);
    components.push(name);
  }
  if (components.length > DEPTH_LIMIT) {
    throw new RunnerError("invalid_path", `A path can't be deeper than ${DEPTH_LIMIT} directories.`);
  }
  return components;
}

/** The error for a path that leaves its project, without telling where it went. */
export function outside(): RunnerError {
  return new RunnerError("path_outside_project", "This path leads out of its project.");
}

function checkName(name: string): void {
  if (Buffer.byteLength(name) > NAME_LIMIT_BYTES) {
    throw new RunnerError("invalid_path", `A file name can't be longer than ${NAME_LIMIT_BYTES} bytes.`);
  }
  if (DEVICE_NAME.test(name)) throw new RunnerError("invalid_path", "A file name can't be a device's name.");
  let decoded = name;
  for (let round = 0; round < DECODINGS && decoded.includes("%"); round++) {
    decoded = decodeEscapes(decoded);
    if (/[/\\\0]/.test(decoded) || /^\.\.?$/.test(decoded)) throw outside();
  }
}

/** Unlike decodeURIComponent this takes overlong and malformed sequences too, byte by byte. */
function decodeEscapes(text: string): string {
  const once = text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  // C0 AE and C0 AF are the overlong forms of "." and "/".
  return once.replace(/\u00c0\u00ae/g, ".").replace(/\u00c0\u00af/g, "/");
}
