import { readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildEvent } from "../../functions/protocol/builds.ts";
import type { FileChanges } from "../../functions/protocol/workspace-api.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { Operator } from "../helpers/cli.ts";
import { readEvents } from "../helpers/event-stream.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
/** Prints what it was started with, and serves. */
const SERVER = `const { TOKEN, SEEN, AGENTS } = process.env;
process.stdout.write("the token is " + TOKEN.slice(0, 4));
setTimeout(() => process.stdout.write(TOKEN.slice(4) + "\\n"), 50);
console.error(Buffer.from(TOKEN).toString("base64"), encodeURIComponent(TOKEN), SEEN, AGENTS);
require("node:http").createServer((_, answer) => answer.end("up")).listen(process.env.PORT, "127.0.0.1");
`;

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "keeper", env: { RUNNER_AGENT: AGENT } });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
});

async function newProject(): Promise<string> {
  const slug = `keep-${++count}`;
  expect((await stack.api("POST", "/projects", { slug })).status).toBe(201);
  return slug;
}

async function put(slug: string, path: string, content: string): Promise<void> {
  const { status, body } = await stack.api("PUT", `/projects/${slug}/files/${path}`, { content });
  expect(body).toMatchObject({ path, size: Buffer.byteLength(content) });
  expect(status).toBe(200);
}

async function setEnv(slug: string, ...variables: object[]): Promise<void> {
  const { status, body } = await stack.api("PUT", `/projects/${slug}/env`, { variables });
  expect([status, JSON.stringify(body)]).toEqual([200, expect.not.stringContaining('"value"')]);
}

async function events(id: string): Promise<BuildEvent[]> {
  const response = await stream(`/builds/${id}/events`);
  const found: BuildEvent[] = [];
  for await (const { event, data } of readEvents(response)) {
    if (event === "end") break;
    if (event === "build") found.push(JSON.parse(data) as BuildEvent);
  }
  return found;
}

function stream(path: string, signal?: AbortSignal): Promise<Response> {
  return fetch(`${stack.origin}/_signalbox/api/v1${path}`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
    ...(signal && { signal }),
  });
}

async function logText(slug: string): Promise<string> {
  const { body } = await stack.api("GET", `/projects/${slug}/logs`);
  return (body["lines"] as { text: string }[]).map(({ text }) => text).join("\n");
}

test("each variable reaches those it is for, and no call tells its value", async () => {
  const slug = await newProject();
  await setEnv(
    slug,
    { name: "SEEN", value: "plain-value" },
    { name: "TOKEN", value: "s3cret+token/=x", secret: true, for: "dev" },
    { name: "AGENTS", value: "only-agents-value", for: "agent" },
  );
  expect((await stack.api("GET", `/projects/${slug}/env`)).body).toEqual({
    variables: [
      { name: "AGENTS", secret: false, for: "agent", updatedAt: expect.any(String) },
      { name: "SEEN", secret: false, for: "both", updatedAt: expect.any(String) },
      { name: "TOKEN", secret: true, for: "dev", updatedAt: expect.any(String) },
    ],
  });
  const { body } = await stack.api("POST", `/projects/${slug}/builds`, { prompt: "secrets" });
  const told = JSON.stringify(await events(String(body["id"])));
  expect(told).toContain("plain-value");
  expect(told).toContain("only-agents-value");
  expect(told).not.toContain("TOKEN");
  expect((await stack.api("DELETE", `/projects/${slug}/env/AGENTS`)).body).toMatchObject({
    variables: [{ name: "SEEN" }, { name: "TOKEN" }],
  });
  await put(slug, "server.js", SERVER);
  await put(slug, "package.json", JSON.stringify({ scripts: { dev: "node server.js" } }));
  expect((await stack.api("POST", `/projects/${slug}/dev-server`)).status).toBe(202);
  const said = await until(
    () => logText(slug),
    (text) => text.includes("undefined") && text.includes("the token is ***"),
  );
  expect(said).toContain("*** *** plain-value undefined");
  expect(said).not.toContain("s3cret");
  const file = join(runner.workspace, ".signalbox/projects", slug, "env.json");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readFile(file, "utf8")).toContain("s3cret+token/=x");
});

test("a secret that an agent tells in pieces, in base64, in a question or an error is masked", async () => {
  const slug = await newProject();
  const secret = "marked-secret-4711";
  await setEnv(slug, { name: "TOKEN", value: secret, secret: true, for: "agent" });
  const { body } = await stack.api("POST", `/projects/${slug}/builds`, { prompt: "leak TOKEN" });
  const id = String(body["id"]);
  const waiting = await until(
    () => stack.api("GET", `/builds/${id}`),
    (answer) => answer.body["state"] === "waiting" || answer.body["state"] === "failed",
  );
  expect(waiting.body).toMatchObject({ state: "waiting", reason: "Send ***" });
  const [question = ""] = waiting.body["questions"] as string[];
  await stack.api("POST", `/builds/${id}/answers/${question}`, { option: "no" });
  const told = await events(id);
  const text = JSON.stringify(told);
  expect((await stack.api("GET", `/projects/${slug}/logs?step=agent`)).body).toMatchObject({
    lines: expect.arrayContaining([expect.objectContaining({ stream: "stderr", text: "***" })]),
  });
  expect(text).toContain("It is ");
  expect(text).toContain("curl -u ***");
  const encoded = Buffer.from(`user:${secret}`).toString("base64").slice(8, -3);
  const shown = [
    text,
    JSON.stringify((await stack.api("GET", `/projects/${slug}`)).body),
    await logText(slug),
  ];
  for (const all of shown)
    for (const form of [secret, secret.slice(5), encoded]) expect(all).not.toContain(form);
});

