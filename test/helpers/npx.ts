import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cliFile, runnerFile } from "./build-worker.ts";

/** A directory for PATH, in which `npx signalbox` is the program under test: npm could find another build. */
export async function npxDirectory(parent: string): Promise<string> {
  const directory = join(parent, "bin");
  await mkdir(directory, { recursive: true });
  const script = `#!/bin/sh
[ "$1" = signalbox ] || exit 127
shift
[ "$1" = runner ] && exec node '${runnerFile}' "$@"
exec node '${cliFile}' "$@"
`;
  await writeFile(join(directory, "npx"), script, { mode: 0o755 });
  return directory;
}
