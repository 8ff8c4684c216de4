import { dirname, join } from "node:path";
import { bundleCli } from "../../scripts/build/cli.ts";
import { bundleRunner } from "../../scripts/build/runner.ts";
import { buildSdk } from "../../scripts/build/sdk.ts";
import { buildWorker, projectRoot } from "../../scripts/build/worker.ts";
import { installRuntime } from "./runtimes.ts";

/** Where the Worker under test lies; built once for each run. */
export const workerFile = join(projectRoot, "dist/test/worker.js");

/** And the command line, in the one file that it is published as. */
export const cliFile = join(projectRoot, "dist/test/signalbox.mjs");

/** The runner, as one module too: from its sources each start takes half a second of processor time more. */
export const runnerFile = join(projectRoot, "dist/test/runner/runner.mjs");
export const unconnectedRunnerFile = join(projectRoot, "dist/test/unconnected/runner.mjs");

export default async function setup(): Promise<void> {
  await buildWorker(join(projectRoot, "dist/test"));
  await bundleCli(join(projectRoot, "dist/test"));
  await bundleRunner(dirname(runnerFile));
  const unconnected = join(projectRoot, "test/helpers/runner-programs/unconnected.ts");
  await bundleRunner(dirname(unconnectedRunnerFile), unconnected);
  await buildSdk({ types: false });
  await installRuntime("deno");
}