test("a secret that is too short to be masked, and a variable of the runner's, are refused", async () => {
  const slug = await newProject();
  const set = async (variable: object) =>
    (await stack.api("PUT", `/projects/${slug}/env`, { variables: [variable] })).body;
  expect(await set({ name: "PIN", value: "1234", secret: true })).toMatchObject({
    code: "invalid_request",
    detail: expect.stringContaining("PIN is too short"),
  });
  expect(await set({ name: "PORT", value: "80" })).toMatchObject({ detail: "is set by the runner" });
});

test("files are listed, read, written, found and deleted", async () => {
  const slug = await newProject();
  await put(slug, "src/a b%.ts", "one\nconst needle = 1;\n");
  await put(slug, "node_modules/pkg/index.js", "needle");
  const bytes = Buffer.from([0, 255, 1]).toString("base64");
  await stack.api("PUT", `/projects/${slug}/files/src%2Fdata.bin`, { content: bytes, encoding: "base64" });
  expect((await stack.api("GET", `/projects/${slug}/files?path=src`)).body).toEqual({
    path: "src",
    files: [
      { name: "a b%.ts", path: "src/a b%.ts", type: "file", size: 22 },
      { name: "data.bin", path: "src/data.bin", type: "file", size: 3 },
    ],
    truncated: false,
  });
  const read = (path: string) => stack.api("GET", `/projects/${slug}/files/${path}`);
  expect((await read("src/data.bin")).body).toMatchObject({ content: bytes, encoding: "base64" });
  expect((await read("src/a%20b%25.ts")).body).toMatchObject({ content: "one\nconst needle = 1;\n" });
  expect((await stack.api("GET", `/projects/${slug}/search?text=needle`)).body).toEqual({
    matches: [{ path: "src/a b%.ts", line: 2, text: "const needle = 1;" }],
    truncated: false,
  });
  expect((await stack.api("GET", `/projects/${slug}/search?name=*.BIN`)).body).toEqual({
    matches: [{ path: "src/data.bin" }],
    truncated: false,
  });
  expect((await stack.api("DELETE", `/projects/${slug}/files/src`)).body).toMatchObject({ existed: true });
  expect((await read("src/data.bin")).body).toMatchObject({ code: "unknown_file" });
  expect((await read("")).status).toBe(404);
});

