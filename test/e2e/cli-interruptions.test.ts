import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { jsonLines, Operator } from "../helpers/cli.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";
import { startUnrulyProxy } from "../helpers/unruly-proxy.ts";

/** Rollouts that outlive the command line, its connection, or the server's process. */

const EXAMPLE = join(projectRoot, "examples/plain-http");
const APP = ["--app", "plain-http"];

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;
let gates: string;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "builder" });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  gates = await mkdtemp(join(tmpdir(), "signalbox-gates-"));
});

afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
  if (gates) await rm(gates, { recursive: true, force: true });
});

/** A deployment whose build goes on until its gate is opened. */
function gated(id: string): { args: string[]; open: () => Promise<void> } {
  const gate = join(gates, id);
  const build = `echo building ${id}; while [ ! -e ${gate} ]; do sleep 0.05; done; echo built ${id}`;
  return {
    args: ["deploy", EXAMPLE, "--id", id, "--build", build],
    open: () => writeFile(gate, ""),
  };
}

async function stateOf(id: string): Promise<unknown> {
  return (await stack.api("GET", `/apps/plain-http/deployments/${id}`)).body["state"];
}

test("the command line is killed mid-deploy: the rollout goes on, status shows it, deploy --resume follows it", async () => {
  const { args, open } = gated("killed");
  const running = operator.start([...args, "--json"]);
  await until(
    () => running.output(),
    (output) => output.includes("building killed"),
  );
  running.child.kill("SIGKILL");
  await running.ended;
  expect(await stateOf("killed")).toBe("pending");
  const status = await operator.inTerminal(["status", ...APP]).ended;
  expect(status.stdout).toMatch(/killed +pending/);

  const resumed = operator.start(["deploy", "--resume", ...APP, "--json"]);
  await until(
    () => resumed.output(),
    (output) => output.includes("building killed"),
  );
  await open();
  const { code, stdout } = await resumed.ended;
  expect(code).toBe(0);
  const lines = jsonLines(stdout);
  expect(lines.some(({ line }) => line === "built killed")).toBe(true);
  expect(lines.at(-1)).toMatchObject({ type: "result", id: "killed", state: "active" });

  const late = await operator.run(["deploy", "--resume", ...APP]);
  expect(late).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("No rollout of plain-http is under way"),
  });
});

test("Ctrl-C ends the command with 130 and says that the rollout goes on, and how to follow it", async () => {
  const { args, open } = gated("left");
  const running = operator.inTerminal(args);
  await until(
    () => running.output(),
    (output) => output.includes("building left"),
  );
  running.child.stdin?.write("\u0003");
  const { code, stdout } = await running.ended;
  expect(code).toBe(130);
  const follow = /signalbox (deploy --resume --app plain-http --id left) follows it/.exec(stdout)?.[1];
  expect(stdout).toContain("The rollout of left goes on");
  await open();
  const resumed = await operator.run(follow?.split(" ") ?? []);
  expect(resumed.code).toBe(0);
  expect(resumed.stdout).toContain("plain-http left is active");
});

test("a dropped connection is made again, and no line is lost or shown twice", async () => {
  const proxy = await startUnrulyProxy(stack.port);
  const { args, open } = gated("dropped");
  const far = ["--server", `http://127.0.0.1:${proxy.port}`, "--control-token", CONTROL_TOKEN];
  const running = operator.start([...args, ...far, "--json"]);
  await until(
    () => running.output(),
    (output) => output.includes("building dropped"),
  );
  proxy.cut("reset");
  await open();
  const { code, stdout } = await running.ended;
  expect(code).toBe(0);
  const lines = jsonLines(stdout);
  for (const text of ["building dropped", "built dropped"]) {
    expect(lines.filter(({ line }) => line === text)).toHaveLength(1);
  }
  expect(lines.filter(({ step, status }) => step === "verify" && status === "done")).toHaveLength(1);
  await proxy.close();
});

