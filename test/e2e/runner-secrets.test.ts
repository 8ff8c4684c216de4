import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { credentialFile } from "../../runner/connection/credential-file.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { archiveOf } from "../helpers/archive.ts";
import { putApp } from "../helpers/deploy.ts";
import { startHub } from "../helpers/hub-client.ts";
import { descendants, newHome, removeHomes, start } from "../helpers/npm-start.ts";
import { Program } from "../helpers/program.ts";
import { startRunner } from "../helpers/runner.ts";
import { deploy, uploadSource } from "../helpers/runner-deployments.ts";
import { startTestStack, until } from "../helpers/stack.ts";

afterAll(removeHomes);

/** Nobody else on this machine has it. */
const unique = (name: string): string => `${name}-${randomBytes(12).toString("hex")}`;

/** An app that looks for texts, which it has turned round, in all that the system shows of processes. */
const HOSTILE = `
const { readdirSync, readFileSync } = require("node:fs");
const { execFileSync } = require("node:child_process");
const wanted = require("./wanted.json").map((text) => text.split("").toReversed().join(""));
function look() {
  const found = [];
  let processes = 0;
  const search = (where, text) => wanted.forEach((secret, n) => text.includes(secret) && found.push(where + " has " + n));
  for (const pid of readdirSync("/proc").filter((name) => /^\\d+$/.test(name)))
    for (const file of ["environ", "cmdline"]) {
      try { search(pid + "/" + file, readFileSync("/proc/" + pid + "/" + file, "latin1")); processes += 1; } catch {}
    }
  search("ps", execFileSync("ps", ["auxeww"], { maxBuffer: 1e9 }).toString());
  search("env", JSON.stringify(process.env));
  return { found, processes };
}
require("node:http").createServer((_, response) => response.end(JSON.stringify(look())))
  .listen(process.env.PORT, process.env.HOST);
`;

test("a hosted app finds no secret of its runner in any process, nor by ps", async () => {
  const [shared, agentKey, other] = [unique("shared"), unique("agent"), unique("other")];
  const stack = await startTestStack({ settings: { RUNNER_SHARED_SECRET: shared } });
  const runner = await startRunner(stack, {
    id: "spied-on",
    env: {
      RUNNER_SHARED_SECRET: shared,
      ANTHROPIC_API_KEY: agentKey,
      SENTRY_DSN: `http://${other}@127.0.0.1:9/1`,
      DATABASE_URL: `postgres://user:${other}@db.internal/`,
      HTTPS_PROXY: `http://user:${other}@127.0.0.1:9`,
    },
  });
  try {
    await runner.line("has a credential of its own");
    const own: unknown = JSON.parse(
      await readFile(credentialFile(runner.workspace, runner.id), "utf8"),
    ).secret;
    const control = { marker: unique("plain") };
    const secrets = [shared, agentKey, other, String(own), control.marker];
    const wanted = JSON.stringify(secrets.map((text) => text.split("").toReversed().join("")));
    await putApp(stack, "spy", { hosts: ["spy.test"] });
    const sha256 = await uploadSource(
      stack,
      runner.id,
      await archiveOf({ "spy.cjs": HOSTILE, "wanted.json": wanted }),
    );
    const plain = new Program([process.execPath, "-e", "setInterval(() => {}, 1000); console.log('up')"], {
      env: { SEEN_BY_ALL: control.marker },
    });
    await plain.line("up");
    await deploy(stack, "spy", "v1", {
      sha256,
      runnerId: runner.id,
      start: `exec "${process.execPath}" spy.cjs`,
    });
    await stack.control.until("spy", "v1", ["active"], 60_000);
    const { found, processes } = JSON.parse((await stack.request("spy.test", "/")).text);
    await plain.kill();
    expect(processes).toBeGreaterThan(0);
    // Where it is let see others at all, it sees what a program doesn't hide.
    expect(found.filter((line: string) => !line.endsWith(" has 4"))).toEqual([]);
    expect(runner.output()).not.toMatch(/can't be hidden|can read/);
  } finally {
    await runner.remove();
    await stack.stop();
  }
});

test("a runner says which process that started it still shows its secrets", async () => {
  const shared = unique("shared");
  const shell = new Program(
    ["/bin/sh", "-c", `"${process.execPath}" "${join(projectRoot, "runner/index.ts")}"; exit $?`],
    {
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: await newHome(),
        NODE_ENV: "production",
        HEALTH_PORT: "0",
        WORKSPACE_ROOT: join(await newHome(), "workspace"),
        RUNNER_SHARED_SECRET: shared,
        RUNNER_BROKER_URL: "ws://127.0.0.1:9/_signalbox/socket",
      },
    },
  );
  expect(await shell.line("others can read its secrets")).toContain(`from sh (${shell.pid})`);
  expect(shell.output()).not.toContain(shared);
  for (const pid of await descendants(shell.pid)) process.kill(pid, "SIGKILL");
  expect(await shell.exited).not.toBe(0);
});

