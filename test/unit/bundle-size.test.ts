import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { bundleCli } from "../../scripts/build/cli.ts";
import { bundleScript } from "../../scripts/build/page-script.ts";
import { buildWorker } from "../../scripts/build/worker.ts";

test.each([
  // A Worker starts in the time that it takes to load; Cloudflare's own limit is 3 MiB gzipped. The dashboard's client is
  // 240 KiB of it, 190 of these its editor: texts that nothing parses.
  ["Worker", buildWorker, 560 * 1024],
  // Each command loads all of it.
  ["command line", bundleCli, 320 * 1024],
])("the bundle of the %s stays small", async (name, build, ceilingBytes) => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-size-"));
  const bundle = await readFile(await build(directory));
  await rm(directory, { recursive: true });
  const size = gzipSync(bundle).length;
  console.log(`The bundle of the ${name}: ${(size / 1024).toFixed(1)} KiB gzipped`);
  expect(size).toBeLessThan(ceilingBytes);
});

test("the page helper costs a page less than 4 KB", async () => {
  const size = gzipSync(await bundleScript("sdk/browser/page/edge.ts")).length;
  console.log(`The page helper: ${size} bytes gzipped`);
  expect(size).toBeLessThan(4_000);
});
