import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { writeDashboard } from "./dashboard.ts";
import { writePageScript } from "./page-script.ts";

export const projectRoot = fileURLToPath(new URL("../..", import.meta.url));

/** Bundles the Worker into one module, as `wrangler deploy` does. Returns the file's path. */
export async function buildWorker(directory = join(projectRoot, "dist")): Promise<string> {
  await Promise.all([writePageScript(), writeDashboard()]);
  const outfile = join(directory, "worker.js");
  await build({
    entryPoints: [join(projectRoot, "functions/index.ts")],
    outfile,
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    minify: true,
    // As in wrangler.toml.
    keepNames: false,
    logLevel: "warning",
  });
  return outfile;
}
