import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { resolveCommand } from "package-manager-detector/commands";
import { LOCKS } from "package-manager-detector/constants";
import { detect } from "package-manager-detector/detect";
import { z } from "zod";
import { RunnerError } from "../runner-error.ts";

/** A package.json of more is generated, and by something that knows its own install command. */
const MANIFEST_LIMIT_BYTES = 1024 * 1024;

const manifestSchema = z.object({
  dependencies: z.record(z.string(), z.unknown()).optional(),
  devDependencies: z.record(z.string(), z.unknown()).optional(),
  optionalDependencies: z.record(z.string(), z.unknown()).optional(),
  workspaces: z.unknown().optional(),
});

/**
 * How to install what a source depends on, or null if it depends on nothing. The lockfile decides the package manager
 * and the exact versions; without one the manifest's `packageManager` does, or else npm.
 */
export async function installCommand(directory: string): Promise<string | null> {
  const manifest = await readManifest(join(directory, "package.json"));
  if (manifest === null) return null;
  const { dependencies = {}, devDependencies = {}, optionalDependencies = {}, workspaces } = manifest;
  const hasDependencies = [dependencies, devDependencies, optionalDependencies].some(
    (group) => Object.keys(group).length > 0,
  );
  if (!hasDependencies && workspaces === undefined) return null;
  const detected = await detect({ cwd: directory, stopDir: directory });
  const agent = detected?.agent ?? "npm";
  const kind = (await hasLockfile(directory)) ? "frozen" : "install";
  const command = resolveCommand(agent, kind, []);
  return command === null ? null : [command.command, ...command.args].join(" ");
}

async function hasLockfile(directory: string): Promise<boolean> {
  for (const name of Object.keys(LOCKS)) {
    if (/workspace/.test(name)) continue;
    const exists = await access(join(directory, name)).then(
      () => true,
      () => false, // not there, or not readable: the same to the package manager
    );
    if (exists) return true;
  }
  return false;
}

async function readManifest(path: string): Promise<z.infer<typeof manifestSchema> | null> {
  const text = await readFile(path, "utf8").catch(() => null); // a source without a manifest has no dependencies
  if (text === null) return null;
  try {
    if (text.length > MANIFEST_LIMIT_BYTES) throw new Error("it is too large");
    return manifestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new RunnerError("invalid_request", `The source's package.json can't be read: ${String(error)}`);
  }
}
