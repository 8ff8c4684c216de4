import { execFile, execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import type { CleanupReport } from "../../functions/protocol/cleanup.ts";
import type { WorkspaceOptions } from "../../runner/workspace.ts";
import { runnerFile } from "../helpers/build-worker.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const off = { ageSeconds: null, count: null, bytes: null };

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-cleanup-test-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function start(
  root: string,
  cleanup: WorkspaceOptions["cleanup"],
  idleAfterMs = 1,
): Promise<UnconnectedRunner> {
  const host = await UnconnectedRunner.start({
    root,
    idleAfterMs,
    confinement: { level: "none" },
    git: { protocols: ["file"], tokens: {}, githubUrl: "https://github.com" },
    ...(cleanup === undefined ? {} : { cleanup }),
  });
  cleanups.push(() => host.stop());
  return host;
}

async function project(host: UnconnectedRunner, root: string, slug: string): Promise<string> {
  const { status } = await host.json("PUT", `/projects/${slug}`, { name: slug, agent: null });
  expect(status).toBe(200);
  const directory = join(root, slug);
  await write(join(directory, "index.html"), "<h1>mine</h1>");
  await write(join(directory, "node_modules/big/index.js"), "x".repeat(300_000));
  await write(join(directory, "packages/ui/.vite/deps.js"), "x".repeat(100_000));
  await write(join(root, ".signalbox/projects", slug, "home/.npm/_cacache/one"), "x".repeat(200_000));
  return directory;
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, text);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function clean(host: UnconnectedRunner, dryRun = false): Promise<CleanupReport> {
  const { status, body } = await host.json("POST", "/cleanup", { dryRun });
  expect(body).toMatchObject({ dryRun });
  expect(status).toBe(200);
  return body as unknown as CleanupReport;
}

/** A moment, after which a project that was used before it counts as idle here. */
const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));

test("caches of idle projects go with what their package managers fetched, files stay, and a dry run only says it", async () => {
  const root = await temporary();
  const host = await start(root, { caches: { ...off, count: 1 } });
  const old = await project(host, root, "old");
  await aMoment();
  const current = await project(host, root, "current");
  await aMoment();

  const planned = await clean(host, true);
  expect(planned.cleaned).toMatchObject([{ what: "caches", project: "old" }]);
  expect(planned.freedBytes).toBeGreaterThan(600_000);
  expect(await exists(join(old, "node_modules"))).toBe(true);

  const done = await clean(host);
  expect(done.cleaned).toEqual(planned.cleaned);
  for (const path of ["node_modules", "packages/ui/.vite", "../.signalbox/projects/old/home/.npm"])
    expect(await exists(join(old, path))).toBe(false);
  expect(await readFile(join(old, "index.html"), "utf8")).toContain("mine");
  expect(await exists(join(current, "node_modules"))).toBe(true);
  expect((await clean(host)).cleaned).toEqual([]);
});

test("a project with a dev server, one that is held and one that was just used keep their caches, and the report says so", async () => {
  const root = await temporary();
  const strict = { caches: { ...off, bytes: 1 } };
  const host = await start(root, strict);
  const served = await project(host, root, "served");
  const held = await project(host, root, "held");
  await host.json("POST", "/projects/held/hold", { held: true });
  await host.json("POST", "/projects/served/dev-server");
  await until("it serves", async () => {
    const { body } = await host.json("GET", "/projects/served");
    return (body["devServer"] as { state: string }).state === "running";
  });
  await aMoment();
  const report = await clean(host);
  expect(report.cleaned).toEqual([]);
  expect(report.spared.toSorted((one, other) => one.project.localeCompare(other.project))).toEqual([
    { what: "caches", project: "held", why: "it is being moved or renamed" },
    { what: "caches", project: "served", why: "its dev server runs" },
  ]);
  for (const directory of [served, held]) expect(await exists(join(directory, "node_modules"))).toBe(true);
  await host.stop();

  // Whoever came a moment ago may come back.
  const patient = await start(root, strict, 60_000);
  await host.json("GET", "/status").catch(() => undefined); // the former one is gone
  await patient.json("PUT", "/projects/fresh", { name: "fresh", agent: null });
  await write(join(root, "fresh/node_modules/a.js"), "x".repeat(9_000));
  expect((await clean(patient)).spared).toContainEqual({
    what: "caches",
    project: "fresh",
    why: "it was used a moment ago",
  });
});

