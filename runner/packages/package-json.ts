import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { parseUserJson } from "../../functions/protocol/user-json.ts";
import { RunnerError } from "../runner-error.ts";

/** A package.json of more is generated, and by something that knows its own install command. */
const LIMIT_BYTES = 1024 * 1024;

const schema = z.object({
  dependencies: z.record(z.string(), z.unknown()).optional(),
  devDependencies: z.record(z.string(), z.unknown()).optional(),
  optionalDependencies: z.record(z.string(), z.unknown()).optional(),
  scripts: z.record(z.string(), z.unknown()).optional(),
  workspaces: z.unknown().optional(),
  packageManager: z.unknown().optional(),
});

export type PackageJson = z.infer<typeof schema>;

/** null if a source has none. Throws {@link RunnerError} `invalid_request` if it can't be read. */
export async function readPackageJson(directory: string): Promise<PackageJson | null> {
  const text = await readFile(join(directory, "package.json"), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    if (text.length > LIMIT_BYTES) throw new Error("it is too large");
    return schema.parse(parseUserJson(text));
  } catch (error) {
    throw new RunnerError("invalid_request", `The source's package.json can't be read: ${String(error)}`);
  }
}
