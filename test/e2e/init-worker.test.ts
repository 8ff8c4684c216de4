import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { bundleCli } from "../../scripts/build/cli.ts";
import { buildEdge } from "../../scripts/build/edge.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { freePort } from "../../scripts/local/free-port.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, until } from "../helpers/stack.ts";

const run = promisify(execFile);
const wrangler = join(projectRoot, "node_modules/wrangler/bin/wrangler.js");
const wranglerEnv = { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" };

let root: string;
let cli: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-init-worker-"));
  cli = await bundleCli(join(root, "signalbox"));
  await buildEdge(join(root, "signalbox/edge"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function initWorker(name: string): Promise<{ directory: string; stdout: string; stderr: string }> {
  return {
    directory: join(root, name),
    ...(await run(process.execPath, [cli, "init-worker", name], { cwd: root })),
  };
}

/** What `npm install` would bring, from this repository. */
async function linkWrangler(directory: string): Promise<void> {
  await symlink(join(projectRoot, "node_modules"), join(directory, "node_modules"));
}

async function deployDry(directory: string): Promise<string> {
  const options = { cwd: directory, env: wranglerEnv };
  return (await run(process.execPath, [wrangler, "deploy", "--dry-run"], options)).stdout;
}

test("what it writes deploys with the wrangler that it pins", async () => {
  const { directory, stdout } = await initWorker("dry");
  expect((await readdir(directory)).toSorted()).toEqual(["package.json", "worker.js", "wrangler.toml"]);
  expect(stdout).toMatch(/cd dry\n\s+npm install\n\s+npx wrangler deploy\n/);
  expect(stdout).toMatch(/\n\s+npx signalbox login --server /);
  await linkWrangler(directory);
  const { devDependencies } = JSON.parse(await readFile(join(directory, "package.json"), "utf8")) as {
    devDependencies: { wrangler: string };
  };
  const own = await readFile(join(projectRoot, "node_modules/wrangler/package.json"), "utf8");
  expect(JSON.parse(own)).toMatchObject({ version: devDependencies.wrangler });
  const deployed = await deployDry(directory);
  for (const name of ["AppController", "EmbeddedStore", "RunnerHub"]) expect(deployed).toContain(name);
});

test("what it writes serves under wrangler dev", async () => {
  const { directory } = await initWorker("dev");
  await linkWrangler(directory);
  const secrets = `CONTROL_TOKEN=${CONTROL_TOKEN}\nPULSE_RAILWAY_INTERNAL_TOKEN=${INTERNAL_TOKEN}\n`;
  await writeFile(join(directory, ".dev.vars"), secrets);
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [
      wrangler,
      "dev",
      "--ip",
      "127.0.0.1",
      "--port",
      String(port),
      "--inspector-port",
      String(await freePort()),
    ],
    { cwd: directory, env: wranglerEnv, stdio: ["ignore", "ignore", "inherit"] },
  );
  const exited = once(child, "exit");
  onTestFinished(async () => {
    child.kill("SIGTERM");
    await exited;
  });
  const origin = `http://127.0.0.1:${port}/_signalbox/api/v1`;
  const authorization = { authorization: `Bearer ${CONTROL_TOKEN}` };
  await until(
    () =>
      fetch(`${origin}/apps`, { headers: authorization }).then(
        ({ status }) => status,
        () => 0,
      ),
    (status) => status === 200,
  );
  const put = await fetch(`${origin}/apps/shop`, {
    method: "PUT",
    headers: { ...authorization, "content-type": "application/json" },
    body: JSON.stringify({ hosts: ["shop.test"] }),
  });
  expect(put.ok).toBe(true);
  expect(await (await fetch(`${origin}/apps/shop`, { headers: authorization })).json()).toMatchObject({
    name: "shop",
  });
});

test("a second run brings a newer Worker and leaves what is the operator's own", async () => {
  const { directory } = await initWorker("again");
  const file = (name: string): string => join(directory, name);
  const whole = await readFile(file("wrangler.toml"), "utf8");
  // As an earlier version wrote it, before there were runners, with an operator's route and variable.
  const binding = '[[durable_objects.bindings]]\nname = "RUNNER_HUB"\nclass_name = "RunnerHub"\n\n';
  const migration = '[[migrations]]\ntag = "v2"\nnew_sqlite_classes = ["RunnerHub"]\n\n';
  const own = '\n[vars]\nAPP_DOMAIN = "apps.example.com" # ours\n';
  const earlier =
    whole
      .replace('name = "signalbox"', 'name = "our-edge"')
      .replace(/^compatibility_date = .*$/m, 'compatibility_date = "2026-09-01"')
      .replace(binding, "")
      .replace(migration, "") + own;
  expect(earlier).not.toContain("RunnerHub");
  await writeFile(file("wrangler.toml"), earlier);
  await writeFile(file("worker.js"), "old");
  const manifest = { name: "ours", signalbox: "0.0.1", devDependencies: { wrangler: "4.0.0", own: "1.0.0" } };
  await writeFile(file("package.json"), JSON.stringify(manifest));
  await writeFile(file("notes.md"), "ours");

  const { stdout, stderr } = await initWorker("again");
  expect(stderr).toMatch(/differs from what this Worker is tested with: compatibility_date = "/);
  expect(stdout).toContain("it was 0.0.1");
  expect(stdout).toContain("wrangler.toml got [[migrations]] v2.");
  const after = await readFile(file("wrangler.toml"), "utf8");
  expect(after.startsWith(earlier.trimEnd())).toBe(true);
  expect(await readFile(file("worker.js"), "utf8")).toContain("RunnerHub");
  expect(JSON.parse(await readFile(file("package.json"), "utf8"))).toMatchObject({
    name: "ours",
    signalbox: expect.not.stringMatching("0.0.1"),
    devDependencies: { own: "1.0.0", wrangler: expect.not.stringMatching(/^4\.0\.0$/) },
  });
  await linkWrangler(directory);
  const deployed = await deployDry(directory);
  for (const name of ["RunnerHub", "APP_DOMAIN"]) expect(deployed).toContain(name);

  // And a third changes nothing.
  expect((await initWorker("again")).stdout).not.toContain("wrangler.toml got");
  expect(await readFile(file("wrangler.toml"), "utf8")).toBe(after);
});

test.each(["README.md", "package.json", "wrangler.toml"])(
  "a directory that has a %s of somebody else's is refused, untouched",
  async (name) => {
    const directory = join(root, `foreign-${name}`);
    await mkdir(directory);
    await writeFile(join(directory, name), "{}");
    const failed: unknown = await initWorker(`foreign-${name}`).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 2, stderr: expect.stringContaining(`such as ${name}`) });
    expect(await readdir(directory)).toEqual([name]);
  },
);

test("init-worker names an array it can't extend, and what is missing in it", async () => {
  const { directory } = await initWorker("inline");
  const file = join(directory, "wrangler.toml");
  await writeFile(file, 'name = "x"\nmain = "worker.js"\n[durable_objects]\nbindings = []\n');
  const failed: unknown = await initWorker("inline").catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: 3, stderr: expect.stringContaining('name = "RUNNER_HUB"') });
});
