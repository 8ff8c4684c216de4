import { mkdir, rename, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Makes the example one file that needs no installation, on any Node from 20 on. */

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const server = await build({
  entryPoints: [here("server.ts")],
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  write: false,
  banner: {
    js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
  },
});

const output = here("dist/server.mjs");
await mkdir(here("dist"), { recursive: true });
// Whole or not at all: another deploy may be packing it right now.
const temporary = here(`server.${process.pid}.tmp.mjs`);
await writeFile(temporary, server.outputFiles[0]?.contents ?? "");
await rename(temporary, output);
