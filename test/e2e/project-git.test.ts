import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { Operator } from "../helpers/cli.ts";
import { startGitServer, type GitServer } from "../helpers/git-server.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type ApiAnswer, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
const TOKEN = "git-token-for-tests";
/** Each of git's commands is a process of a guest: some of these are left to the soak. */
const soak = process.env["SIGNALBOX_SOAK"] === "1";

let stack: TestStack;
let runner: RunnerProcess;
let server: GitServer;
let operator: Operator;
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
  server = await startGitServer(TOKEN);
  runner = await startRunner(stack, {
    id: "git-runner",
    env: {
      RUNNER_AGENT: AGENT,
      RUNNER_GIT_PROTOCOLS: "https,http",
      RUNNER_GITHUB_URL: server.origin,
      RUNNER_GIT_TOKENS: `${new URL(server.origin).host}=${TOKEN}`,
    },
  });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await server?.stop();
  await stack?.stop();
});

async function create(body: object): Promise<string> {
  const slug = `git-${++count}`;
  const made = await stack.api("POST", "/projects", { slug, ...body });
  expect([made.status, made.body["code"]]).toEqual([201, undefined]);
  return slug;
}

/** Until its first build is over. */
async function built(slug: string): Promise<Record<string, unknown> | undefined> {
  const { body } = await until(
    () => stack.api("GET", `/projects/${slug}`),
    (answer) => !["queued", "running"].includes(String(buildOf(answer)?.["state"])),
  );
  return buildOf({ body } as ApiAnswer);
}

function buildOf({ body }: ApiAnswer): Record<string, unknown> | undefined {
  return (body["runner"] as { builds: Record<string, unknown>[] }).builds.at(-1);
}

async function put(slug: string, path: string, content: string): Promise<void> {
  expect((await stack.api("PUT", `/projects/${slug}/files/${path}`, { content })).status).toBe(200);
}

const git = (slug: string, act: string, body: object = {}) =>
  stack.api("POST", `/projects/${slug}/git/${act}`, body);

test("a project is imported from a private remote, changed, pushed and synced", async () => {
  const remote = server.make("shop", { "index.html": "<p>shop</p>", "src/app.js": "1\n" });
  const slug = await create({ source: { git: remote } });
  expect(await built(slug)).toMatchObject({
    agent: "import",
    state: "completed",
    prompt: `Import ${remote}`,
  });
  expect((await stack.api("GET", `/projects/${slug}`)).body).toMatchObject({
    runner: { framework: "static", devServer: { state: "running" } },
  });
  await put(slug, "src/app.js", "2\n");
  await put(slug, "new.txt", "new\n");
  expect((await stack.api("GET", `/projects/${slug}/git`)).body).toMatchObject({
    remote,
    branch: "main",
    isRepository: true,
    subject: "by Ada",
    changes: [
      { status: " M", path: "src/app.js" },
      { status: "??", path: "new.txt" },
    ],
    lastPush: null,
  });
  const { body } = await stack.api("GET", `/projects/${slug}/git/diff`);
  expect(body["diff"]).toMatch(/\+new\n[^]*-1\n\+2\n/);
  const pushed = await git(slug, "push", { message: "Two" });
  expect(pushed.body).toMatchObject({ subject: "Two", changes: [], lastPush: { error: null } });
  expect(server.file("shop", "src/app.js")).toBe("2\n");
  server.commit("shop", { "theirs.txt": "theirs\n" });
  await put(slug, "mine.txt", "mine\n");
  expect((await git(slug, "push", { message: "Mine" })).body).toMatchObject({ code: "git_behind" });
  expect((await git(slug, "sync")).status).toBe(200);
  expect((await git(slug, "push")).status).toBe(200);
  expect(server.file("shop", "mine.txt") + server.file("shop", "theirs.txt")).toBe("mine\ntheirs\n");
});

