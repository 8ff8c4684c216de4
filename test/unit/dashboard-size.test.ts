import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { bundleDashboard } from "../../scripts/build/dashboard.ts";

test("the dashboard's first load stays below 60 KB gzipped", async () => {
  const { script, style, files } = await bundleDashboard();
  // The page itself, which names both, is 1 KB.
  const size = [script, style].reduce((sum, address) => sum + gzipSync(files[address] ?? "").length, 1_024);
  console.log(`The dashboard's first load: ${size} bytes gzipped`);
  expect(size).toBeLessThan(60_000);
});