test("files go only when the remote has all of them, and the next start brings them back", async () => {
  const root = await temporary();
  const remote = join(await temporary(), "remote.git");
  const git = (...args: string[]): string =>
    execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  git("init", "--quiet", "--bare", "--initial-branch=main", remote);
  const host = await start(root, { caches: off, projects: { ...off, bytes: 1 } });
  const directory = await project(host, root, "bakery");
  await write(join(directory, ".gitignore"), "node_modules\n.vite\n.env\n");
  await aMoment();
  const why = async (): Promise<string | undefined> => {
    const report = await clean(host);
    expect(report.cleaned.filter(({ what }) => what === "project")).toEqual([]);
    expect(await exists(join(directory, "index.html"))).toBe(true);
    return report.spared.find(({ what }) => what === "project")?.why;
  };
  expect(await why()).toBe("it has no git remote");
  const setRemote = { remote: `file://${remote}`, branch: "main", pushAfterBuild: false };
  expect((await host.json("PUT", "/projects/bakery/git", setRemote)).status).toBe(200);
  expect(await why()).toBe("nothing of it is committed");
  expect((await host.json("POST", "/projects/bakery/git/init")).status).toBe(200);
  expect((await host.json("POST", "/projects/bakery/git/commit", { message: "One" })).status).toBe(200);
  expect(await why()).toMatch(/^commit [0-9a-f]{10} isn't pushed$/);
  expect((await host.json("POST", "/projects/bakery/git/push", { message: null })).body).toMatchObject({
    lastPush: { error: null },
  });
  await write(join(directory, "index.html"), "<h1>changed</h1>");
  expect(await why()).toBe("1 changes aren't committed");
  expect((await host.json("POST", "/projects/bakery/git/push", { message: "Two" })).status).toBe(200);
  await write(join(directory, ".env"), "KEY=1");
  expect(await why()).toContain("git ignores .env");
  await rm(join(directory, ".env"));
  git("-C", directory, "branch", "idea");
  git("-C", directory, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "Three");
  git("-C", directory, "branch", "-f", "idea");
  git("-C", directory, "reset", "--quiet", "--hard", "HEAD~1");
  expect(await why()).toMatch(/^commit [0-9a-f]{10} isn't pushed$/);
  git("-C", directory, "branch", "-D", "idea");

  const report = await clean(host);
  expect(report.cleaned).toMatchObject([{ what: "project", project: "bakery" }]);
  expect(await readdir(directory)).toEqual([]);
  expect((await host.json("GET", "/projects/bakery")).status).toBe(200);

  await host.json("POST", "/projects/bakery/dev-server");
  const port = await until("it serves", async () => {
    const { body } = await host.json("GET", "/projects/bakery");
    const { state, port: on, reason } = body["devServer"] as Record<string, unknown>;
    if (state === "crashed") throw new Error(String(reason));
    return state === "running" ? Number(on) : null;
  });
  // Port 6000 is one that fetch refuses.
  const served = await new Promise<string>((resolve, reject) => {
    get({ host: "127.0.0.1", port }, (response) => void text(response).then(resolve, reject)).on(
      "error",
      reject,
    );
  });
  expect(served).toContain("changed");
});

test("a restart is no use of a project, and a runner's own machine can ask it to clean up", async () => {
  const root = await temporary();
  const first = await start(root, {}, 60_000);
  const directory = await project(first, root, "bakery");
  const before = await host("cleanup", "--dry-run");
  expect(before).toContain("Nothing is over its limit.");
  await first.stop();
  await expect(host("cleanup")).rejects.toThrow(/No runner holds/);

  const file = join(root, ".signalbox/cleanup.json");
  const known = JSON.parse(await readFile(file, "utf8")) as { usedAt: Record<string, number> };
  expect(Date.now() - (known.usedAt["bakery"] ?? 0)).toBeLessThan(60_000);
  known.usedAt["bakery"] = Date.now() - 30 * 24 * 3_600_000;
  await writeFile(file, JSON.stringify(known));

  await start(root, {}, 60_000);
  expect(await host("cleanup", "--dry-run")).toMatch(
    /^caches of bakery: .*unused for more than 14 days\nWould free/,
  );
  expect(await exists(join(directory, "node_modules"))).toBe(true);
  expect(JSON.parse(await host("cleanup", "--json"))).toMatchObject({ dryRun: false, spared: [] });
  expect(await exists(join(directory, "node_modules"))).toBe(false);

  async function host(...args: string[]): Promise<string> {
    const env = { PATH: process.env["PATH"], HOME: root, WORKSPACE_ROOT: root };
    return new Promise((resolve, reject) => {
      execFile(process.execPath, [runnerFile, ...args], { env }, (error, stdout, stderr) =>
        error === null ? resolve(stdout) : reject(new Error(stderr)),
      );
    });
  }
});

test("what a killed runner left of its door goes with the next start", async () => {
  const root = await temporary();
  const first = await start(root, {}, 60_000);
  const door = await readFile(join(root, ".signalbox/cleanup-door"), "utf8");
  expect(await exists(dirname(door))).toBe(true);
  await first.kill();
  await start(root, {}, 60_000);
  expect(await exists(dirname(door))).toBe(false);
});
