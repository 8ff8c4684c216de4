import type { ProjectFiles } from "./project-files.ts";
import { quoted } from "./shell.ts";

/** Files that the runner itself serves. */
export interface StaticFiles {
  /** Where they are once they are built; of several, the first that has an index.html. */
  directories: readonly string[];
  /** Whether paths that name no file are the application's own. */
  spa?: boolean;
  /** Below the directory: files whose names hold their hash. */
  immutable?: string;
}

/** Where tools put what they build. */
export const STATIC_OUTPUTS = ["dist", "build", "out", "_site", ".output/public", "public"];

/** What is served as it is: built before, or written by hand. */
export function builtFiles(files: ProjectFiles): StaticFiles | null {
  const directory = [...STATIC_OUTPUTS, "."].find((path) => files.has(`${path}/index.html`));
  return directory === undefined ? null : { directories: [directory] };
}

export function serveCommand({ directories, spa, immutable }: StaticFiles): string {
  const flags = [
    ...(spa ? ["--spa"] : []),
    ...(immutable === undefined ? [] : ["--immutable", quoted(immutable)]),
  ];
  return ["signalbox-runner static", ...directories.map(quoted), ...flags].join(" ");
}
