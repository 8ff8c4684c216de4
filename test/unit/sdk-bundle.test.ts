import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import { expect, onTestFinished, test } from "vitest";
import { CLIENT_SCRIPT } from "../../sdk/client-script.generated.ts";

test("the browser helper stays small", () => {
  // Every page loads it, before anything else.
  expect(CLIENT_SCRIPT.length).toBeLessThan(9_000);
});

test("a server bundled into one file serves the browser helper", async () => {
  const directory = await mkdtemp(join(tmpdir(), "sdk-bundle-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const outfile = join(directory, "server.mjs");
  await build({
    entryPoints: ["examples/live-counter/server.ts"],
    bundle: true,
    platform: "node",
    format: "esm",
    outfile,
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
  });
  const child = spawn("node", [outfile], {
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    child.kill();
    await once(child, "exit");
  });
  const [line]: unknown[] = await once(createInterface({ input: child.stdout }), "line");
  const origin = String(line).split(" ").at(-1);
  expect(await (await fetch(`${origin}/_pulse/client.js`)).text()).toBe(CLIENT_SCRIPT);
});
