import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, type TestContext } from "vitest";
import type { WorkspaceOptions } from "../../runner/workspace.ts";
import { Program } from "../helpers/program.ts";
import { server, UnconnectedRunner } from "../helpers/unconnected-runner.ts";

/** A host that lets nobody make namespaces, and a runner that isn't root: as in most containers. */
const barren =
  "bwrap --dev-bind / / --unshare-user --die-with-parent --disable-userns --uid 47123 --gid 47123 --".split(
    " ",
  );
const UNCONNECTED = new URL("../helpers/runner-programs/unconnected.ts", import.meta.url).pathname;

async function workspace({ onTestFinished }: TestContext): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-levels-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return root;
}

async function refusal(options: WorkspaceOptions): Promise<string> {
  const [file, ...args] = [...barren, process.execPath, UNCONNECTED, JSON.stringify(options)];
  const program = new Program([file ?? "", ...args], { env: { PATH: process.env["PATH"] ?? "" } });
  expect(await program.exited).not.toBe(0);
  return program.output();
}

test.for(["sandbox", "user"] as const)(
  "a runner that is to give a %s and can't doesn't start, and says why",
  async (level, context) => {
    const said = await refusal({ root: await workspace(context), confinement: { level } });
    expect(said).toContain(`RUNNER_CONFINEMENT=${level} can't be had on this host`);
    expect(said).toMatch(level === "user" ? /the runner isn't root/ : /allow user namespaces: sysctl/);
  },
);

test("a runner whose guests are to reach listed hosts only doesn't start without a sandbox", async (context) => {
  const confinement = { allowed: ["example.com"] };
  expect(await refusal({ root: await workspace(context), confinement })).toContain(
    "RUNNER_GUEST_NETWORK lists hosts",
  );
});

test("auto on a host that offers nothing is none, and each deployment says why", async (context) => {
  const root = await workspace(context);
  const runner = await UnconnectedRunner.start({ root }, {}, barren);
  context.onTestFinished(() => runner.stop());
  const sha256 = await runner.upload({ "server.mjs": server("response.end('up')") });
  await runner.put("shop/v1", { source: { sha256 }, start: "node server.mjs" });
  const { confinement } = await runner.reaches("shop/v1", "running");
  expect(confinement).toMatchObject({
    level: "none",
    network: "shared",
    why: expect.stringMatching(/sandbox: .*allow user namespaces.*user: the runner isn't root/) as string,
  });
});

test("a guest with a list of hosts has no other way out", async (context) => {
  const root = await workspace(context);
  const runner = await UnconnectedRunner.start({
    root,
    confinement: { level: "sandbox", allowed: ["example.com"], paths: [process.cwd()] },
  });
  context.onTestFinished(() => runner.stop());
  const sha256 = await runner.upload({
    "server.mjs": `import { connect } from "node:net";
import { request } from "node:http";
const failure = (socket) => new Promise((resolve) => socket.on("error", (error) => resolve(error.code)).on("connect", () => resolve("connected")));
const asked = (path) => new Promise((resolve) => { const { hostname, port } = new URL(process.env.HTTP_PROXY);
  request({ host: hostname, port, path }, (answer) => resolve(answer.statusCode)).on("error", (error) => resolve(error.code)).end(); });
${server(`(async () => response.end(JSON.stringify([await failure(connect(80, "192.0.2.77")), await asked("http://elsewhere.test/")])))()`)}`,
  });
  await runner.put("shop/v1", { source: { sha256 }, start: "node server.mjs" });
  const { port, confinement, reason } = await runner.reaches("shop/v1", "running", "failed");
  expect(reason).toBeNull();
  expect(confinement).toEqual({ level: "sandbox", network: "own", allowed: ["example.com"], why: null });
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).json()).toEqual(["ENETUNREACH", 403]);
});

test("auto gives a sandbox a network of its own, unless the machine's is asked for", async (context) => {
  for (const sharesNetwork of [false, true]) {
    const root = await workspace(context);
    const confinement = { sharesNetwork, paths: [process.cwd()] };
    const runner = await UnconnectedRunner.start({ root, confinement });
    context.onTestFinished(() => runner.stop());
    const sha256 = await runner.upload({ "server.mjs": server("response.end('up')") });
    await runner.put("shop/v1", { source: { sha256 }, start: "node server.mjs" });
    const status = await runner.reaches("shop/v1", "running", "failed");
    expect(status.confinement).toEqual({
      level: "sandbox",
      network: sharesNetwork ? "shared" : "own",
      allowed: null,
      why: sharesNetwork ? "own network: RUNNER_GUEST_NETWORK=shared" : null,
    });
    expect(await (await fetch(`http://127.0.0.1:${status.port}/`)).text()).toBe("up");
  }
});
