import { execFile } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { runnerFile } from "../helpers/build-worker.ts";
import { type CliProcess, Operator } from "../helpers/cli.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
const DOWN = "\u001b[B";

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;
let builds: BuildsOf;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "builder", env: { RUNNER_AGENT: AGENT } });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  builds = new BuildsOf(stack);
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
});

test("a question is asked in the terminal, and the answer goes to the agent", async () => {
  const slug = await builds.newProject();
  const cli = operator.inTerminal(["build", slug, "permission"]);
  await choose(cli, "No");
  const { code, stdout } = await cli.ended;
  expect(stdout).toContain('I was told {"outcome":"selected","optionId":"no"}');
  expect(code).toBe(0);
});

test("Ctrl-C in a terminal asks, and cancels the build where that is the answer", async () => {
  const slug = await builds.newProject();
  const cli = operator.inTerminal(["build", slug, "hang"]);
  const id = await until(
    () => /Build (\S+)/.exec(cli.output())?.[1] ?? "",
    (found) => found !== "",
  );
  await until(
    () => builds.view(id),
    ({ state }) => state === "running",
  );
  cli.child.stdin?.write("\u0003");
  await choose(cli, "Cancel it");
  expect((await cli.ended).code).toBe(1);
  expect(await builds.view(id)).toMatchObject({ state: "cancelled", reason: "operator cancelled it." });
});

test("Ctrl-C without a terminal leaves the build running", async () => {
  const slug = await builds.newProject();
  const cli = operator.start(["build", slug, "hang"]);
  const id = await until(
    () => /Build (\S+)/.exec(cli.output())?.[1] ?? "",
    (found) => found !== "",
  );
  await until(
    () => builds.view(id),
    ({ state }) => state === "running",
  );
  cli.child.kill("SIGINT");
  await cli.ended;
  expect(await builds.view(id)).toMatchObject({ state: "running" });
  await stack.api("POST", `/builds/${id}/cancel`);
});

test("diff shows what a build changed, undo takes it back", async () => {
  const slug = await builds.newProject();
  const id = await builds.begin(slug, "files a.txt=one");
  await builds.events(id);
  expect((await operator.run(["diff", id])).stdout).toBe("added a.txt\n@@ -0,0 +1,1 @@\n+one\n");
  expect(JSON.parse((await operator.run(["undo", slug, "--json"])).stdout)).toEqual({
    id,
    restored: ["a.txt"],
    kept: [],
  });
  expect((await operator.run(["undo", slug])).stderr).toContain("is left to undo");
});

test("runner agents says for each agent what is missing, and how to mend it", async () => {
  const env = { RUNNER_AGENT: "claude", RUNNER_AGENTS: JSON.stringify({ mine: { command: AGENT } }) };
  const { code, stdout } = await agentsOf(env, "--json");
  expect(code).toBe(1); // the default can't run
  const { agents } = JSON.parse(stdout) as { agents: Record<string, unknown>[] };
  expect(agents.find(({ name }) => name === "claude")).toMatchObject({
    isDefault: true,
    installed: false,
    login: "missing",
    remedy: "npm install -g @agentclientprotocol/claude-agent-acp",
  });
  expect(agents.find(({ name }) => name === "mine")).toMatchObject({ installed: true, missing: null });
  expect(agents.find(({ name }) => name === "template")).toMatchObject({ installed: true, login: "none" });
  const asText = await agentsOf({ ...env, RUNNER_AGENT: "mine" });
  expect(asText.code).toBe(0);
  expect(asText.stdout).toMatch(/\* mine +installed/);
  expect(asText.stdout).toContain("→ npm install -g @google/gemini-cli");
});

/** Goes down until this is chosen: what is typed before a prompt listens is lost. */
async function choose(cli: CliProcess, label: string): Promise<void> {
  const chosen = (): string => cli.output().split("●").slice(1).at(-1)?.trimStart() ?? "";
  await until(chosen, (shown) => shown !== "");
  while (!chosen().startsWith(label)) {
    const before = cli.output().length;
    cli.child.stdin?.write(DOWN);
    // One that isn't drawn was lost.
    const drawn = until(
      () => cli.output().length,
      (length) => length > before,
      2_000,
    );
    await drawn.catch(() => undefined);
  }
  cli.child.stdin?.write("\r");
}

/** What `signalbox runner agents` becomes. */
function agentsOf(
  env: Record<string, string>,
  ...flags: string[]
): Promise<{ code: unknown; stdout: string }> {
  const args = [runnerFile, "runner", "agents", ...flags];
  const PATH = process.env["PATH"] ?? "";
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env: { PATH, ...env } }, (error, stdout) =>
      resolve({ code: error?.code ?? 0, stdout }),
    );
  });
}
