import { mkdir, rm, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { bundleCli } from "./build/cli.ts";
import { buildEdge } from "./build/edge.ts";
import { bundleRunner } from "./build/runner.ts";
import { buildSdk } from "./build/sdk.ts";
import { projectRoot } from "./build/worker.ts";

// `npm ci` runs this, so that `npx signalbox` and the sdk, which the examples import, are there without a build.
const [bundle] = await Promise.all([bundleCli(), buildSdk(), buildEdge(), bundleRunner()]);

// npm links no package into its own tree. Without this, npx in a directory below that has a package.json of its own
// would ask the registry for a package that happens to have the name.
if (process.platform !== "win32") {
  const directory = join(projectRoot, "node_modules/.bin");
  const link = join(directory, "signalbox");
  await mkdir(directory, { recursive: true });
  await rm(link, { force: true });
  await symlink(relative(directory, bundle), link);
}
