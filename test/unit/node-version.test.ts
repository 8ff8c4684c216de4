import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fits, installedNode, wantedNode } from "../../runner/packages/node-version.ts";

test.each<[files: Record<string, string>, version: string, expected: boolean | null]>([
  [{ ".nvmrc": "22\n" }, "v22.13.0", true],
  [{ ".nvmrc": "v24.1.0" }, "v22.13.0", false],
  [{ ".nvmrc": "lts/*" }, "v22.13.0", null],
  [{ ".node-version": "20.x", "package.json": '{"engines":{"node":">=24"}}' }, "v20.20.2", true],
  [{ "package.json": '{"engines":{"node":"^20.19 || >=22.12"}}' }, "v21.0.0", false],
  [{ "package.json": '{"engines":{"node":">=22"}}' }, "v26.0.0", true],
  [{ "package.json": '{"engines":{}}' }, "v26.0.0", null],
  [{ "package.json": "{" }, "v26.0.0", null],
])("whether what %j asks for is Node %s: %s", async (files, version, expected) => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-node-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  const wanted = await wantedNode(directory);
  await rm(directory, { recursive: true });
  expect(wanted && fits(wanted, version)).toBe(expected);
});

test("the installed Node is the one on the path, if there is one", async () => {
  expect(await installedNode(process.env["PATH"] ?? "")).toMatch(/^v\d+\.\d+\.\d+/);
  expect(await installedNode("/nowhere")).toBeNull();
});
