import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { npm, onceAtATime, testCache } from "./installed-fixture.ts";

const os = process.platform === "win32" ? "win" : process.platform;
const system = `${os}-${process.arch}`;
// Deno's packages are named after the processors as Rust knows them, but for this pair.
const denoSystem = os === "linux" ? `${system}-glibc` : system;

/** Packages that bring a binary without a script that downloads it. Node 20 and 22 are the oldest that signalbox and its runner run on. */
const PACKAGES = {
  "node 20": { spec: `node-${system}@20.12.0`, file: "bin/node" },
  "node 22": { spec: `node-${system}@22.13.0`, file: "bin/node" },
  "node 24": { spec: `node-${system}@24.22.3`, file: "bin/node" },
  deno: { spec: `@deno/${denoSystem}@2.9.5`, file: "deno" },
  bun: { spec: `@oven/bun-${system}@1.4.5`, file: "bin/bun" },
};
export type InstalledRuntime = keyof typeof PACKAGES;

/** Where a runtime is once it is installed. */
export function runtimePath(name: InstalledRuntime): string {
  const { spec, file } = PACKAGES[name];
  return join(runtimeDirectory(name), "node_modules", spec.slice(0, spec.lastIndexOf("@")), file);
}

/** Installs a runtime into the cache of the tests, unless an earlier run did. Returns the path of its program. */
export async function installRuntime(name: InstalledRuntime): Promise<string> {
  const directory = runtimeDirectory(name);
  const program = runtimePath(name);
  if (existsSync(join(directory, "installed"))) return program;
  await onceAtATime(`runtime-${name.replace(" ", "-")}`, async () => {
    if (existsSync(join(directory, "installed"))) return;
    await mkdir(directory, { recursive: true });
    await npm(
      ["install", "--prefix", directory, "--ignore-scripts", "--prefer-offline", PACKAGES[name].spec],
      directory,
    );
    await writeFile(join(directory, "installed"), "");
  });
  return program;
}

function runtimeDirectory(name: InstalledRuntime): string {
  return join(testCache, "runtimes", PACKAGES[name].spec.replaceAll("/", "-"));
}
