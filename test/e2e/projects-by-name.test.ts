import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Operator } from "../helpers/cli.ts";
import { type RunnerProcess, startRunner } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "studio" });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
});

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await operator.run([...args, "--json"], { input: "" });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function project(slug: string): Promise<void> {
  expect((await stack.api("POST", "/projects", { slug })).status).toBe(201);
  const content = { content: `<h1>${slug}</h1>`, encoding: "utf8" };
  expect((await stack.api("PUT", `/projects/${slug}/files/index.html`, content)).status).toBe(200);
}

test("a project that is deleted but for its files leaves them beside the projects, and its slug is free", async () => {
  await project("bakery");
  const gone = await json("projects", "delete", "bakery", "--keep-files", "--yes");
  const kept = String(gone["kept"]);
  expect(kept).toMatch(new RegExp(`^${runner.workspace}/bakery\\.kept-`));
  expect(await readFile(join(kept, "index.html"), "utf8")).toContain("bakery");
  expect((await stack.api("GET", "/projects/bakery")).status).toBe(404);

  await project("bakery");
  expect(await json("projects", "delete", "bakery", "--yes")).toMatchObject({ slug: "bakery", kept: null });
  await expect(stat(join(runner.workspace, "bakery"))).rejects.toThrow("ENOENT");
  expect(await readFile(join(kept, "index.html"), "utf8")).toContain("bakery");
});

test("an operator asks a runner for its cleanup", async () => {
  const report = await json("runners", "cleanup", "studio", "--dry-run");
  expect(report).toMatchObject({ dryRun: true, freedBytes: 0, cleaned: [], spared: [] });
  const { stdout } = await operator.run(["runners", "cleanup", "studio"], { input: "" });
  expect(stdout).toBe("Nothing is over its limit.\n");
  expect((await stack.api("POST", "/runners/nobody/cleanup", {})).status).toBe(404);
});

test("bash completes names that the server knows, and nothing where there is no server", async () => {
  await project("alpha");
  await project("beta");
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
  const complete = async (env: string, ...words: string[]): Promise<string[]> => {
    const line = [
      `signalbox() { ${env} '${process.execPath}' '${operator.entry}' "$@"; }`,
      `eval "$(signalbox completion bash)"`,
      `COMP_WORDS=(signalbox ${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length}`,
      `_signalbox; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ].join("\n");
    const { stdout } = await operator.shell(`bash -c '${line.replaceAll("'", `'\\''`)}'`);
    return stdout.trim().split("\n");
  };
  expect(await complete("", "projects", "show", "")).toEqual(["alpha", "beta"]);
  expect(await complete("", "projects", "show", "b")).toEqual(["beta"]);
  expect(await complete("", "runners", "drain", "")).toEqual(["studio"]);
  expect(await complete("", "projects", "create", "--runner", "")).toEqual(["studio"]);
  expect(await complete("", "logs", "--app", "")).toEqual(["shop"]);
  expect(await complete("SIGNALBOX_URL=http://127.0.0.1:9", "projects", "show", "b")).toEqual([""]);
});
