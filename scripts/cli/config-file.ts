import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { configSchema, type Config } from "./config-schema.ts";
import { Failure } from "./failure.ts";
import { directoriesUpward, isOurs } from "./trust.ts";

export const CONFIG_FILE = "signalbox.json";

export interface LoadedConfig {
  /** Null: there is no file, and everything has its default. */
  file: string | null;
  /** Where the file is; what it names is relative to this. */
  directory: string;
  config: Config;
}

/**
 * The file that was named, else `signalbox.json` in a directory or above it, up to the root of its repository. Another
 * user's file has to be named.
 */
export function loadConfig(
  directory: string,
  named: string | undefined,
  world: { cwd: string; env: Record<string, string | undefined> },
): LoadedConfig {
  if (named !== undefined) {
    const file = resolve(world.cwd, named);
    if (!existsSync(file)) throw new Failure("config", "no_config", `There is no file ${file} (--config).`);
    return readConfig(file);
  }
  for (const at of directoriesUpward(directory)) {
    const file = join(at, CONFIG_FILE);
    if (!existsSync(file)) continue;
    if (isOurs(file, world.env)) return readConfig(file);
    throw new Failure(
      "config",
      "foreign_config",
      `${file} belongs to another user, so it doesn't count. If you trust it: --config ${file}.`,
    );
  }
  return { file: null, directory: resolve(directory), config: {} };
}

export function readConfig(file: string): LoadedConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, "utf8").replace(/^\uFEFF/, ""));
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown error";
    throw new Failure("config", "bad_config", `${file} can't be read as JSON: ${why}`);
  }
  const result = configSchema.safeParse(parsed);
  if (result.success) return { file, directory: dirname(file), config: result.data };
  const issues = result.error.issues.flatMap((issue) => {
    const at = (path: PropertyKey[]): string => path.map(String).join(".") || "the file";
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => `${at([...issue.path, key])} is not a known field`);
    }
    return [`${at(issue.path)} ${plainly(issue.message)}`];
  });
  throw new Failure("config", "bad_config", `${file}: ${issues.join("; ")}.`);
}

function plainly(message: string): string {
  return message.replace(/^Invalid input: /, "is wrong: ").replace(/^Invalid option: /, "is wrong: ");
}
