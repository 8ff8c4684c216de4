import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { NODE_FLAGS } from "./node-flags.ts";
import { projectRoot } from "./worker.ts";

/** Bundles the runner into one module for Node 22 and later, and for Deno. Returns the file's path. */
export async function bundleRunner(
  directory = join(projectRoot, "dist"),
  entry = join(projectRoot, "runner/index.ts"),
): Promise<string> {
  const outfile = join(directory, "runner.mjs");
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node22",
    keepNames: true,
    // CommonJS packages inside an ES module ask for `require`.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  return outfile;
}

/** Makes a bundle into one executable that needs no Node. Runs under the Node that goes into it. */
export async function buildExecutable(
  bundle: string,
  directory = join(projectRoot, "dist"),
): Promise<string> {
  const output = join(directory, process.platform === "win32" ? "signalbox-runner.exe" : "signalbox-runner");
  const temporary = await mkdtemp(join(tmpdir(), "signalbox-sea-"));
  try {
    const config = join(temporary, "sea.json");
    const settings = {
      main: bundle,
      mainFormat: "module",
      output,
      disableExperimentalSEAWarning: true,
      execArgv: NODE_FLAGS,
    };
    await writeFile(config, JSON.stringify(settings));
    await promisify(execFile)(process.execPath, ["--build-sea", config]);
    // An executable whose signature doesn't fit its bytes isn't started there.
    if (process.platform === "darwin")
      await promisify(execFile)("codesign", ["--sign", "-", "--force", output]);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return output;
}
