import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { readInvocation } from "../../runner/config.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { commit, freshClone } from "../helpers/clone.ts";

const run = promisify(execFile);

const stepSchema = z.union([
  z.strictObject({ uses: z.string().regex(/@v\d+$/), with: z.record(z.string(), z.unknown()).optional() }),
  z.strictObject({ name: z.string(), run: z.string(), env: z.record(z.string(), z.string()).optional() }),
]);
const jobSchema = z.looseObject({
  steps: z.array(stepSchema).default([]),
  env: z.record(z.string(), z.string()).default({}),
  strategy: z.object({ matrix: z.object({ include: z.array(z.record(z.string(), z.string())) }) }).optional(),
});
const workflowSchema = z.looseObject({ name: z.string(), jobs: z.record(z.string(), jobSchema) });
type Workflow = z.infer<typeof workflowSchema>;
type Job = z.infer<typeof jobSchema>;

const clones: string[] = [];
afterEach(async () => {
  for (const clone of clones.splice(0)) await rm(clone, { recursive: true, force: true });
});

async function clone(): Promise<string> {
  const directory = await freshClone();
  clones.push(directory);
  return directory;
}

async function workflow(name: string): Promise<Workflow> {
  const text = await readFile(join(projectRoot, `.github/workflows/${name}.yml`), "utf8");
  return workflowSchema.parse(parse(text));
}

function job(of: Workflow, name: string): Job {
  const found = of.jobs[name];
  if (found === undefined) throw new Error(`There is no job ${name}.`);
  return found;
}

/** Fills in what GitHub would, and fails on an expression that it doesn't know. */
function filled(text: string, matrix: Record<string, string>): string {
  return text.replaceAll(/\$\{\{\s*([\w.]+)\s*\}\}/g, (_, path: string) => {
    const [context, key = ""] = path.split(".");
    if (context !== "matrix") throw new Error(`${path} isn't known here.`);
    return matrix[key] ?? "";
  });
}

/** Runs a job's commands, each as GitHub's bash would; returns what each wrote. */
async function runJob(
  { steps, env }: Job,
  cwd: string,
  { matrix = {}, tag }: { matrix?: Record<string, string>; tag: string },
): Promise<Record<string, string>> {
  const outputs: Record<string, string> = {};
  const jobEnv = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, filled(value, matrix)]),
  );
  for (const step of steps) {
    if (!("run" in step)) continue;
    const { stdout } = await run("bash", ["-e", "-o", "pipefail", "-c", filled(step.run, matrix)], {
      cwd,
      maxBuffer: 16 * 1024 ** 2,
      env: {
        ...process.env,
        ...jobEnv,
        GITHUB_REF_NAME: tag,
        npm_config_prefer_offline: "true",
        // What would be published is packed and checked, and stays here.
        npm_config_dry_run: step.run.includes("npm publish") ? "true" : "false",
      },
    });
    outputs[step.name] = stdout;
  }
  return outputs;
}

test("CI runs the command that the README gives", async () => {
  const ci = await workflow("ci");
  expect(job(ci, "test").steps).toContainEqual({ name: "What the README says", run: ".ci/run" });
  const script = await readFile(join(projectRoot, ".ci/run"), "utf8");
  const readme = await readFile(join(projectRoot, "README.md"), "utf8");
  const command = script.trim().split("\n").at(-1) ?? "";
  expect(command).toContain("npm test");
  expect(readme).toContain(`\n${command}\n`);
});

test("a release has executables for Linux, macOS and Windows, both packages and the image", async () => {
  const release = await workflow("release");
  const systems = job(release, "executables").strategy?.matrix.include.map(({ name }) => name?.split("-")[0]);
  expect(new Set(systems)).toEqual(new Set(["linux", "macos", "windows"]));
  const commands = (name: string): string =>
    job(release, name)
      .steps.map((step) => ("run" in step ? step.run : ""))
      .join("\n");
  for (const name of ["signalbox", "sdk"])
    expect(commands("packages")).toContain(`publish ./dist/packages/${name}`);
  expect(commands("image")).toContain("docker buildx build --push");
  expect(commands("github")).toContain("gh release create");
});

test("the release's commands build and check what they publish, from a fresh clone", async () => {
  const directory = await clone();
  const release = await workflow("release");
  const matrix = job(release, "executables").strategy?.matrix.include.find(
    ({ name }) => name === `${process.platform}-${process.arch}`,
  );
  if (matrix === undefined) throw new Error("This system isn't in the matrix.");
  const { version } = JSON.parse(await readFile(join(directory, "package.json"), "utf8")) as {
    version: string;
  };
  const tag = `v${version}`;
  const executable = await runJob(job(release, "executables"), directory, { matrix, tag });
  expect(executable["The executable starts"]).toContain(version);
  const file = `signalbox-runner-${matrix["name"]}`;
  expect(await readFile(join(directory, `dist/${file}.sha256`), "utf8")).toMatch(
    new RegExp(`^[0-9a-f]{64}  ${file}\n$`),
  );
  await run("sha256sum", ["--check", `${file}.sha256`], { cwd: join(directory, "dist") });

  // The second job has a machine of its own, where nothing is installed yet; installing again here proves nothing more.
  const packages = job(release, "packages");
  packages.steps = packages.steps.filter((step) => !("run" in step) || step.run !== "npm ci");
  const published = await runJob(packages, directory, { tag });
  expect(published["Publish the sdk"]).toContain(`@signalbox/sdk@${version}`);
  expect(published["Publish signalbox"]).toContain(`signalbox@${version}`);
}, 600_000);

