import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, type TestContext } from "vitest";
import { archive } from "../helpers/archive.ts";
import { processesWith } from "../helpers/program.ts";
import { UnconnectedRunner, server, until } from "../helpers/unconnected-runner.ts";

const timing = { backoffFirstMs: 100, stopGraceMs: 500 };

/** The runner and the workspace of one test. */
class World {
  readonly root: string;
  runner: UnconnectedRunner;

  private constructor(root: string, runner: UnconnectedRunner) {
    this.root = root;
    this.runner = runner;
  }

  static async open({ onTestFinished, expect }: TestContext): Promise<World> {
    const root = await mkdtemp(join(tmpdir(), "signalbox-kill-"));
    const world = new World(root, await UnconnectedRunner.start({ root, timing }));
    onTestFinished(async () => {
      await world.runner.stop();
      expect(processesWith(root)).toEqual([]);
      await rm(root, { recursive: true, force: true });
    });
    return world;
  }

  async killAndRestart(): Promise<void> {
    await this.runner.kill();
    this.runner = await UnconnectedRunner.start({ root: this.root, timing });
  }
}

async function answerOf(port: number | null): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/`)).text();
}

/** Fails in a directory where a former run of it has left something: the step must begin from a clean one. */
const once = (name: string, work = "true"): string =>
  `test ! -e ${name} && touch ${name}.begun ${name} && ${work} && touch ${name}.done`;
const source = {
  "server.mjs": `import { existsSync } from "node:fs";