test("the server's process is killed and comes back: the command follows to the end", async () => {
  const { args, open } = gated("restarted");
  const running = operator.start([...args, "--json"]);
  await until(
    () => running.output(),
    (output) => output.includes("building restarted"),
  );
  await stack.restart();
  await open();
  const { code, stdout } = await running.ended;
  expect(code).toBe(0);
  const lines = jsonLines(stdout);
  expect(lines.filter(({ line }) => line === "built restarted")).toHaveLength(1);
  expect(lines.at(-1)).toMatchObject({ type: "result", state: "active" });
});

test("an upload that is cut off is begun again", async () => {
  const proxy = await startUnrulyProxy(stack.port);
  const directory = await mkdtemp(join(tmpdir(), "signalbox-large-"));
  // Random bytes don't compress, so that the upload takes its time.
  for (let index = 0; index < 400; index++) {
    await writeFile(join(directory, `data-${index}.bin`), crypto.getRandomValues(new Uint8Array(65_536)));
  }
  const far = ["--server", `http://127.0.0.1:${proxy.port}`, "--control-token", CONTROL_TOKEN];
  const args = ["deploy", directory, "--app", "large", "--id", "v1", "--contract", "none", "--json", ...far];
  const start = `node -e 'require("http").createServer((q, r) => r.end("up")).listen(process.env.PORT)'`;
  const running = operator.start([...args, "--start", start]);
  await until(
    () => running.output(),
    (output) => output.includes('"upload","status":"started"'),
  );
  proxy.cut("reset");
  const { code, stdout, stderr } = await running.ended;
  expect(code, stderr).toBe(0);
  expect(jsonLines(stdout).at(-1)).toMatchObject({ app: "large", state: "active" });
  await rm(directory, { recursive: true, force: true });
  await proxy.close();
});

test("Ctrl-C during a local build: nothing was deployed, and no archive is left behind", async () => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-preparing-"));
  const temporary = join(directory, "tmp");
  await mkdir(temporary);
  await writeFile(
    join(directory, "signalbox.json"),
    JSON.stringify({
      app: "unborn",
      start: "true",
      prepare: { command: "echo preparing; sleep 60", output: "." },
    }),
  );
  const running = operator.inTerminal(["deploy", directory, "--allow-prepare"], {
    env: { TMPDIR: temporary },
  });
  await until(
    () => running.output(),
    (output) => output.includes("│ preparing"),
  );
  running.child.stdin?.write("\u0003");
  const { code, stdout } = await running.ended;
  expect(code).toBe(130);
  expect(stdout).toContain("Interrupted. Nothing was deployed.");
  expect(await readdir(temporary)).toEqual([]);
  expect((await stack.api("GET", "/apps/unborn")).status).toBe(404);
  await rm(directory, { recursive: true, force: true });
});

test("Ctrl-C during an upload: nothing was deployed, and no archive is left behind", async () => {
  const proxy = await startUnrulyProxy(stack.port);
  const directory = await mkdtemp(join(tmpdir(), "signalbox-uploading-"));
  const temporary = join(directory, "tmp");
  const source = join(directory, "source");
  await mkdir(temporary);
  await mkdir(source);
  for (let index = 0; index < 200; index++) {
    await writeFile(join(source, `data-${index}.bin`), crypto.getRandomValues(new Uint8Array(65_536)));
  }
  const far = ["--server", `http://127.0.0.1:${proxy.port}`, "--control-token", CONTROL_TOKEN];
  const args = ["deploy", source, "--app", "cancelled", "--start", "true", ...far];
  const running = operator.inTerminal(args, { env: { TMPDIR: temporary } });
  await until(
    () => running.output(),
    (output) => output.includes("✓ pack"),
  );
  // Nothing arrives any more, so that it can't end by itself.
  proxy.mode = "stall";
  running.child.stdin?.write("\u0003");
  const { code, stdout } = await running.ended;
  expect(code).toBe(130);
  expect(stdout).toMatch(/Interrupted\. (?:Nothing was deployed|Whether the rollout has begun)/);
  expect(await readdir(temporary)).toEqual([]);
  await rm(directory, { recursive: true, force: true });
  await proxy.close();
});
