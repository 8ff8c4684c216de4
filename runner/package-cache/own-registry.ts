import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

/** Where package managers are told of registries and logins. */
const FILES = [".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", "pnpm-workspace.yaml"];
const LIMIT_BYTES = 64 * 1024;
/** `registry=`, `@scope:registry=`, `_authToken`, `npmRegistryServer`, `npmScopes`, `[install.scopes]`. */
const OF_OWN = /registr|_auth|_password|npmScopes|\bscopes\b|\btoken\b|\bcert\b|\bcafile\b|\bproxy\b/i;
const VARIABLE = /^(?:npm|pnpm|bun)_config_|^yarn_|^npm_token$|^node_auth_token$/i;

/** Whether a project says by itself where its packages come from, or has a login for it. */
export async function hasOwnRegistry(
  directories: readonly string[],
  given: Readonly<Record<string, string>>,
): Promise<boolean> {
  if (Object.keys(given).some((name) => VARIABLE.test(name))) return true;
  for (const directory of directories)
    for (const name of FILES) if (await says(join(directory, name))) return true;
  return false;
}

/** The file is a guest's: it may be a pipe, or a link to what only the runner reads. */
async function says(path: string): Promise<boolean> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch(() => null); // there is none, or none that counts
  if (file === null) return false;
  try {
    const stats = await file.stat();
    if (!stats.isFile()) return false;
    if (stats.size > LIMIT_BYTES) return true;
    return OF_OWN.test(await file.readFile("utf8"));
  } finally {
    await file.close();
  }
}
