import { connect } from "node:net";
import { once } from "node:events";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

let root: string;
let runner: UnconnectedRunner;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-hold-"));
  runner = await UnconnectedRunner.start({ root, confinement: { level: "none" } });
});
afterAll(async () => {
  await runner?.stop();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
});

async function create(slug: string): Promise<string> {
  expect((await runner.json("PUT", `/projects/${slug}`, { name: "A", agent: null })).status).toBe(200);
  return join(root, slug);
}

const hold = (slug: string, held: boolean) => runner.json("POST", `/projects/${slug}/hold`, { held });

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** A commit that has begun, and ends when the file `go` is there. */
async function slowCommit(
  slug: string,
): Promise<{ project: string; committed: Promise<{ status: number }> }> {
  const project = await create(slug);
  expect((await runner.json("POST", `/projects/${slug}/git/init`)).status).toBe(200);
  await writeFile(join(project, "index.html"), "1");
  const hook = `#!/bin/sh\ntouch "${project}/begun"\nuntil [ -e "${project}/go" ]; do sleep 0.05; done\n`;
  await writeFile(join(project, ".git/hooks/pre-commit"), hook, { mode: 0o755 });
  const committed = runner.json("POST", `/projects/${slug}/git/commit`, { message: "Work" });
  await until("the commit has begun", () => exists(join(project, "begun")));
  return { project, committed };
}

test("a move waits for a commit that had begun, and nothing begins meanwhile", async () => {
  const { project, committed } = await slowCommit("commits");
  let isHeld = false;
  const held = hold("commits", true).finally(() => (isHeld = true));
  const file = { content: "late", encoding: "utf8" };
  await until("a write is refused", async () => {
    const { body } = await runner.json("PUT", "/projects/commits/file?path=late.txt", file);
    return body["code"] === "project_busy";
  });
  expect(isHeld).toBe(false);
  await writeFile(join(project, "go"), "");
  expect([(await committed).status, (await held).status]).toEqual([200, 200]);
  expect((await hold("commits", false)).status).toBe(200);
  const { body } = await runner.json("GET", "/projects/commits/git");
  expect(body["subject"]).toBe("Work");
});

test("a rename waits for a commit that had begun", async () => {
  const { project, committed } = await slowCommit("named");
  const renamed = runner.json("POST", "/projects/named/slug", { slug: "renamed" });
  await until("a write is refused", async () => {
    const { body } = await runner.json("DELETE", "/projects/named/file?path=nothing");
    return body["code"] === "project_busy";
  });
  await writeFile(join(project, "go"), "");
  expect((await committed).status).toBe(200);
  expect((await renamed).body).toMatchObject({ slug: "renamed" });
  expect((await runner.json("GET", "/projects/renamed/git")).body["subject"]).toBe("Work");
});

test.each([
  ["PUT", "/projects/uploads/file?path=late.txt", { content: "late", encoding: "utf8" }],
  ["PUT", "/projects/uploads/env", { variables: [{ name: "A", value: "1", secret: false, for: "dev" }] }],
  ["PUT", "/projects/uploads/git", { remote: null, branch: "other", pushAfterBuild: false }],
  ["POST", "/projects/uploads/git/commit", { message: "late" }],
  ["POST", "/projects/uploads/git/push", { message: null }],
])("%s %s whose body ends during a move is refused", async (method, path, body) => {
  if (!(await exists(join(root, "uploads")))) await create("uploads");
  const text = JSON.stringify(body);
  const socket = connect(Number(new URL(runner.origin).port), "127.0.0.1");
  socket.write(`${method} ${path} HTTP/1.1\r\nhost: runner\r\ncontent-length: ${text.length}\r\n\r\n`);
  socket.write(text.slice(0, 5));
  // The runner has the head: a request behind it on another socket was answered.
  await until(
    "the request is there",
    async () => (await runner.json("GET", "/projects/uploads")).status === 200,
  );
  expect((await hold("uploads", true)).status).toBe(200);
  socket.write(text.slice(5));
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect((await hold("uploads", false)).status).toBe(200);
  expect(String(answer)).toMatch(/^HTTP\/1.1 409 [^]*"project_busy"/);
});