test("the image's build stage makes the runner out of what it copies", async () => {
  const from = await clone();
  const to = await mkdtemp(join(tmpdir(), "signalbox-image-"));
  clones.push(to);
  const dockerfile = await readFile(join(from, "Dockerfile"), "utf8");
  const [, stage = ""] = dockerfile.split(/^FROM .*\n/m);
  for (const line of stage.split("\n")) {
    const [, instruction, rest = ""] = /^(COPY|RUN) (.*)$/.exec(line) ?? [];
    const env = { ...process.env, npm_config_prefer_offline: "true" };
    // The test above has installed from a clone already; only the long version does that twice.
    if (rest.startsWith("npm ci") && process.env["SIGNALBOX_SOAK"] !== "1")
      await symlink(join(projectRoot, "node_modules"), join(to, "node_modules"));
    else if (instruction === "RUN") await run("sh", ["-c", rest], { cwd: to, env });
    if (instruction === "COPY") {
      const words = rest.split(" ");
      const target = join(to, words.pop() ?? "");
      if (words.length > 1 || rest.endsWith("/")) await mkdir(target, { recursive: true });
      for (const word of words)
        await run("cp", ["-r", word === "." ? `${from}/.` : join(from, word), target]);
    }
  }
  const { stdout } = await run(process.execPath, [join(to, "dist/runner.mjs"), "--help"]);
  expect(stdout).toContain("signalbox-runner");
}, 300_000);

test("the image has what confines guests, and its runner starts as its ENV says", async () => {
  const from = await clone();
  const dockerfile = await readFile(join(from, "Dockerfile"), "utf8");
  const [, , stage = ""] = dockerfile.split(/^FROM .*\n/m);
  const packages = /install --yes --no-install-recommends ([^\\]+)/.exec(stage)?.[1]?.trim().split(" ") ?? [];
  expect(packages).toEqual(expect.arrayContaining(["bubblewrap", "passt"]));
  await run("apt-get", ["install", "--simulate", "--yes", "--no-install-recommends", ...packages]);
  const [, env = ""] = /^ENV (.*)$/m.exec(stage) ?? [];
  const workspace = await mkdtemp(join(tmpdir(), "signalbox-image-"));
  clones.push(workspace);
  const settings = Object.fromEntries(env.split(" ").map((pair) => pair.split("=")));
  const { kind } = readInvocation(["runner"], {
    ...settings,
    WORKSPACE_ROOT: workspace,
    RUNNER_SHARED_SECRET: "secret",
    RUNNER_BROKER_URL: "ws://127.0.0.1:1/",
  });
  expect(kind).toBe("run");
}, 120_000);

test("npm run release raises both packages together and writes what users notice into the changelog", async () => {
  const directory = await clone();
  await run("git", ["tag", "v0.1.0"], { cwd: directory });
  await commit(directory, "feat(cli): a thing that users see");
  await commit(directory, "refactor: a thing that they don't");
  const env = {
    ...process.env,
    GIT_AUTHOR_NAME: "Signalbox contributors",
    GIT_AUTHOR_EMAIL: "contributors@example.com",
    GIT_COMMITTER_NAME: "Signalbox contributors",
    GIT_COMMITTER_EMAIL: "contributors@example.com",
    npm_config_prefer_offline: "true",
  };
  await run("npm", ["run", "release", "--", "--release-as", "0.2.0"], { cwd: directory, env });
  const { stdout: tags } = await run("git", ["tag", "--points-at", "HEAD"], { cwd: directory });
  expect(tags).toBe("v0.2.0\n");
  const { stdout: status } = await run("git", ["status", "--porcelain"], { cwd: directory });
  expect(status).toBe("");
  const check = ["scripts/build/check-release.ts"];
  const { stdout: notes } = await run(process.execPath, [...check, "v0.2.0"], { cwd: directory });
  expect(notes).toContain("a thing that users see");
  expect(notes).not.toContain("a thing that they don't");
  expect(notes).not.toContain("The first version");
  const other: unknown = await run(process.execPath, [...check, "v0.3.0"], { cwd: directory }).catch(
    (error: unknown) => error,
  );
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("sdk/package.json has 0.2.0") });
});
