import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { jsonLines, Operator, type CliResult } from "../helpers/cli.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, OPERATOR_NAME, startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Every command once with `--json` and pipes, and once in a pseudo-terminal, on a real stack with a real runner. */

const EXAMPLE = join(projectRoot, "examples/plain-http");
const APP = ["--app", "plain-http"];

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "builder" });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  for (const id of ["one", "two", "three"]) await deployed(id);
});

afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
});

async function deployed(id: string, ...flags: string[]): Promise<void> {
  const { code, stderr } = await operator.run(["deploy", EXAMPLE, "--id", id, "--json", ...flags]);
  if (code !== 0) throw new Error(stderr);
}

/** A run that must succeed, and its one JSON document. */
async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await operator.run([...args, "--json"], { input: "" });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** A run in a terminal that must succeed; answers the screen. */
async function screen(...args: string[]): Promise<string> {
  const { code, stdout } = await operator.inTerminal(args).ended;
  expect(code, stdout).toBe(0);
  return stdout;
}

async function app(): Promise<Record<string, unknown>> {
  return (await stack.api("GET", "/apps/plain-http")).body;
}

describe("deploy", () => {
  test("--json: a line for each step, the last one is the result", async () => {
    const { code, stdout } = await operator.run(["deploy", EXAMPLE, "--json", "--name", "line"]);
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    const done = lines.filter(({ type, status }) => type === "step" && status === "done");
    expect(done.map(({ step }) => step)).toEqual(["pack", "upload", "provision", "verify", "promote"]);
    expect(lines.filter(({ type }) => type === "log").length).toBeGreaterThan(0);
    expect(lines.at(-1)).toMatchObject({ type: "result", app: "plain-http", state: "active", failure: null });
    expect(lines.at(-1)?.["id"]).toMatch(/^line-\d{6}-\d{6}$/);
  });

  test("in a terminal: a source that the runner has isn't sent again, and the address is shown", async () => {
    const shown = await screen("deploy", EXAMPLE, "--id", "seen");
    expect(shown).toContain("upload     runner builder has it already");
    expect(shown).toMatch(/✓ verify/);
    expect(shown).toContain("│ plain-http dev listening");
    expect(shown).toMatch(/plain-http seen is active {2}http:\/\//);
  });

  test("the address that was shown serves", async () => {
    const { stdout } = await operator.run(["open", "--print", ...APP]);
    const response = await stack.request(new URL(stdout.trim()).host, "/version");
    expect(response).toMatchObject({ status: 200, text: "dev\n" });
  });

  test("--dry-run names the files and changes nothing", async () => {
    const before = await app();
    const { stdout } = await operator.run(["deploy", EXAMPLE, "--dry-run", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      target: "runner",
      files: ["README.md", "package.json", "server.mjs", "signalbox.json"],
    });
    expect(await app()).toEqual(before);
  });

  test("--detach ends at once, and --resume follows to the end", async () => {
    const { stdout } = await operator.run(["deploy", EXAMPLE, "--id", "later", "--detach", "--json"]);
    expect(jsonLines(stdout).at(-1)).toMatchObject({ id: "later", state: "pending" });
    const shown = await screen("deploy", "--resume", "--id", "later", ...APP);
    expect(shown).toContain("✓ provision");
    expect(shown).toContain("plain-http later is active");
  });

  test("a deployment that fails ends with 1, the reason and its last lines", async () => {
    const args = ["deploy", EXAMPLE, "--id", "broken", "--start", "echo no such setting; exit 3"];
    const failed = await operator.inTerminal(args).ended;
    expect(failed.code).toBe(1);
    expect(failed.stdout).toContain("The last lines of its log:");
    expect(failed.stdout).toContain("│ no such setting");
    expect(failed.stdout).toMatch(/signalbox: Deployment broken of plain-http failed/);
    const piped = await operator.run([...args.with(3, "broken-too"), "--json"]);
    expect(piped.code).toBe(1);
    expect(jsonLines(piped.stdout).at(-1)).toMatchObject({ type: "result", state: "failed" });
    expect(JSON.parse(piped.stderr)).toMatchObject({ error: { code: "deployment_failed", exitCode: 1 } });
  });
});

test("status", async () => {
  expect(await json("status", ...APP)).toMatchObject({ name: "plain-http", active: "later" });
  const shown = await screen("status", ...APP, "--all");
  expect(shown).toMatch(/later +active/);
  expect(shown).toMatch(/broken +failed/);
});

test("logs", async () => {
  const { code, stdout } = await operator.run(["logs", ...APP, "--json"]);
  expect(code).toBe(0);
  const lines = jsonLines(stdout);
  expect(lines.some(({ text }) => String(text).startsWith("plain-http dev listening"))).toBe(true);
  expect(lines.at(-1)).toMatchObject({ type: "result", id: "later" });
  const started = jsonLines((await operator.run(["logs", ...APP, "--phase", "start", "--json"])).stdout);
  expect(started.length).toBeGreaterThan(1);
  for (const written of started.slice(0, -1)) expect(written).toMatchObject({ type: "log", step: "start" });
  const shown = await screen("logs", "later", ...APP, "--timestamps", "-n", "1");
  expect(shown).toMatch(/^\d{4}-\d\d-\d\dT\S+ \S/);
  expect(shown.trim().split("\n")).toHaveLength(1);
});

test("logs --follow shows what comes, and Ctrl-C ends it", async () => {
  const code = `setInterval(() => console.log("tick " + Date.now()), 100);
require("node:http").createServer((_, response) => response.end("up")).listen(process.env.PORT)`;
  const directory = await mkdtemp(join(tmpdir(), "signalbox-ticking-"));
  await writeFile(join(directory, "server.cjs"), code);
  const flags = ["--app", "ticking", "--contract", "none", "--start", "node server.cjs"];
  expect((await operator.run(["deploy", directory, ...flags])).code).toBe(0);
  await rm(directory, { recursive: true, force: true });
  const following = operator.inTerminal(["logs", "--follow", "--app", "ticking", "-n", "1"]);
  await until(
    () => following.output().match(/tick \d+/g)?.length ?? 0,
    (count) => count > 5,
  );
  following.child.stdin?.write("\u0003");
  const { code: ended, stdout } = await following.ended;
  expect(ended).toBe(130);
  expect(stdout).not.toContain("signalbox:");
});

test("rollback, and back", async () => {
  const { active, previous } = (await app()) as { active: string; previous: { id: string } };
  expect(await json("rollback", ...APP)).toMatchObject({ active: previous.id });
  expect(await screen("rollback", ...APP)).toContain(
    `plain-http ${active} is active again, instead of ${previous.id}`,
  );
});

test("promote", async () => {
  await deployed("waiting", "--no-promote");
  expect((await app())["active"]).toBe("later");
  expect(await json("promote", "waiting", ...APP)).toMatchObject({ id: "waiting", state: "active" });
  expect(await screen("promote", "later", ...APP)).toContain("plain-http later is active");
});

test("canary set and off", async () => {
  await deployed("bird", "--no-promote");
  expect(await json("canary", "set", "bird", "10", ...APP)).toMatchObject({
    canary: { id: "bird", weight: 10 },
  });
  expect(await json("canary", "off", ...APP)).toMatchObject({ canary: null });
  expect(await screen("canary", "set", "bird", "25%", ...APP)).toContain(
    "25 % of the new visitors of plain-http get bird",
  );
  expect(await screen("status", ...APP)).toContain("ready, canary 25 %");
  expect(await screen("canary", "off", ...APP)).toContain("All new visitors of plain-http get later");
});

test("pause and resume", async () => {
  expect(await json("pause", "--mode", "refuse", "--message", "Back soon.", ...APP)).toMatchObject({
    paused: { mode: "refuse", message: "Back soon." },
  });
  expect(await json("resume", ...APP)).toMatchObject({ paused: null });
  expect(await screen("pause", ...APP)).toContain("plain-http is paused. Requests wait until");
  expect(await screen("resume", ...APP)).toContain("plain-http serves again");
});

test("redeploy", async () => {
  const { code, stdout } = await operator.run(["redeploy", ...APP, "--json"]);
  expect(code).toBe(0);
  const lines = jsonLines(stdout);
  // Only this build's progress, not the first one's.
  expect(
    lines.filter(({ type, status }) => type === "step" && status === "done").map(({ step }) => step),
  ).toEqual(["redeploy"]);
  expect(lines.at(-1)).toMatchObject({ type: "result", id: "later", state: "active" });
  expect(await screen("redeploy", "bird", ...APP)).toContain("plain-http bird is ready");
});

test("delete asks in a terminal, and needs --yes elsewhere", async () => {
  const silent = await operator.run(["delete", "bird", ...APP, "--json"]);
  expect(silent.code).toBe(2);
  expect(JSON.parse(silent.stderr)).toMatchObject({ error: { code: "needs_yes" } });
  const declined = await answering("n", ["delete", "bird", ...APP]);
  expect(declined).toMatchObject({ code: 1 });
  expect(declined.stdout).toContain("Nothing was changed.");
  const agreed = await answering("y", ["delete", "bird", ...APP]);
  expect(agreed.code, agreed.stdout).toBe(0);
  expect(agreed.stdout).toContain("plain-http bird leaves");
  expect(await json("delete", "waiting", "--yes", ...APP)).toMatchObject({
    id: "waiting",
  });
});

/** Types an answer once the question is there. */
async function answering(answer: string, args: string[]): Promise<CliResult> {
  const running = operator.inTerminal(args);
  await until(
    () => running.output(),
    (output) => output.includes("?"),
  );
  running.child.stdin?.write(answer);
  return running.ended;
}

test("delete --deployment-name takes the one deployment with a name; several are named with the way to say which", async () => {
  const name = ["delete", "--deployment-name", "twin", ...APP];
  await operator.run(["deploy", EXAMPLE, "--name", "twin", "--no-promote"]);
  await operator.run(["deploy", EXAMPLE, "--name", "twin", "--no-promote"]);
  const ambiguous = await operator.inTerminal(name).ended;
  expect(ambiguous.code).toBe(7);
  const ids = [...ambiguous.stdout.matchAll(/signalbox delete (twin-\d{6}-\d{6}) --app plain-http/g)];
  expect(ids).toHaveLength(2);
  const piped = await operator.run([...name, "--json", "--yes"]);
  expect(JSON.parse(piped.stderr)).toMatchObject({ error: { code: "ambiguous_name", exitCode: 7 } });
  const [first = "", second = ""] = ids.map(([, id]) => id ?? "");
  await json("delete", first, "--yes", ...APP);
  // What leaves already doesn't count any more.
  expect(await json(...name, "--yes")).toMatchObject({ id: second, name: "twin" });
  expect((await operator.run([...name, "--yes"])).code).toBe(6);
});

test("delete --wait ends when the deployment is gone", async () => {
  await stack.api("PUT", "/apps/plain-http", {
    contract: "none",
    healthPath: "/healthz",
    reloadGraceSeconds: 0,
  });
  await deployed("brief", "--no-promote");
  const shown = await screen("delete", "brief", "--wait", "--yes", ...APP);
  expect(shown).toContain("✓ remove");
  expect(shown).toContain("plain-http brief is removed.");
});

test("runners, drain, credentials and delete", async () => {
  expect(await json("runners")).toMatchObject({ runners: [{ id: "builder", state: "online" }] });
  expect(await screen("runners")).toMatch(/builder +online/);
  expect(await json("runners", "drain", "builder")).toMatchObject({ drainRequested: true });
  expect(await screen("runners", "drain", "builder", "--undo")).toContain("takes new work again");
  expect(await json("runners", "credentials", "spare", "--yes")).toMatchObject({ id: "spare" });
  expect(await screen("runners", "credentials", "spare", "--yes")).toMatch(/RUNNER_SHARED_SECRET=\S+/);
  expect(await screen("runners", "credentials", "spare", "--revoke", "--yes")).toContain(
    "no secret of its own",
  );
  expect(await json("runners", "delete", "spare", "--yes")).toMatchObject({ id: "spare" });
  expect((await operator.inTerminal(["runners", "delete", "spare", "--yes"]).ended).code).toBe(6);
});

test("janitor run reports its decisions, and janitor last shows the report again", async () => {
  expect(await json("janitor", "run", "--dry-run")).toMatchObject({ dryRun: true, outcome: "completed" });
  expect(await screen("janitor", "run")).toContain("DECISION");
  expect(await json("janitor", "last")).toMatchObject({ stale: false, report: { dryRun: false } });
  expect(await screen("janitor", "last")).toContain("completed");
  // What it saw is shown with what drains.
  const { deployments } = await json("status", ...APP);
  expect(deployments).toContainEqual(
    expect.objectContaining({
      state: "draining",
      drain: expect.objectContaining({ reason: "sessions_unknown" }),
    }),
  );
  expect(await screen("status", ...APP)).toMatch(/left at most; \d+ s ago: the app has no contract/);
});

test("open", async () => {
  expect(await json("open", "--app", "ticking")).toEqual({ url: `http://ticking.localhost:${stack.port}/` });
  const browser = join(operator.directory, "browser");
  await writeFile(browser, `#!/bin/sh\necho "$1" > "$0.opened"\n`, { mode: 0o755 });
  const opened = await operator.inTerminal(["open", "--dashboard"], { env: { BROWSER: browser } }).ended;
  expect(opened.stdout).toContain(`${stack.origin}/_signalbox/`);
  const seen = await until(
    () => readFile(`${browser}.opened`, "utf8").catch(() => ""),
    (text) => text !== "",
  );
  expect(seen).toBe(`${stack.origin}/_signalbox/\n`);
  await stack.restart({ OPERATOR_HOST: OPERATOR_NAME });
  expect(await json("open", "--dashboard")).toEqual({ url: stack.dashboard });
  await stack.restart();
  // The runner comes back by itself, in its own time.
  await until(
    async () => JSON.stringify((await stack.api("GET", "/runners")).body),
    (runners) => runners.includes('"online"'),
  );
});

test("doctor finds nothing wrong, or says what and how to mend it", async () => {
  // The runner may still be on its way back from the restart before, whatever its record says.
  await until(
    async () => (await operator.inTerminal(["doctor"]).ended).stdout,
    (shown) => shown.includes("Nothing is wrong."),
  );
  await until(
    async () => (await operator.run(["doctor", "--json"])).stdout,
    (answer) => (JSON.parse(answer) as { ok: boolean }).ok,
  );
  const ill = await operator.inTerminal(["doctor"], { env: { SIGNALBOX_TOKEN: "not-the-token" } }).ended;
  expect(ill.code).toBe(1);
  expect(ill.stdout).toMatch(/✗ token[^]*SIGNALBOX_TOKEN/);
});

test("login keeps a token for its server, by keyboard or by pipe, and forgets it", async () => {
  const stranger = await Operator.create(null);
  const server = ["--server", stack.origin];
  const piped = await stranger.run(["login", ...server, "--json"], { input: `${CONTROL_TOKEN}\n` });
  expect(piped).toMatchObject({ code: 0, stderr: "" });
  expect((await stranger.run(["status", ...APP])).code).toBe(0);
  expect((await stranger.inTerminal(["login", "--remove"]).ended).stdout).toContain("is forgotten");
  const typing = stranger.inTerminal(["login", ...server]);
  await until(
    () => typing.output(),
    (output) => output.includes("Control token"),
  );
  typing.child.stdin?.write(`${CONTROL_TOKEN}\r`);
  const { code, stdout } = await typing.ended;
  expect(code, stdout).toBe(0);
  expect(stdout).not.toContain(CONTROL_TOKEN);
  expect((await stranger.run(["status", ...APP])).code).toBe(0);
  const wrong = await stranger.run(["login", ...server, "--json"], { input: "wrong\n" });
  expect(wrong.code).toBe(4);
  await stranger.remove();
});

test("completion", async () => {
  expect(await json("completion", "fish")).toMatchObject({ shell: "fish" });
  expect(await screen("completion", "zsh")).toContain("#compdef signalbox");
});
