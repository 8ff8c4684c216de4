import { randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import { access, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { Operator } from "../helpers/cli.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
const SECRET = "moved-secret-4711";

/** Each end of a move takes as long as a move: by default one is enough. */
const soak = process.env["SIGNALBOX_SOAK"] === "1";

let stack: TestStack;
let old: RunnerProcess;
let other: RunnerProcess;
let operator: Operator;

beforeAll(async () => {
  stack = await startTestStack();
  old = await startRunner(stack, { id: "old", env: { RUNNER_AGENT: AGENT } });
  other = await startRunner(stack, { id: "other", env: { RUNNER_AGENT: AGENT } });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
});
afterAll(async () => {
  await operator?.remove();
  await old?.remove();
  await other?.remove();
  await stack?.stop();
});

async function create(slug: string): Promise<void> {
  expect((await stack.api("POST", "/projects", { slug, runnerId: "old" })).status).toBe(201);
  const workspace = join(old.workspace, slug);
  await writeFile(join(workspace, "index.html"), "<p>moved</p>");
  await mkdir(join(workspace, "node_modules/pkg"), { recursive: true });
  await writeFile(join(workspace, "node_modules/pkg/index.js"), "1");
  await writeFile(join(workspace, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  await symlink("index.html", join(workspace, "link.html"));
  const variables = [{ name: "TOKEN", value: SECRET, secret: true, for: "agent" }];
  expect((await stack.api("PUT", `/projects/${slug}/env`, { variables })).status).toBe(200);
  expect((await stack.api("POST", `/projects/${slug}/git/init`)).status).toBe(200);
  expect((await stack.api("POST", `/projects/${slug}/git/commit`, { message: "One" })).status).toBe(200);
}

async function has(runner: RunnerProcess, slug: string): Promise<boolean> {
  const own = await readdir(join(runner.workspace, ".signalbox/projects")).catch((): string[] => []);
  return (
    own.includes(slug) ||
    (await access(join(runner.workspace, slug)).then(
      () => true,
      () => false,
    ))
  );
}

test("an export has the files and the repository, and neither packages nor variables", async () => {
  await create("exported");
  await symlink("/etc/passwd", join(old.workspace, "exported/outside"));
  const file = join(operator.directory, "exported.tgz");
  const { code, stdout } = await operator.run(["projects", "export", "exported", file]);
  expect([code, stdout]).toEqual([0, expect.stringContaining(file)]);
  const names = execFileSync("tar", ["-tzf", file], { encoding: "utf8" }).split("\n");
  expect(names).toEqual(expect.arrayContaining(["index.html", "link.html", "run.sh", ".git/HEAD"]));
  expect(names.join("\n")).not.toMatch(/node_modules|outside|env\.json/);
  expect(execFileSync("tar", ["-xOzf", file]).includes(SECRET)).toBe(false);
});

test("a moved project is whole on its new runner, or stays where something of it would be lost, with its secrets, and gone from the old one", async () => {
  await create("traveller");
  await symlink("/etc/passwd", join(old.workspace, "traveller/outside"));
  const refused = await stack.api("POST", "/projects/traveller/move", { runnerId: "other" });
  expect(refused.body).toMatchObject({
    code: "path_outside_project",
    detail: expect.stringContaining('"outside"') as string,
  });
  expect([await has(old, "traveller"), await has(other, "traveller")]).toEqual([true, false]);
  await rm(join(old.workspace, "traveller/outside"));
  const { code, stderr } = await operator.run(["projects", "move", "traveller", "--runner", "other"]);
  expect([code, stderr]).toEqual([0, expect.stringContaining("is on runner other")]);
  expect([await has(old, "traveller"), await has(other, "traveller")]).toEqual([false, true]);
  const workspace = join(other.workspace, "traveller");
  expect((await readdir(workspace)).sort()).toEqual([".git", "index.html", "link.html", "run.sh"]);
  expect((await stack.api("GET", "/projects/traveller/git")).body).toMatchObject({ subject: "One" });
  const details = await stack.api("GET", "/projects/traveller");
  expect(details.body).toMatchObject({
    runnerId: "other",
    runner: { devServer: { state: "running" }, builds: [{ agent: "import", state: "completed" }] },
  });
  const env = await readFile(join(other.workspace, ".signalbox/projects/traveller/env.json"), "utf8");
  expect(env).toContain(SECRET);
  const { body } = await stack.api("POST", "/projects/traveller/builds", { prompt: "page after" });
  expect(body).toMatchObject({ project: "traveller" });
});

test("a project of another slug has its files, secrets and builds, and the old host ends", async () => {
  await create("before");
  const { body: prompted } = await stack.api("POST", "/projects/before/builds", { prompt: "page hello" });
  const build = String(prompted["id"]);
  await until(
    () => stack.api("GET", `/builds/${build}`),
    ({ body }) => body["state"] === "completed",
  );
  expect((await stack.api("POST", "/projects", { slug: "taken", runnerId: "old" })).status).toBe(201);
  expect((await stack.api("PATCH", "/projects/before", { slug: "taken" })).body).toMatchObject({
    code: "project_exists",
  });
  const { code, stdout } = await operator.run([
    "projects",
    "rename",
    "before",
    "After All",
    "--slug",
    "after",
  ]);
  expect([code, stdout]).toEqual([0, "after  After All\n"]);
  expect((await stack.api("GET", "/projects/before")).body).toMatchObject({ code: "unknown_project" });
  expect((await stack.api("GET", "/projects/after")).body).toMatchObject({
    name: "After All",
    runner: { builds: [{ id: build, project: "after", state: "completed" }] },
  });
  expect((await stack.api("GET", `/builds/${build}`)).body).toMatchObject({ project: "after" });
  expect([await has(old, "before"), await has(old, "after")]).toEqual([false, true]);
  const env = await readFile(join(old.workspace, ".signalbox/projects/after/env.json"), "utf8");
  expect(env).toContain(SECRET);
  expect((await stack.request("before.preview.localhost", "/")).status).toBe(404);
  await stack.api("PATCH", "/projects/after", { public: true });
  const shown = await until(
    () => stack.request("after.preview.localhost", "/"),
    ({ status }) => status === 200,
  );
  expect(shown.text).toContain("<p>hello</p>");
  // As if the runner had been killed halfway.
  const own = join(old.workspace, ".signalbox/projects/after");
  await old.kill();
  const manifest = JSON.parse(await readFile(join(own, "project.json"), "utf8")) as object;
  await writeFile(join(own, "project.json"), JSON.stringify({ ...manifest, slug: "last" }));
  await old.start();
  expect([await has(old, "after"), await has(old, "last")]).toEqual([false, true]);
  expect((await stack.api("PATCH", "/projects/after", { slug: "last" })).status).toBe(200);
  expect((await stack.api("GET", `/builds/${build}`)).body).toMatchObject({ project: "last" });
});

test("a project isn't moved while it builds, nor to a runner that isn't there", async () => {
  await create("busy");
  const { body } = await stack.api("POST", "/projects/busy/builds", { prompt: "hang" });
  expect((await stack.api("POST", "/projects/busy/move", { runnerId: "other" })).body).toMatchObject({
    code: "project_busy",
  });
  await stack.api("POST", `/builds/${String(body["id"])}/cancel`);
  expect((await stack.api("POST", "/projects/busy/move", { runnerId: "nobody" })).body).toMatchObject({
    code: "target_refused",
  });
});

test("moves, renames and deletions at once leave the project whole on one runner, or nowhere if it was deleted", async () => {
  for (const last of ["move", "rename", "delete"] as const) {
    await create(`at-once-${last}`);
    const path = `/projects/at-once-${last}`;
    const acts = [
      stack.api("POST", `${path}/move`, { runnerId: "other" }),
      ...[30, 120, 400].map(async (delayMs) => {
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        if (last === "move") return stack.api("POST", `${path}/move`, { runnerId: "other" });
        if (last === "rename") return stack.api("PATCH", path, { slug: `now-${last}` });
        return stack.api("DELETE", path);
      }),
    ];
    for (const { status } of await Promise.all(acts)) expect([200, 404, 409]).toContain(status);
    const places: string[] = [];
    for (const runner of [old, other])
      for (const slug of [`at-once-${last}`, `now-${last}`])
        if (await has(runner, slug)) places.push(`${runner.id} ${slug}`);
    const records = (await stack.api("GET", "/projects")).body["projects"] as {
      slug: string;
      runnerId: string;
    }[];
    const known = records.filter(({ slug }) => slug === `at-once-${last}` || slug === `now-${last}`);
    expect(places).toEqual(known.map(({ slug, runnerId }) => `${runnerId} ${slug}`));
    if (last !== "delete") expect(places).toHaveLength(1);
  }
});

test.each(soak ? (["old", "other", "worker"] as const) : (["other"] as const))(
  "a move that is interrupted by the end of the %s leaves the project on exactly one runner",
  async (who) => {
    const slug = `cut-${who}`;
    await create(slug);
    await writeFile(join(old.workspace, slug, "large.bin"), randomBytes(24 * 1024 * 1024));
    const moving = stack.api("POST", `/projects/${slug}/move`, { runnerId: "other" }).catch(() => null);
    await until(
      async () => {
        const uploads = await readdir(join(other.workspace, ".signalbox/sources/.uploads"));
        return uploads.length > 0 || (await has(other, slug));
      },
      (isUnderWay) => isUnderWay,
    );
    if (who === "worker") {
      await stack.kill();
      await stack.restart();
    } else {
      const runner = who === "old" ? old : other;
      await runner.kill();
      await runner.start();
    }
    await moving;
    const { body } = await until(
      () => stack.api("GET", `/projects/${slug}`),
      (answer) => answer.status === 200 && answer.body["runner"] !== null,
    );
    const home = body["runnerId"] === "old" ? old : other;
    expect((await readFile(join(home.workspace, slug, "large.bin"))).length).toBe(24 * 1024 * 1024);
    // Wherever it is now, the next move brings it to the other one, and nothing stays behind.
    const [to, from] = home === old ? [other, old] : [old, other];
    const again = await until(
      () => stack.api("POST", `/projects/${slug}/move`, { runnerId: to.id }),
      ({ status }) => status === 200,
    );
    expect(again.body).toMatchObject({ runnerId: to.id });
    expect([await has(from, slug), await has(to, slug)]).toEqual([false, true]);
  },
);
