import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { projectRoot } from "./worker.ts";

/** Bundles the command line into one file that Node runs. Returns its path. */
export async function bundleCli(directory = join(projectRoot, "dist")): Promise<string> {
  const outfile = join(directory, "signalbox.mjs");
  await build({
    entryPoints: [join(projectRoot, "scripts/cli/index.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    minify: true,
    keepNames: true,
    // CommonJS packages inside an ES module ask for `require`.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  await chmod(outfile, 0o755);
  return outfile;
}
