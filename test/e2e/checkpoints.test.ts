import { chmod, mkdir, readFile, readdir, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
let runner: RunnerProcess;
let builds: BuildsOf;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "keeper", env: { RUNNER_AGENT: AGENT } });
  builds = new BuildsOf(stack);
});
afterAll(async () => {
  await runner?.remove();
  await stack?.stop();
});

async function run(slug: string, prompt: string): Promise<string> {
  const id = await builds.begin(slug, prompt);
  expect((await builds.events(id)).at(-1)).toMatchObject({ state: "completed" });
  return id;
}

async function undo(slug: string, body: object = {}): Promise<Record<string, unknown>> {
  return (await stack.api("POST", `/projects/${slug}/undo`, body)).body;
}

test("a build's diff shows what it changed, and undo takes that back, build by build", async () => {
  const slug = await builds.newProject();
  const at = (name: string): string => join(runner.workspace, slug, name);
  const first = await run(slug, "files a.txt=one src/b.txt=two");
  const second = await run(slug, "files a.txt=three src/b.txt c.txt=four");
  expect((await stack.api("GET", `/builds/${second}/diff`)).body).toEqual({
    id: second,
    files: [
      { path: "a.txt", status: "modified", diff: "@@ -1,1 +1,1 @@\n-one\n+three\n" },
      { path: "c.txt", status: "added", diff: "@@ -0,0 +1,1 @@\n+four\n" },
      { path: "src/b.txt", status: "deleted", diff: "@@ -1,1 +0,0 @@\n-two\n" },
    ],
    isTruncated: false,
  });
  expect(await builds.events(second)).toContainEqual(
    expect.objectContaining({ type: "changes", files: ["a.txt", "c.txt", "src/b.txt"], count: 3 }),
  );
  expect(await undo(slug)).toEqual({ id: second, restored: ["a.txt", "c.txt", "src/b.txt"], kept: [] });
  expect(await readFile(at("a.txt"), "utf8")).toBe("one\n");
  expect(await readFile(at("src/b.txt"), "utf8")).toBe("two\n");
  expect(await undo(slug)).toEqual({ id: first, restored: ["a.txt", "src/b.txt"], kept: [] });
  expect(await readdir(at(""))).not.toContain("a.txt");
  expect(await undo(slug)).toMatchObject({ code: "nothing_to_undo" });
});

test("undo says which files a person changed since, and touches nothing until told how to go on", async () => {
  const slug = await builds.newProject();
  const at = (name: string): string => join(runner.workspace, slug, name);
  await run(slug, "files mine.txt=agent other.txt=agent");
  await writeFile(at("mine.txt"), "a person's\n");
  expect(await undo(slug)).toMatchObject({
    code: "changed_since",
    detail: "1 of its files changed since: mine.txt. Keep them as they are, or overwrite them.",
  });
  expect(await readFile(at("other.txt"), "utf8")).toBe("agent\n");
  expect(await undo(slug, { changed: "keep" })).toMatchObject({
    restored: ["other.txt"],
    kept: ["mine.txt"],
  });
  expect(await readFile(at("mine.txt"), "utf8")).toBe("a person's\n");

  const second = await run(slug, "files mine.txt=again");
  await writeFile(at("mine.txt"), "changed\n");
  expect(await undo(slug, { build: second, changed: "overwrite" })).toMatchObject({ restored: ["mine.txt"] });
  expect(await readFile(at("mine.txt"), "utf8")).toBe("a person's\n");
});

test("modes and links come back, packages and the person's git are left alone, and nothing is written through a link", async () => {
  const slug = await builds.newProject();
  const at = (name: string): string => join(runner.workspace, slug, name);
  await mkdir(at("node_modules/pack"), { recursive: true });
  await mkdir(at(".git"));
  await writeFile(at(".git/config"), "[core]\n\tfsmonitor = touch ran\n");
  await writeFile(at("run.sh"), "#!/bin/sh\n");
  await chmod(at("run.sh"), 0o755);
  await symlink("run.sh", at("link"));
  await mkdir(at("inner"));
  await writeFile(at("inner/file.txt"), "before\n");
  const id = await run(slug, "files run.sh link node_modules/pack/index.js=1 inner/file.txt=after");
  const paths = (await stack.control.buildDiff(id)).files.map(({ path }) => path);
  expect(paths).toEqual(["inner/file.txt", "link", "run.sh"]);
  // A directory of the way becomes a link that leads out of the project.
  await rm(at("inner"), { recursive: true });
  await mkdir(join(runner.workspace, "outside"));
  await writeFile(join(runner.workspace, "outside/file.txt"), "theirs\n");
  await symlink("../outside", at("inner"));
  expect(await undo(slug, { changed: "overwrite" })).toMatchObject({ code: "path_outside_project" });
  await rm(at("inner"));
  await undo(slug, { changed: "overwrite" });
  expect(await readlink(at("link"))).toBe("run.sh");
  expect((await stat(at("run.sh"))).mode & 0o777).toBe(0o755);
  expect(await readFile(at("inner/file.txt"), "utf8")).toBe("before\n");
  expect(await readFile(join(runner.workspace, "outside/file.txt"), "utf8")).toBe("theirs\n");
  expect(await readdir(at(""))).not.toContain("ran");
  expect(await readdir(at(".git"))).toEqual(["config"]);
});

test("a build that failed can be undone, once the one that runs is over", async () => {
  const slug = await builds.newProject();
  const failed = await builds.begin(slug, "half");
  expect((await builds.events(failed)).at(-1)).toMatchObject({ state: "failed" });
  const hanging = await builds.begin(slug, "hang");
  await until(
    () => builds.view(hanging),
    ({ state }) => state === "running",
  );
  const running = undo(slug);
  await stack.api("POST", `/builds/${hanging}/cancel`);
  expect(await running).toMatchObject({ id: failed });
});
