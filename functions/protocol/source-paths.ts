/** What an archive of a source may hold. The CLI says it before an upload; the runner refuses what comes all the same. */

/** A large monorepo without its node_modules has 30,000 files. */
export const ENTRIES_LIMIT = 100_000;
/** Linux's limits on a path and on a name. */
const PATH_LIMIT_BYTES = 4_096;
const NAME_LIMIT_BYTES = 255;
const DEPTH_LIMIT = 100;

/** Why a path can't be in an archive: what follows on its name. Null: it can. */
export function whyRefusedPath(path: string): string | null {
  if (path.includes("\0")) return "has a NUL character in its name";
  if (bytes(path) > PATH_LIMIT_BYTES) return "has too long a path";
  if (path.startsWith("/") || path.includes("\\") || /^[a-z]:/i.test(path)) {
    return "is an absolute path, or has a backslash or drive letter, which some systems read as one";
  }
  const parts = partsOf(path);
  if (parts.includes("..")) return "leads out of the archive";
  if (parts.length > DEPTH_LIMIT) return "is too deep";
  if (parts.some((part) => bytes(part) > NAME_LIMIT_BYTES)) return "has too long a name";
  return null;
}

/**
 * Why a symbolic link can't be. It may climb only at its beginning, where its own directory decides what that means. `..`
 * behind another link could lead anywhere.
 */
export function whyRefusedLink(path: string, target: string): string | null {
  if (target === "" || target.includes("\0") || bytes(target) > PATH_LIMIT_BYTES) {
    return "is a symlink without a usable target";
  }
  if (target.startsWith("/") || target.includes("\\") || /^[a-z]:/i.test(target)) {
    return "is a symlink out of the source, to an absolute path or one that some systems read so";
  }
  const parts = partsOf(target);
  const descent = parts.slice(parts.findLastIndex((part) => part === "..") + 1);
  const climbs = parts.slice(0, parts.length - descent.length);
  if (climbs.some((part) => part !== "..")) return "is a symlink that climbs after it has descended";
  if (climbs.length > partsOf(path).length - 1) return "is a symlink out of the source";
  return null;
}

/** The name that a file system without case and with another normal form would know a path by. */
export function foldedPath(path: string): string {
  return path.normalize("NFC").toLowerCase();
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
