import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, type TestContext } from "vitest";
import { Build, type BuildWork } from "../../runner/builds/build.ts";
import { Checkpoints } from "../../runner/builds/checkpoints.ts";
import { EventLog } from "../../runner/builds/event-log.ts";
import { Mask } from "../../runner/projects/mask.ts";
import { ProjectCheckpoints } from "../../runner/projects/project-checkpoints.ts";

async function project(
  context: TestContext,
  filesLimit?: number,
): Promise<{ at: (path: string) => string; own: string; work: string; checkpoints: Checkpoints }> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-checkpoints-")));
  context.onTestFinished(() => rm(root, { recursive: true }));
  await mkdir(join(root, "work"));
  return {
    at: (path) => join(root, "work", path),
    own: join(root, "own"),
    work: join(root, "work"),
    checkpoints: new Checkpoints(join(root, "own"), join(root, "work"), filesLimit),
  };
}

const MANIFEST = {
  schema: 1,
  prompt: "",
  agent: "template",
  state: "running",
  reason: null,
  repairs: 0,
  before: null,
  after: null,
  undone: false,
  limits: {},
  createdAt: "",
  updatedAt: "",
} as const;
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

test("a file that became a nested directory is a file again", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("a"), "a file\n");
  const before = await checkpoints.take();
  await rm(at("a"));
  await mkdir(at("a/b/empty"), { recursive: true });
  await writeFile(at("a/b/c"), "");
  const after = await checkpoints.take();
  expect(await checkpoints.undo(before, after, HOW)).toEqual({ restored: ["a", "a/b/c"], kept: [] });
  expect(await readFile(at("a"), "utf8")).toBe("a file\n");
});

test("a file is kept as what it is now where that has something else in it", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("a"), "a file\n");
  await writeFile(at("z"), "before\n");
  const before = await checkpoints.take();
  await rm(at("a"));
  await mkdir(at("a/node_modules"), { recursive: true });
  await writeFile(at("a/b"), "");
  await writeFile(at("a/node_modules/pkg"), "");
  await writeFile(at("z"), "after\n");
  const after = await checkpoints.take();
  expect(await checkpoints.undo(before, after, HOW)).toEqual({ restored: ["a/b", "z"], kept: ["a"] });
  expect(await readFile(at("z"), "utf8")).toBe("before\n");
  expect(await readdir(at("a"))).toEqual(["node_modules"]);
});

test("an undo whose contents are lost changes nothing", async (context) => {
  const { at, own, checkpoints } = await project(context);
  await writeFile(at("a"), "before\n");
  const before = await checkpoints.take();
  await writeFile(at("a"), "after\n");
  await writeFile(at("new"), "new\n");
  const after = await checkpoints.take();
  const sha256 = createHash("sha256").update("before\n").digest("hex");
  await rm(join(own, "objects", sha256));
  await expect(checkpoints.undo(before, after, HOW)).rejects.toMatchObject({ code: "nothing_to_undo" });
  expect(await readFile(at("new"), "utf8")).toBe("new\n");
  expect((await checkpoints.diff(before, after)).files).toEqual([
    { path: "a", status: "modified" },
    { path: "new", status: "added", diff: "@@ -0,0 +1,1 @@\n+new\n" },
  ]);
  await rm(join(own, "1.json"));
  await expect(checkpoints.diff(before, after)).rejects.toMatchObject({ code: "nothing_to_undo" });
});

test("a diff with a file above the limit names it and says that it is incomplete", async (context) => {
  const { at, checkpoints } = await project(context);
  await writeFile(at("large"), "");
  await truncate(at("large"), 17 * 1024 * 1024);
  await writeFile(at("small"), "1\n");
  const before = await checkpoints.take();
  await truncate(at("large"), 18 * 1024 * 1024);
  const after = await checkpoints.take();
  expect(await checkpoints.diff(before, after)).toEqual({
    files: [{ path: "large", status: "modified" }],
    isTruncated: true,
  });
  await writeFile(at("small"), "2\n");
  const last = await checkpoints.take();
  expect(await checkpoints.diff(after, last)).toMatchObject({ isTruncated: false });
});

test("a sweep keeps the checkpoint that a build under way began with", async (context) => {
  const { at, own, work, checkpoints } = await project(context);
  const events = await EventLog.open(join(own, "..", "events.jsonl"), () => undefined, new Mask());
  await writeFile(at("file"), "one");
  const manifest = { ...MANIFEST, id: "shop.one", before: await checkpoints.take() };
  const builds = [new Build({} as BuildWork, join(own, "../build"), manifest, events)];
  await writeFile(at("file"), "other");
  await checkpoints.take();
  const all = { directory: own, workspace: work, project: "shop", builds: () => builds, user: () => null };
  await new ProjectCheckpoints(all).sweep();
  expect((await readdir(own)).filter((name) => name.endsWith(".json"))).toEqual(["1.json", "2.json"]);
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