test.skipIf(!soak)("a conflict changes nothing, and says where it is", async () => {
  const remote = server.make("clash", { "a.txt": "1\n" });
  const slug = await create({ source: { git: remote } });
  await built(slug);
  server.commit("clash", { "a.txt": "theirs\n" });
  await put(slug, "a.txt", "mine\n");
  expect((await git(slug, "commit", { message: "Mine" })).status).toBe(200);
  expect((await git(slug, "sync")).body).toMatchObject({
    code: "git_conflict",
    detail: "What the remote has doesn't fit: a.txt. Nothing was changed.",
  });
  expect((await stack.api("GET", `/projects/${slug}/files/a.txt`)).body).toMatchObject({ content: "mine\n" });
  expect((await stack.api("GET", `/projects/${slug}/git`)).body).toMatchObject({ changes: [] });
});

test("a project's own token is used before the runner's, and only for its remote's host", async () => {
  const remote = server.make("own");
  const slug = await create({ env: [{ name: "GIT_TOKEN", value: "wrong-token", secret: true, for: "git" }] });
  await stack.api("PUT", `/projects/${slug}/git`, { remote });
  await put(slug, "a.txt", "1\n");
  server.logins.length = 0;
  expect((await git(slug, "push", { message: "One" })).body).toMatchObject({
    code: "git_unauthorized",
    detail: expect.stringMatching(/^127\.0\.0\.1:\d+ wants a login/),
  });
  expect(new Set(server.logins)).toEqual(new Set(["wrong-token"]));
  await stack.api("PUT", `/projects/${slug}/env`, {
    variables: [{ name: "GIT_TOKEN", value: `ada:${TOKEN}`, secret: true, for: "git" }],
  });
  expect((await git(slug, "push")).body).toMatchObject({ lastPush: { error: null } });
  expect(server.file("own", "a.txt")).toBe("1\n");
});

test("a build is followed by a push where the project says so", async () => {
  const remote = server.make("auto");
  const slug = await create({});
  await stack.api("PUT", `/projects/${slug}/git`, { remote, pushAfterBuild: true });
  await stack.api("POST", `/projects/${slug}/builds`, { prompt: "page built" });
  expect(await built(slug)).toMatchObject({ state: "completed" });
  expect(server.file("auto", "index.html")).toContain("<p>built</p>");
  expect((await stack.api("GET", `/projects/${slug}/git`)).body).toMatchObject({ subject: "page built" });
});

test("a workspace's hooks, settings and bundles get nothing of the runner's", async () => {
  const remote = server.make("hooked", { "a.txt": "1\n" });
  const slug = await create({ source: { git: remote } });
  await built(slug);
  const workspace = join(runner.workspace, slug);
  const told = join(workspace, "told");
  const spy = `#!/bin/sh\n{ env; cat; cat <&3; } >> ${told} 2>&1\nexit 0\n`;
  for (const hook of ["pre-commit", "pre-push", "reference-transaction", "post-merge"])
    await writeFile(join(workspace, ".git/hooks", hook), spy, { mode: 0o755 });
  execFileSync("git", ["config", "credential.helper", `!cat >> ${told}`], { cwd: workspace });
  await put(slug, "b.txt", "2\n");
  await writeFile(join(workspace, ".gitignore"), "told\n");
  expect((await git(slug, "push", { message: "Two" })).body).toMatchObject({ lastPush: { error: null } });
  expect((await git(slug, "sync")).status).toBe(200);
  const seen = await readFile(told, "utf8");
  expect(seen).toContain("GIT_AUTHOR_NAME=Signalbox");
  expect(seen).not.toContain(TOKEN);
  expect(seen).not.toContain("GIT_TOKENS");
});

