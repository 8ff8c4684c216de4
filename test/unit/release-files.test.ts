import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { NODE_FLAGS } from "../../scripts/build/node-flags.ts";

test.each(["package-lock.json", "test/fixtures/dev-servers/package-lock.json"])(
  "%s names no registry",
  async (file) => {
    expect(await readFile(file, "utf8")).not.toMatch(/"resolved": "https?:/);
  },
);

test("the Dockerfile starts the runner with the flags of the executable", async () => {
  const entry = /^ENTRYPOINT .*$/m.exec(await readFile("Dockerfile", "utf8"))?.[0] ?? "";
  expect(JSON.parse(entry.replace("ENTRYPOINT ", ""))).toEqual([
    "tini",
    "--",
    "node",
    ...NODE_FLAGS,
    "/signalbox/runner.mjs",
  ]);
});