const whole = ["i", "i.done", "b", "b.done"].every((name) => existsSync(name));
${server("response.end(whole ? 'whole' : 'half')")}`,
};
const start = "node server.mjs";

/** Nobody runs but this deployment's one server. */
async function expectOneServer(world: World, key: string): Promise<void> {
  const { port, state, reason } = await world.runner.reaches(key, "running", "failed");
  expect([state, reason]).toEqual(["running", null]);
  expect(await answerOf(port)).toBe("whole");
  const [entry = "", ...others] = await readdir(join(world.root, ".signalbox", "processes"));
  expect(others).toEqual([]);
  const ours = processesWith(entry.replace(".json", ""));
  expect(ours.length).toBeGreaterThan(0);
  // What holds a sandbox knows nothing of the workspace.
  for (const pid of processesWith(world.root)) expect(ours).toContain(pid);
  const names = await readdir(join(world.root, ".signalbox", "deployments", key));
  expect(names.filter((name) => name.startsWith("work"))).toEqual(["work"]);
}

test.concurrent.for(["installing", "building", "starting", "running"])(
  "a runner that is killed while %s goes on with it, from a clean directory and without an orphan",
  async (state, context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(source);
    const reached = "$HOME/reached";
    /** Where it is to be killed it hangs, and only the first time. */
    const hangs = (there: string): string =>
      there === state ? `{ test -e ${reached} || { touch ${reached}; sleep 300; }; }` : "true";
    await world.runner.put("shop/v1", {
      source: { sha256 },
      install: `setsid sleep 300 & ${once("i", hangs("installing"))}`,
      build: `( trap '' TERM; sleep 300 ) & ${once("b", hangs("building"))}`,
      start: `${hangs("starting")} && exec ${start}`,
    });
    await world.runner.reaches("shop/v1", state);
    const home = join(world.root, ".signalbox/deployments/shop/.home");
    if (state !== "running") await until("it hangs there", () => existsSync(join(home, "reached")));
    await world.killAndRestart();
    await expectOneServer(world, "shop/v1");
  },
);

test.concurrent(
  "a runner that is killed at any moment of a deployment brings it up in the end",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(source);
    const spec = {
      source: { sha256 },
      install: once("i", "sleep 0.05"),
      build: once("b", "sleep 0.05"),
      start,
    };
    await world.runner.put("shop/v1", spec);
    for (let round = 0; round < 12; round++) {
      await sleep(round * 25);
      await world.killAndRestart();
    }
    await world.runner.put("shop/v1", spec);
    await expectOneServer(world, "shop/v1");
  },
);

test.concurrent(
  "a running server and its stubborn children survive no killed runner, and the deployment keeps its port",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(source);
    await world.runner.put("shop/v1", {
      source: { sha256 },
      install: once("i"),
      build: once("b"),
      start: `setsid sh -c 'trap "" TERM; while :; do sleep 1; done' & exec ${start}`,
    });
    const { port } = await world.runner.reaches("shop/v1", "running");
    const before = processesWith(world.root);
    expect(before.length).toBeGreaterThanOrEqual(2);
    await world.killAndRestart();
    const after = await world.runner.reaches("shop/v1", "running");
    expect(after.port).toBe(port);
    for (const pid of processesWith(world.root)) expect(before).not.toContain(pid);
  },
);

test.concurrent("a removal that was interrupted is finished by the next runner", async (context) => {
  const world = await World.open(context);
  const sha256 = await world.runner.upload(source);
  await world.runner.put("shop/v1", { source: { sha256 }, start: `trap '' TERM; sleep 300 & ${start}` });
  await world.runner.reaches("shop/v1", "running");
  const removal = world.runner.json("DELETE", "/deployments/shop/v1").catch(() => undefined);
  const record = join(world.root, ".signalbox", "deployments", "shop", "v1", "deployment.json");
  await until("the removal is on disk", async () => (await readFile(record, "utf8")).includes('"stopping"'));
  await world.killAndRestart();
  await removal;
  expect(await world.runner.json("GET", "/deployments/shop/v1")).toMatchObject({ status: 404 });
  expect(await readdir(join(world.root, ".signalbox", "deployments"))).toEqual([]);
  expect(processesWith(world.root)).toEqual([]);
});

test.concurrent(
  "an upload that a killed runner was receiving leaves nothing, and can be made again",
  async (context) => {
    const world = await World.open(context);
    const { data, sha256 } = await archive({ "big.txt": crypto.randomUUID().repeat(100_000) });
    const { promise: never } = Promise.withResolvers<void>();
    const half = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(new Uint8Array(data.subarray(0, data.length >> 1)));
        await never;
      },
    });
    const sending = fetch(`${world.runner.origin}/sources`, {
      method: "PUT",
      body: half,
      duplex: "half",
    });
    sending.catch(() => undefined);
    const uploads = join(world.root, ".signalbox", "sources", ".uploads");
    await until("the upload has begun", async () => (await readdir(uploads)).length > 0);
    await world.killAndRestart();
    expect(await readdir(uploads)).toEqual([]);
    expect((await fetch(`${world.runner.origin}/sources/${sha256}`, { method: "HEAD" })).status).toBe(404);
    const again = await fetch(`${world.runner.origin}/sources`, {
      method: "PUT",
      body: new Uint8Array(data),
    });
    expect(await again.json()).toEqual({ sha256, bytes: data.length });
  },
);

test.concurrent(
  "a runner that is killed while it unpacks a large source takes it up from the beginning",
  async (context) => {
    const world = await World.open(context);
    const files = Object.fromEntries(
      Array.from({ length: 8_000 }, (_, index) => [`d${index % 50}/f${index}`, "x"]),
    );
    const sha256 = await world.runner.upload({
      ...files,
      "server.mjs": `import { readdirSync } from "node:fs";
const count = readdirSync(".", { recursive: true }).filter((name) => /f\\d+$/.test(name)).length;
${server("response.end(String(count))")}`,
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    const directory = join(world.root, ".signalbox", "deployments", "shop", "v1");
    await until("it is being unpacked", async () =>
      (await readdir(directory)).some((name) => name.includes("partial")),
    );
    await world.killAndRestart();
    const { port } = await world.runner.reaches("shop/v1", "running");
    expect(await answerOf(port)).toBe("8000");
    expect((await readdir(directory)).filter((name) => name.includes("partial"))).toEqual([]);
  },
);

test.concurrent("a second runner in the same workspace is refused and touches nothing", async (context) => {
  const world = await World.open(context);
  const sha256 = await world.runner.upload(source);
  await world.runner.put("shop/v1", { source: { sha256 }, install: once("i"), build: once("b"), start });
  await world.runner.reaches("shop/v1", "running");
  await expect(UnconnectedRunner.start({ root: world.root, timing })).rejects.toThrow(
    "belongs to the runner with process id",
  );
  await expectOneServer(world, "shop/v1");
});
