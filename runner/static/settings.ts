import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { SettingError } from "../config.ts";

export interface StaticSettings {
  /** Absolute. */
  directory: string;
  /** Whether documents that aren't there are the index.html, whose script knows them. */
  spa: boolean;
  /** Paths that begin so are of files whose names hold their hash: `/assets/`. */
  immutable: string[];
  host: string;
  port: number;
}

/** Of `signalbox-runner static DIR… [--spa] [--immutable DIR]…`. Throws {@link SettingError}. */
export function readStaticSettings(args: string[], env: NodeJS.ProcessEnv, cwd: string): StaticSettings {
  const { values, positionals } = parse(args);
  if (positionals.length === 0) throw new SettingError("static needs the directory whose files it serves.");
  const directories = positionals.map((directory) => resolve(cwd, directory));
  const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;
  const directory =
    directories.find((path) => isThere(join(path, "index.html"))) ??
    directories.find((path) => isThere(path));
  if (directory === undefined) {
    throw new SettingError(
      positionals.length === 1
        ? `There is no directory ${positionals[0]} to serve. If the build makes it elsewhere, say so with --static DIR.`
        : `None of ${positionals.join(", ")} is there: the build made no files to serve. Say with --static DIR where they are, ` +
            "or with --start COMMAND how the server is started.",
    );
  }
  const port = env["PORT"] ?? "";
  if (!/^\d{1,5}$/.test(port)) throw new SettingError("PORT must say where to listen.");
  return {
    directory,
    spa: values.spa ?? false,
    immutable: (values.immutable ?? []).map((path) => `/${path.replace(/^\/+|\/+$/g, "")}/`),
    host: env["HOST"] ?? "127.0.0.1",
    port: Number(port),
  };
}

function parse(args: string[]): {
  values: { spa?: boolean | undefined; immutable?: string[] | undefined };
  positionals: string[];
} {
  try {
    return parseArgs({
      args,
      options: { spa: { type: "boolean" }, immutable: { type: "string", multiple: true } },
      allowPositionals: true,
    });
  } catch (error) {
    if (error instanceof TypeError) throw new SettingError(`static: ${error.message.split(". ")[0]}.`);
    throw error;
  }
}