test("an address with a login, of another protocol, or of no git, is refused before anything is made", async () => {
  for (const [remote, detail] of [
    ["https://ada:secret-word@example.com/a.git", /^Leave the login out/],
    ["file:///etc", /doesn't use file remotes/],
    ["ssh://git@example.com/a.git", /doesn't use ssh remotes/],
    ["ext::sh -c true", /isn't a git address/],
    ["--upload-pack=x", /isn't a git address/],
  ] as const) {
    const { status, body } = await stack.api("POST", "/projects", {
      slug: "refused",
      source: { git: remote },
    });
    expect([remote, status, body["detail"]]).toEqual([remote, 400, expect.stringMatching(detail)]);
    expect(JSON.stringify(body)).not.toContain("secret-word");
  }
  expect((await stack.api("GET", "/projects/refused")).status).toBe(404);
});

test("an import that fails leaves nothing in the project, and says why", async () => {
  const slug = await create({ source: { git: `${server.origin}/nowhere.git` } });
  expect(await built(slug)).toMatchObject({ state: "failed", reason: expect.stringMatching(/not found/) });
  expect(await readdir(join(runner.workspace, slug))).toEqual([]);
});

test("the command line imports an address and a directory, and pushes", async () => {
  const remote = server.make("cli", { "index.html": "<p>cli</p>" });
  const run = async (args: string[], input = "") => {
    const { code, stdout, stderr } = await operator.run(args, { input });
    expect([args.join(" "), code, code === 0 ? "" : stderr]).toEqual([args.join(" "), 0, ""]);
    return stdout;
  };
  await run(["projects", "import", remote, "--slug", "cli-git", "--token-stdin"], TOKEN);
  await run(["files", "put", "cli-git", "a.txt"], "a\n");
  expect(await run(["git", "status", "cli-git"])).toMatch(
    /remote +http.*\(main\)\ncommit .*by Ada\n\?\? a\.txt/,
  );
  expect(await run(["git", "diff", "cli-git"])).toContain("+a");
  expect(await run(["git", "push", "cli-git", "-m", "From here"])).toMatch(/pushed +[0-9a-f]{10}/);
  expect(server.file("cli", "a.txt")).toBe("a\n");
  expect(await run(["git", "sync", "cli-git"])).toContain("From here");
  const directory = await mkdtemp(join(tmpdir(), "signalbox-import-"));
  try {
    await writeFile(join(directory, "index.html"), "<p>from a directory</p>");
    await run(["projects", "create", "--from", directory, "--slug", "cli-tar", "--prompt", "page changed"]);
    expect(await run(["files", "cat", "cli-tar", "index.html"])).toContain("<p>changed</p>");
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.skipIf(!soak)("SentryVibe's github-push and github-sync work on OWNER/NAME", async () => {
  server.make("ada/hub", { "theirs.txt": "1\n" });
  const slug = await create({});
  const command = async (type: string) =>
    (
      await stack.api("POST", "/runners/git-runner/commands?wait=60", {
        type,
        payload: { slug, repo: "ada/hub", commitMessage: "From SentryVibe" },
      })
    ).body;
  const synced = await command("github-sync");
  expect(synced).toMatchObject({ event: { type: "project-metadata", payload: { slug } } });
  await put(slug, "mine.txt", "2\n");
  expect(await command("github-push")).toMatchObject({
    event: { payload: { github: { repo: "ada/hub", branch: "main", commit: expect.any(String) } } },
  });
  expect(server.file("ada/hub", "theirs.txt") + server.file("ada/hub", "mine.txt")).toBe("1\n2\n");
});

test.skipIf(!soak)("git works in a project whose guests are system users of their own", async () => {
  const root = await mkdtemp(join(tmpdir(), "signalbox-users-"));
  await chmod(root, 0o711);
  const confined = await startRunner(stack, {
    id: "user-runner",
    env: {
      WORKSPACE_ROOT: root,
      RUNNER_CONFINEMENT: "user",
      RUNNER_GIT_PROTOCOLS: "http",
      RUNNER_GIT_TOKENS: `${new URL(server.origin).host}=${TOKEN}`,
    },
  });
  try {
    const remote = server.make("users", { "index.html": "<p>users</p>" });
    const slug = await create({ source: { git: remote }, runnerId: "user-runner" });
    expect(await built(slug)).toMatchObject({ state: "completed" });
    await put(slug, "src/a.txt", "1\n");
    expect((await git(slug, "push", { message: "One" })).body).toMatchObject({ lastPush: { error: null } });
    expect(server.file("users", "src/a.txt")).toBe("1\n");
  } finally {
    await confined.remove();
    await rm(root, { recursive: true, force: true });
  }
});
