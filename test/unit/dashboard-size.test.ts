import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { bundleDashboard } from "../../scripts/build/dashboard.ts";

test("the dashboard's first load stays below 60 KB gzipped", async () => {
  const { script, style, files } = await bundleDashboard();
  const loaded = new Set([script, style]);
  for (const address of loaded) {
    // What `import()` names comes later.
    for (const [, imported = ""] of (files[address] ?? "").matchAll(/(?:from|import)"([^"]+)"/g))
      loaded.add(imported);
  }
  expect(loaded.size).toBeGreaterThan(2);
  // The page itself is 1 KB.
  const size = [...loaded].reduce((sum, address) => sum + gzipSync(files[address] ?? "").length, 1_024);
  console.log(`The dashboard's first load: ${size} bytes gzipped`);
  expect(size).toBeLessThan(60_000);
});
