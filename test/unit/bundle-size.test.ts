import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { buildWorker } from "../../scripts/build-worker.ts";

/** A Worker starts in the time that it takes to load; Cloudflare's own limit is 3 MiB gzipped. */
const CEILING_BYTES = 256 * 1024;

test("the Worker's bundle stays small", async () => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-size-"));
  const bundle = await readFile(await buildWorker(directory));
  await rm(directory, { recursive: true });
  const size = gzipSync(bundle).length;
  console.log(`The Worker's bundle: ${(size / 1024).toFixed(1)} KiB gzipped`);
  expect(size).toBeLessThan(CEILING_BYTES);
});
