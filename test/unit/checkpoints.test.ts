import { mkdir, mkdtemp, readdir, readFile, realpath, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, type TestContext } from "vitest";
import { Checkpoints } from "../../runner/builds/checkpoints.ts";

async function project(
  context: TestContext,
  filesLimit?: number,
): Promise<{ at: (path: string) => string; checkpoints: Checkpoints }> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-checkpoints-")));
  context.onTestFinished(() => rm(root, { recursive: true }));
  await mkdir(join(root, "work"));
  return {
    at: (path) => join(root, "work", path),
    checkpoints: new Checkpoints(join(root, "own"), join(root, "work"), filesLimit),
  };
}

const HOW = { overwrite: false, dryRun: false, user: null };

test("a file that became a directory is a file again", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("a"), "a file\n");
  await writeFile(at("z"), "before\n");
  const before = await checkpoints.take();
  await rm(at("a"));
  await mkdir(at("a"));
  await writeFile(at("a/inside"), "");
  await writeFile(at("z"), "after\n");
  const after = await checkpoints.take();
  expect(await checkpoints.undo(before, after, HOW)).toEqual({ restored: ["a", "a/inside", "z"], kept: [] });
  expect([await readFile(at("a"), "utf8"), await readFile(at("z"), "utf8")]).toEqual([
    "a file\n",
    "before\n",
  ]);
  expect((await readdir(at("."))).sort()).toEqual(["a", "z"]);
});

test("a file above the limit is left as it is, whether it grew or shrank", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("shrinks"), "");
  await truncate(at("shrinks"), 17 * 1024 * 1024);
  await writeFile(at("grows"), "small");
  const before = await checkpoints.take();
  await writeFile(at("shrinks"), "small");
  await truncate(at("grows"), 17 * 1024 * 1024);
  const after = await checkpoints.take();
  expect(await checkpoints.undo(before, after, HOW)).toEqual({ restored: [], kept: [] });
  expect((await readdir(at("."))).sort()).toEqual(["grows", "shrinks"]);
});

test("a file that is above the limit by now is kept, whatever is asked", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("file"), "1");
  const before = await checkpoints.take();
  await writeFile(at("file"), "2");
  const after = await checkpoints.take();
  await truncate(at("file"), 17 * 1024 * 1024);
  expect(await checkpoints.undo(before, after, { ...HOW, overwrite: true })).toEqual({
    restored: [],
    kept: ["file"],
  });
});

test("a project with more files than a checkpoint takes has none", async (context) => {
  const { at, checkpoints } = await project(context, 2);
  await writeFile(at("one"), "");
  await writeFile(at("two"), "");
  await checkpoints.take();
  await writeFile(at("three"), "");
  await expect(checkpoints.take()).rejects.toMatchObject({ code: "nothing_to_undo" });
});
