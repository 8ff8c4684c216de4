import { entryFile } from "./entry-file.ts";
import type { PackageJson } from "./package-json.ts";
import type { ProjectFiles } from "./project-files.ts";
import type { Recognised } from "./recognised.ts";

/** A server that only Bun can run. */
export function bunServer(files: ProjectFiles, manifest: PackageJson | null): Recognised["start"] {
  const entry = entryFile(files, manifest, /\bBun\.serve\(|from ["']bun["']/);
  if (entry !== null) return { command: `bun ${entry}`, why: `${entry} is written for Bun` };
  const isBuns = files.has("bun.lock") || files.has("bun.lockb") || files.has("bunfig.toml");
  const served = isBuns ? entryFile(files, manifest, /export default\s*\{?[^]*?\bfetch\b/) : null;
  return served === null ? null : { command: `bun ${served}`, why: `${served} exports a fetch handler` };
}