test("nothing outside a project is read, written, found or deleted", async () => {
  const slug = await newProject();
  await put(slug, "inside.txt", "here");
  await symlink("/etc", join(runner.workspace, slug, "out"));
  await symlink("../..", join(runner.workspace, slug, "up"));
  for (const path of ["out/passwd", "up/x", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd"]) {
    for (const [method, body] of [["GET"], ["PUT", { content: "x" }], ["DELETE"]] as const) {
      const answer = await stack.api(method, `/projects/${slug}/files/${path}`, body);
      expect([path, method, answer.body["code"]]).toEqual([path, method, "path_outside_project"]);
    }
  }
  expect((await stack.api("GET", `/projects/${slug}/files?path=out`)).status).toBe(403);
  expect((await stack.api("GET", `/projects/${slug}/search?text=root`)).body).toMatchObject({ matches: [] });
});

test("changes of files are told as they happen", async () => {
  const slug = await newProject();
  await put(slug, "kept.txt", "1");
  const reading = new AbortController();
  const seen: FileChanges[] = [];
  let isReady = false;
  const done = (async () => {
    for await (const { event, data } of readEvents(
      await stream(`/projects/${slug}/changes`, reading.signal),
    )) {
      if (event === "ready") isReady = true;
      if (event === "files") seen.push(JSON.parse(data) as FileChanges);
    }
  })().catch(() => undefined); // the test leaves
  await until(
    () => isReady,
    (ready) => ready,
  );
  await writeFile(join(runner.workspace, slug, "kept.txt"), "2");
  await put(slug, "new/deep/file.txt", "3");
  await put(slug, "node_modules/x.js", "4");
  await stack.api("DELETE", `/projects/${slug}/files/kept.txt`);
  await until(
    () => seen.flatMap(({ changed, deleted }) => [...changed, ...deleted.map((path) => `-${path}`)]),
    (paths) => paths.includes("new/deep/file.txt") && paths.includes("-kept.txt"),
  );
  expect(JSON.stringify(seen)).not.toMatch(/node_modules|\.tmp/);
  reading.abort();
  await done;
});

test("a project's log is followed, and read by what wrote it", async () => {
  const slug = await newProject();
  const reading = new AbortController();
  const lines: string[] = [];
  const done = (async () => {
    const response = await stream(`/projects/${slug}/logs?follow=1&step=start`, reading.signal);
    for await (const { data } of readEvents(response))
      lines.push(...(JSON.parse(data) as { lines: { text: string }[] }).lines.map(({ text }) => text));
  })().catch(() => undefined); // the test leaves
  await put(slug, "index.html", "<p>hello</p>");
  await stack.api("POST", `/projects/${slug}/dev-server`);
  await until(
    () => lines,
    (all) => all.some((line) => line.startsWith("$ signalbox-runner static .")),
  );
  reading.abort();
  await done;
  const { body } = await stack.api("GET", `/projects/${slug}/logs?step=install`);
  expect(body).toMatchObject({ lines: [] });
  const rest = await stack.api("GET", `/projects/${slug}/logs?cursor=${String(body["cursor"])}`);
  expect(rest.body).toMatchObject({ lines: [], cursor: body["cursor"] });
});

test("the command line sets variables, works with files and reads logs", async () => {
  const slug = await newProject();
  const run = async (args: string[], input = "") => {
    const { code, stdout, stderr } = await operator.run(args, { input });
    expect([args.join(" "), code, stderr.replace(/^There .*\n/, "")]).toEqual([args.join(" "), 0, ""]);
    return stdout;
  };
  await run(["projects", "env", "set", slug, "TOKEN", "--secret"], "from-standard-input\n");
  await run(["projects", "env", "set", slug, "MODE=a=b", "--for", "dev"]);
  const listed = await run(["projects", "env", "list", slug]);
  expect(listed).toMatch(/MODE +dev +no[^]*TOKEN +both +yes/);
  expect(listed).not.toContain("from-standard");
  expect(JSON.parse(await run(["projects", "env", "unset", slug, "MODE", "--json"]))).toMatchObject({
    variables: [{ name: "TOKEN" }],
  });
  await writeFile(join(operator.directory, "server.js"), `console.log("it is", process.env.TOKEN);${SERVER}`);
  await run(["files", "put", slug, "server.js", "server.js"]);
  await run(["files", "put", slug, "package.json"], '{"scripts":{"dev":"node server.js"}}');
  expect(await run(["files", "cat", slug, "package.json"])).toBe('{"scripts":{"dev":"node server.js"}}');
  expect(await run(["files", "ls", slug])).toMatch(/package\.json +36 B\nserver\.js/);
  expect(await run(["files", "search", slug, "createServer"])).toMatch(/^server\.js:5:/);
  await run(["dev", "start", slug]);
  const logs = await until(
    () => run(["dev", "logs", slug]),
    (text) => text.includes("it is"),
  );
  expect(logs).toContain("it is ***");
  expect(await run(["dev", "stop", slug])).toContain("stopped");
  await run(["files", "rm", slug, "server.js", "--yes"]);
  expect(await run(["files", "ls", slug])).not.toContain("server.js");
});

test("no secret of the runner is shown by a project's agent", async () => {
  const slug = await newProject();
  const { body } = await stack.api("POST", `/projects/${slug}/builds`, { prompt: `page ${RUNNER_SECRET}` });
  expect(JSON.stringify(await events(String(body["id"])))).not.toContain(RUNNER_SECRET);
  expect(JSON.stringify(body)).not.toContain(RUNNER_SECRET);
});

test("a write that says what it replaces leaves a file alone that is another by now", async () => {
  const slug = await newProject();
  const write = (content: string, replaces?: unknown) =>
    stack.api("PUT", `/projects/${slug}/files/a.txt`, {
      content,
      ...(replaces !== undefined && { replaces }),
    });
  const { body: first } = await write("one\n", null);
  expect(await stack.api("GET", `/projects/${slug}/files/a.txt`)).toMatchObject({
    body: { content: "one\n", sha256: first["sha256"] },
  });
  expect((await write("two\n", first["sha256"])).status).toBe(200);
  for (const replaces of [first["sha256"], null])
    expect(await write("three\n", replaces)).toMatchObject({
      status: 409,
      body: { code: "changed_meanwhile" },
    });
  expect(await readFile(join(runner.workspace, slug, "a.txt"), "utf8")).toBe("two\n");
});

test("a runner says which agents it can start, and what mends the others", async () => {
  const { status, body } = await stack.api("GET", "/runners/keeper/agents");
  expect(status).toBe(200);
  const agents = body["agents"] as { name: string; isDefault: boolean; fault: object | null }[];
  expect(agents.filter(({ isDefault }) => isDefault)).toEqual([
    { name: "custom", isDefault: true, fault: null },
  ]);
  expect(agents.find(({ name }) => name === "template")).toMatchObject({ fault: null });
  expect(agents.find(({ name }) => name === "claude")?.fault).toEqual({
    missing: expect.any(String),
    remedy: expect.any(String),
  });
  expect((await stack.api("GET", "/runners/nobody/agents")).body).toMatchObject({ code: "runner_offline" });
});
