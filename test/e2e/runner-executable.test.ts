import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildExecutable, bundleRunner } from "../../scripts/build/runner.ts";
import { RUNNER_SECRET, startHub } from "../helpers/hub-client.ts";
import { runtimeCommand, startRunner, type Command } from "../helpers/runner.ts";

type Form = "bundle on Node" | "bundle on Deno" | "executable";
const forms: Form[] = ["bundle on Node", "bundle on Deno", "executable"];

let directory = "";
let bundle = "";
let executable = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "signalbox-build-"));
  bundle = await bundleRunner(directory);
  executable = await buildExecutable(bundle, directory);
});
afterAll(() => rm(directory, { recursive: true }));

function command(form: Form): Command {
  if (form === "executable") return [executable];
  return runtimeCommand(form === "bundle on Node" ? "node" : "deno", bundle);
}

test("the bundle is small, and the executable is one file", async () => {
  const [small, large] = [(await stat(bundle)).size, (await stat(executable)).size];
  console.log(
    `runner.mjs ${(small / 1024).toFixed(0)} KiB, executable ${(large / 1024 / 1024).toFixed(0)} MiB`,
  );
  expect(small).toBeLessThan(2.5 * 1024 * 1024);
  expect(large).toBeLessThan(200 * 1024 * 1024);
});

test.each(forms)("the %s connects, serves the tunnel and drains", async (form) => {
  const hub = await startHub();
  const startedAt = performance.now();
  const runner = await startRunner(hub, { command: command(form) });
  try {
    const link = await hub.connection(0);
    console.log(
      `${form}: connected after ${(performance.now() - startedAt).toFixed(0)} ms, ${runner.residentMiB().toFixed(0)} MiB`,
    );
    const stream = link.streams.request({ service: "@runner", path: "/nothing" });
    expect((await stream.head()).status).toBe(404);
    expect(JSON.parse((await stream.body()).toString())).toMatchObject({ code: "not_found" });
    const health = await runner.healthUrl();
    expect((await fetch(`${health}/ready`)).status).toBe(200);
    runner.signal("SIGTERM");
    expect(await link.end()).toMatchObject({ code: 1001 });
    expect(await runner.exited).toBe(0);
  } finally {
    await runner.remove();
    await hub.close();
  }
});

test.each(forms)("the %s shows its secrets in neither environment nor command line", async (form) => {
  const hub = await startHub();
  const env = { RUNNER_SHARED_SECRET: "", OTHER_SECRET: "a-secret-that-nobody-named" };
  const args = ["runner", "--sharedSecret", RUNNER_SECRET, "--anthropic-api-key=another-agent-key"];
  const runner = await startRunner(hub, { command: command(form), args, env });
  try {
    await hub.connection(0);
    const shown = ["environ", "cmdline"].map((file) =>
      readFileSync(`/proc/${runner.program.pid}/${file}`, "latin1"),
    );
    for (const secret of [RUNNER_SECRET, "another-agent-key", "agent-key-for-tests", env.OTHER_SECRET])
      expect(shown.join("\0").includes(secret), secret).toBe(false);
    expect(shown[0]).toMatch(/OTHER_SECRET=\*+\0/);
    expect(shown[0]).toContain(`RUNNER_ID=${runner.id}`);
    expect(runner.output()).not.toContain("can't be hidden");
  } finally {
    await runner.remove();
    await hub.close();
  }
});

test.each(forms)("the %s names every setting that is missing, once", async (form) => {
  const [program, ...args] = command(form);
  const running = promisify(execFile)(program, [...args, "runner"], {
    env: { PATH: process.env["PATH"] ?? "" },
  });
  await expect(running).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^Missing: RUNNER_SHARED_SECRET, RUNNER_BROKER_URL [^\n]+\n$/),
  });
});

test.each(forms)("the %s knows its version", async (form) => {
  const [program, ...args] = command(form);
  const { stdout } = await promisify(execFile)(program, [...args, "--version"]);
  expect(stdout).toBe("0.1.0\n");
});

test("a port that is taken and a workspace that can't be made are named", async () => {
  const hub = await startHub();
  const taken = await startRunner(hub, {
    command: command("executable"),
    env: { HEALTH_PORT: String(hub.port), NODE_ENV: "development" },
  });
  expect(await taken.exited).toBe(1);
  expect(taken.lines.at(-1)).toBe(`HEALTH_PORT ${hub.port} can't be listened on: EADDRINUSE.`);
  const homeless = await startRunner(hub, {
    command: command("executable"),
    env: { WORKSPACE_ROOT: join(bundle, "workspace"), RUNNER_SHARED_SECRET: RUNNER_SECRET },
  });
  expect(await homeless.exited).toBe(1);
  expect(homeless.lines.at(-1)).toMatch(/^WORKSPACE_ROOT .+runner\.mjs\/workspace can't be made: ENOTDIR\.$/);
  await taken.remove();
  await homeless.remove();
  await hub.close();
});

test.each(forms)("the %s puts itself in reach of its deployments, to serve files", async (form) => {
  const hub = await startHub();
  const runner = await startRunner(hub, { command: command(form) });
  const site = join(directory, "site");
  await mkdir(site, { recursive: true });
  await writeFile(join(site, "index.html"), "served");
  let serving: ChildProcess | undefined;
  try {
    await hub.connection(0);
    serving = spawn(join(runner.workspace, ".signalbox/bin/signalbox-runner"), ["static", "."], {
      cwd: site,
      env: { PATH: process.env["PATH"] ?? "", HOME: directory, PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const output = serving.stdout;
    if (output === null) throw new Error("Its output isn't piped.");
    const [line] = (await once(createInterface({ input: output }), "line")) as [string];
    const url = /http:\S+/.exec(line)?.[0] ?? "";
    expect(await (await fetch(url)).text()).toBe("served");
    const exited = once(serving, "exit");
    serving.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  } finally {
    serving?.kill("SIGKILL");
    await runner.remove();
    await hub.close();
  }
});
