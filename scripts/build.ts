import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { relative } from "node:path";
import { bundleCli } from "./build/cli.ts";
import { buildEdge } from "./build/edge.ts";
import { buildExecutable, bundleRunner } from "./build/runner.ts";
import { buildPackages } from "./build/packages.ts";
import { buildWorker, projectRoot } from "./build/worker.ts";

await report(await buildWorker());
await report(await bundleCli());
await buildEdge();
await buildPackages();
const bundle = await bundleRunner();
await report(bundle);
await report(await buildExecutable(bundle));

async function report(file: string): Promise<void> {
  const bytes = await readFile(file);
  console.log(
    `${relative(projectRoot, file)}: ${size(bytes.length)}, ${size(gzipSync(bytes, { level: 1 }).length)} gzipped`,
  );
}

function size(bytes: number): string {
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
