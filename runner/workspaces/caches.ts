import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { isSystemError } from "../runner-error.ts";

/** Directories that an install or a build makes again. Never `dist` or `build`: some projects keep sources there. */
const CACHES = new Set([
  "node_modules",
  ".npm",
  ".cache",
  ".next",
  ".nuxt",
  ".astro",
  ".svelte-kit",
  ".turbo",
  ".vite",
  ".parcel-cache",
  ".yarn-cache",
  ".pnpm-store",
  "__pycache__",
]);
/** Monorepos keep packages at `packages/name`; deeper ones are small. */
const DEPTH = 3;

/** Whether what is in a directory of this name is made again by an install or a build. */
export function isCache(name: string): boolean {
  return CACHES.has(name);
}

/** Every cache directory of a project, none inside another. Symlinks aren't followed. */
export async function findCaches(directory: string, depth: number = DEPTH): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (isSystemError(error, "ENOENT", "ENOTDIR", "EACCES")) return [];
    throw error;
  });
  const found: string[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    if (CACHES.has(entry.name)) found.push(path);
    else if (depth > 1 && entry.name !== ".git") found.push(...(await findCaches(path, depth - 1)));
  }
  return found;
}

/** Where package managers keep what they fetched, in a home. */
const HOME_CACHES = [
  ".npm",
  ".cache",
  ".yarn",
  ".local/share/pnpm/store",
  ".local/share/pnpm-store",
  ".bun/install/cache",
];

/** Those that are in this home, past no symlink. */
export async function findHomeCaches(home: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of HOME_CACHES)
    if (await isDirectoryAt(home, path.split("/"))) found.push(join(home, path));
  return found;
}

async function isDirectoryAt(directory: string, [name, ...rest]: string[]): Promise<boolean> {
  const path = name === undefined ? directory : join(directory, name);
  const stats = await lstat(path).catch(() => null); // not there
  return stats?.isDirectory() === true && (name === undefined || isDirectoryAt(path, rest));
}
