import type { PackageJson } from "./package-json.ts";
import type { ProjectFiles } from "./project-files.ts";

const NAMES = ["server", "index", "app", "main", "src/server", "src/index", "src/app", "src/main"];
const EXTENSIONS = ["js", "mjs", "cjs", "ts", "mts"];
/** What a file that starts a server says somewhere. */
const SERVES = /\.listen\(|\bcreateServer\(|\bserve\(/;

/** The file that starts a server, by its name and what it says. */
export function entryFile(
  files: ProjectFiles,
  manifest: PackageJson | null,
  says: RegExp = SERVES,
): string | null {
  const main = manifest?.main?.replace(/^\.\//, "");
  const paths = NAMES.flatMap((name) => EXTENSIONS.map((extension) => `${name}.${extension}`));
  return (
    [...(main === undefined ? [] : [main]), ...paths].find((path) => says.test(files.read(path) ?? "")) ??
    null
  );
}