test("a container's init shows no secret once its runner has started", async (context) => {
  try {
    execFileSync("unshare", ["--pid", "--fork", "--mount-proc", "true"], { stdio: "ignore" });
  } catch {
    context.skip("this host makes no process namespaces");
  }
  const shared = unique("shared");
  const directory = await mkdtemp(join(tmpdir(), "signalbox-init-"));
  // By its name the runner knows that the first process of a container only waits.
  await copyFile("/bin/sh", join(directory, "tini"));
  const hub = await startHub();
  const runner = await startRunner(hub, {
    command: [
      "unshare",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      join(directory, "tini"),
      "-c",
      `"${process.execPath}" "${join(projectRoot, "runner/index.ts")}" "$@" & tr '\\0' '\\n' </proc/1/environ; wait`,
      "tini",
    ],
    env: { RUNNER_SHARED_SECRET: shared },
  });
  try {
    await runner.line(`RUNNER_SHARED_SECRET=${shared}`);
    await runner.line("Connecting to broker");
    expect(runner.output()).not.toContain("tini (1)");
    for (const pid of await descendants(runner.program.pid)) {
      expect(await readFile(`/proc/${pid}/environ`, "latin1")).not.toContain(shared);
    }
  } finally {
    await runner.remove();
    await hub.close();
    await rm(directory, { recursive: true });
  }
});

test("no process of the local stack shows a secret of it, given or made", async () => {
  const given = { CONTROL_TOKEN: unique("control"), RUNNER_SHARED_SECRET: unique("shared") };
  const home = await newHome();
  const stack = start({ SIGNALBOX_HOME: home, ...given });
  await stack.ready;
  const local = JSON.parse(await readFile(join(home, "local.json"), "utf8"));
  const runner = JSON.parse(await readFile(credentialFile(join(home, "workspace"), "local"), "utf8"));
  // The internal token is in the environment of each app, which is how a backend knows Signalbox.
  const secrets = [...Object.values(given), runner.secret];
  expect([local.controlToken, local.runnerSharedSecret]).toEqual(Object.values(given));
  const pids = [stack.child.pid ?? 0, ...(await descendants(stack.child.pid ?? 0))];
  expect(pids.length).toBeGreaterThan(4);
  for (const pid of pids) {
    for (const file of ["environ", "cmdline"]) {
      const shown = await readFile(`/proc/${pid}/${file}`, "latin1").catch(() => ""); // it has ended
      for (const secret of secrets)
        expect(
          shown.includes(secret),
          `${file} of ${pid}: ${await readFile(`/proc/${pid}/cmdline`, "latin1")}`,
        ).toBe(false);
    }
  }
  // workerd has read its settings, and nothing of them is left; another test's may be reading its own.
  await until(
    async () => {
      const ours = (await readdir(tmpdir())).filter((name) => name.startsWith("signalbox-"));
      const files = ours.map((name) => readdir(join(tmpdir(), name)).catch((): string[] => []));
      return (await Promise.all(files)).flat().includes("setting-CONTROL_TOKEN");
    },
    (isLeft) => !isLeft,
  );
  expect(stack.errors()).toBe("");
  stack.child.kill("SIGTERM");
  expect(await stack.exited).toBe(0);
});
