import { readdir } from "node:fs/promises";
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
