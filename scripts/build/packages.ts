import { copyFile, cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bundleCli } from "./cli.ts";
import { buildEdge } from "./edge.ts";
import { bundleRunner } from "./runner.ts";
import { buildSdk } from "./sdk.ts";
import { projectRoot } from "./worker.ts";

/** The oldest Node that the tests run the command line and the sdk on. `signalbox runner` asks for a later one itself. */
const OLDEST_NODE = "20.12";

/**
 * Lays out both npm packages as they are published, below `directory`. The repository's own package.json stays private:
 * what a clone needs to build is nothing that a user should install.
 */
export async function buildPackages(
  directory = join(projectRoot, "dist/packages"),
): Promise<{ signalbox: string; sdk: string }> {
  const signalbox = join(directory, "signalbox");
  const sdk = join(directory, "sdk");
  await rm(directory, { recursive: true, force: true });
  await Promise.all([mkdir(signalbox, { recursive: true }), mkdir(sdk, { recursive: true })]);
  await Promise.all([bundleCli(signalbox), bundleRunner(signalbox), buildEdge(join(signalbox, "edge"))]);
  await writeFile(join(signalbox, "package.json"), `${JSON.stringify(await manifest(), null, 2)}\n`);
  await copyFile(join(projectRoot, "README.md"), join(signalbox, "README.md"));

  await cp(await buildSdk(), join(sdk, "dist"), { recursive: true });
  for (const file of ["package.json", "README.md"]) {
    await copyFile(join(projectRoot, "sdk", file), join(sdk, file));
  }
  for (const place of [signalbox, sdk]) await copyFile(join(projectRoot, "LICENSE"), join(place, "LICENSE"));
  return { signalbox, sdk };
}

async function manifest(): Promise<object> {
  const root = JSON.parse(await readFile(join(projectRoot, "package.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const { name, version, description, license, repository } = root;
  return {
    name,
    version,
    description,
    license,
    repository,
    type: "module",
    engines: { node: `>=${OLDEST_NODE}` },
    bin: { signalbox: "signalbox.mjs" },
    files: ["*.mjs", "edge"],
  };
}
