import { build } from "esbuild";
import { packTar } from "modern-tar";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { projectRoot } from "./build-worker.ts";

/** What starts the example once its source is unpacked. */
export const EXAMPLE_START = "node server.mjs";

/** `examples/live-counter` as one file in a gzipped tar: a source that needs no installation. */
export async function packExample(): Promise<Uint8Array<ArrayBuffer>> {
  const client = await build({
    entryPoints: [join(projectRoot, "sdk/browser/client.ts")],
    bundle: true,
    format: "iife",
    minify: true,
    write: false,
  });
  const server = await build({
    entryPoints: [join(projectRoot, "examples/live-counter/server.ts")],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    write: false,
    define: { SIGNALBOX_CLIENT_SCRIPT: JSON.stringify(client.outputFiles[0]?.text ?? "") },
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
  });
  const body = server.outputFiles[0]?.contents ?? new Uint8Array();
  // A fixed time, so that the same source has the same hash.
  const header = { name: "server.mjs", size: body.byteLength, mtime: new Date(0) };
  return new Uint8Array(gzipSync(await packTar([{ header, body }])));
}
