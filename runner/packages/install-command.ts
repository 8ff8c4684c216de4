import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { resolveCommand } from "package-manager-detector/commands";
import { LOCKS } from "package-manager-detector/constants";
import { detect } from "package-manager-detector/detect";
import { parseUserJson } from "../../functions/protocol/user-json.ts";
import { readPackageJson } from "./package-json.ts";

/**
 * How to install what a source depends on, or null if it depends on nothing. The lockfile decides the package manager
 * and the exact versions; without one the manifest's `packageManager` does, or else npm.
 */
export async function installCommand(directory: string): Promise<string | null> {
  const manifest = await readPackageJson(directory);
  if (manifest === null) return null;
  const { dependencies = {}, devDependencies = {}, optionalDependencies = {}, workspaces } = manifest;
  const hasDependencies = [dependencies, devDependencies, optionalDependencies].some(
    (group) => Object.keys(group).length > 0,
  );
  const isWorkspace = workspaces !== undefined || (await exists(join(directory, "pnpm-workspace.yaml")));
  if (!hasDependencies && !isWorkspace) return null;
  const detected = await detect({
    cwd: directory,
    stopDir: directory,
    packageJsonParser: (text) => parseUserJson(text),
  });
  let agent = detected?.agent ?? "npm";
  if (agent === "yarn" && (await isBerryLock(directory))) agent = "yarn@berry";
  const kind = (await hasLockfile(directory)) ? "frozen" : "install";
  const command = resolveCommand(agent, kind, []);
  return command === null ? null : [command.command, ...command.args].join(" ");
}

/** Whether yarn.lock is of yarn 2 or later, which isn't the program that reads the first one's. */
export async function isBerryLock(directory: string): Promise<boolean> {
  const text = await readFile(join(directory, "yarn.lock"), "utf8").catch(() => ""); // there is none
  return /^__metadata:/m.test(text);
}

async function hasLockfile(directory: string): Promise<boolean> {
  for (const name of Object.keys(LOCKS)) {
    if (/workspace/.test(name)) continue;
    if (await exists(join(directory, name))) return true;
  }
  return false;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false, // not there, or not readable: the same to the package manager
  );
}
