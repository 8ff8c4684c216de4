import { createHash, randomBytes } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { request as rawRequest, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { SOURCES_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { MARKER_VARIABLE } from "../../runner/processes/environment.ts";
import { putApp } from "../helpers/deploy.ts";
import { readEvents } from "../helpers/event-stream.ts";
import { archiveOf } from "../helpers/archive.ts";
import { startRunner, viewRunner, type RunnerProcess } from "../helpers/runner.ts";
import {
  deploy,
  deployTunnelApp,
  putSource,
  TUNNEL_APP,
  uploadSource,
} from "../helpers/runner-deployments.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const runners: RunnerProcess[] = [];
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
});

afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.remove()));
});

afterAll(() => stack.stop());

/** A runner and an app of this test alone. */
async function world(): Promise<{ runner: RunnerProcess; app: string; host: string }> {
  count += 1;
  const app = `app-${count}`;
  const host = `${app}.test`;
  const runner = await run(`runner-${count}`);
  await putApp(stack, app, { hosts: [host], previousRetentionSeconds: 0, reloadGraceSeconds: 0 });
  return { runner, app, host };
}

async function run(id: string): Promise<RunnerProcess> {
  const runner = await startRunner(stack, { id });
  runners.push(runner);
  return runner;
}

const anySource = (): Promise<Buffer> => archiveOf({ "README.md": `${randomBytes(8).toString("hex")}\n` });

function directoryOf(runner: RunnerProcess, ...parts: string[]): string {
  return join(runner.workspace, ".signalbox", ...parts);
}

async function names(path: string): Promise<string[]> {
  return (await readdir(path).catch((): string[] => [])).sort();
}

/** Nothing of an interrupted step: no half tree, no half upload. */
async function expectWhole(runner: RunnerProcess): Promise<void> {
  expect(await names(directoryOf(runner, "sources", ".uploads"))).toEqual([]);
  for (const name of await readdir(directoryOf(runner, "deployments"), { recursive: true })) {
    expect(name).not.toMatch(/\.partial-/);
  }
}

async function serves(host: string, id: string): Promise<void> {
  await until(
    () => stack.request(host, "/here"),
    ({ status, text }) => status === 200 && text === `${id} /here`,
  );
}

/** Each line of a build's log, from the event stream. */
async function logOf(app: string, id: string): Promise<string[]> {
  const lines: string[] = [];
  for await (const { event, data } of readEvents(await openEvents(app, id))) {
    if (event === "log") lines.push(String(Object(JSON.parse(data)).line));
  }
  return lines;
}

function openEvents(app: string, id: string): Promise<Response> {
  return fetch(`${stack.origin}/_signalbox/api/v1/apps/${app}/deployments/${id}/events`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
    signal: AbortSignal.timeout(60_000),
  });
}

test("a source goes from upload to serving, with its build's output live", async () => {
  const { runner, app, host } = await world();
  const server = `import { createServer } from "node:http";
import { greeting } from "./lib/greeting.mjs";
createServer((request, response) => {
  if (request.url === "/_pulse/meta") response.end(JSON.stringify({ status: "ok", deployment_id: process.env.PULSE_DEPLOYMENT_ID }));
  else response.end(greeting + request.url);
}).listen(process.env.PORT);`;
  const archive = await archiveOf({
    "server.mjs": server,
    "lib/greeting.mjs": `export const greeting = "hello ";`,
  });
  const sha256 = await uploadSource(stack, runner.id, archive);
  expect(sha256).toBe(createHash("sha256").update(archive).digest("hex"));

  const build = "echo first line; sleep 2; echo second line";
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, build, start: "node server.mjs" });
  const lines: string[] = [];
  let last = "";
  let stateAtFirstLine: string | undefined;
  for await (const { event, data } of readEvents(await openEvents(app, "v1"))) {
    last = event;
    if (event !== "log") continue;
    lines.push(String(Object(JSON.parse(data)).line));
    if (lines.at(-1) === "first line") stateAtFirstLine = (await stack.control.deployment(app, "v1"))?.state;
    if (lines.at(-1) === "second line") expect(stateAtFirstLine).toBe("pending");
  }
  expect(lines.filter((line) => line.endsWith(" line") && !line.startsWith("$"))).toEqual([
    "first line",
    "second line",
  ]);
  expect(last).toBe("end");
  expect((await stack.control.deployment(app, "v1"))?.state).toBe("active");
  expect((await stack.request(host, "/world")).text).toBe("hello /world");
  expect((await stack.request(host, "/world?pulse_deployment=v1")).status).toBe(200);
});

test("an upload that can't be a source is refused and leaves nothing", async () => {
  const { runner } = await world();
  const archive = new Uint8Array(await anySource());
  expect((await putSource(stack, runner.id, archive, "application/zip")).status).toBe(415);
  const notGzip = await putSource(stack, runner.id, "plain text");
  expect(notGzip.status).toBe(422);
  expect(notGzip.text).toContain("isn't a gzip file");
  expect((await putSource(stack, "nobody", archive)).status).toBe(503);
  const tooLarge = await new Promise<number>((resolve, reject) => {
    const upload = rawRequest(`${stack.origin}/_signalbox/api/v1/runners/${runner.id}/sources`, {
      method: "PUT",
      headers: {
        authorization: `Bearer ${CONTROL_TOKEN}`,
        "content-type": "application/gzip",
        "content-length": SOURCES_LIMIT_BYTES + 1,
      },
    });
    upload.on("response", (response) => {
      resolve(response.statusCode ?? 0);
      upload.destroy();
    });
    upload.on("error", reject);
    upload.flushHeaders();
  });
  expect(tooLarge).toBe(413);
  expect(await names(directoryOf(runner, "sources"))).toEqual([".uploads"]);
  await expectWhole(runner);
});

test("a version gives way to the next, drains by sessions and by open streams, and leaves nothing", async () => {
  const { runner, app, host } = await world();
  await deployTunnelApp(stack, runner, app, "v1");
  await stack.request(host, "/sessions?count=1");
  await deployTunnelApp(stack, runner, app, "v2");
  await serves(host, "v2");
  expect((await stack.request(host, "/x?pulse_deployment=v1")).text).toMatch(/^v1 /);
  expect(runner.hosted()).toHaveLength(2);

  expect(await sweep("v1")).toMatchObject({ action: "keep", reason: "live_sessions" });
  await stack.request(host, "/sessions?count=0&pulse_deployment=v1");
  const held = rawRequest(`${stack.origin}/hold?pulse_deployment=v1`, { headers: { host } });
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    held.on("response", resolve).on("error", reject).end();
  });
  expect(await sweep("v1")).toMatchObject({ action: "keep", reason: "live_sessions" });
  await stack.request(host, "/release?pulse_deployment=v1");
  expect(await text(answer)).toBe("held\nreleased\n");
  await until(
    () => sweep("v1"),
    (decision) => Object(decision).action === "delete",
  );
  await until(
    () => stack.control.deployment(app, "v1"),
    (seen) => seen?.state === "removed",
  );
  expect(runner.hosted()).toHaveLength(1);
  expect(await names(directoryOf(runner, "deployments", app))).toEqual([".home", "v2"]);
  await serves(host, "v2");

  await stack.api("DELETE", `/apps/${app}`);
  await until(
    () => stack.api("GET", `/apps/${app}`),
    ({ status }) => status === 404,
  );
  expect(runner.hosted()).toEqual([]);
  expect(await names(directoryOf(runner, "deployments"))).toEqual([]);
});

async function sweep(deployment: string): Promise<unknown> {
  const { body } = await stack.api("POST", "/janitor/run", {});
  const decisions: unknown = body["decisions"];
  return Array.isArray(decisions)
    ? decisions.find((one: unknown) => Object(one).deployment === deployment)
    : null;
}

test("a build that says more than a page at once is told of to its last line", async () => {
  const { runner, app } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, build: "seq 1 5000" });
  const numbers = (await logOf(app, "v1")).filter((line) => /^\d+$/.test(line));
  expect(numbers).toEqual(Array.from({ length: 5_000 }, (_, index) => String(index + 1)));
  expect((await stack.control.deployment(app, "v1"))?.state).toBe("active");
});

test("an app whose host changes while a version is built comes up all the same", async () => {
  const { runner, app } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, build: "echo begun; sleep 2" });
  await until(
    () => names(directoryOf(runner, "deployments", app)),
    (known) => known.includes("v1"),
  );
  await putApp(stack, app, { hosts: [`moved-${app}.test`] });
  const seen = await until(
    () => stack.control.deployment(app, "v1"),
    (deployment) => deployment?.state === "active" || deployment?.state === "failed",
  );
  expect([seen?.state, seen?.failure?.reason]).toEqual(["active", undefined]);
});

test("a build that fails fails the rollout, with the reason and its last lines", async () => {
  const { runner, app } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  const build = "echo compiling; echo no such module >&2; exit 7";
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, build });
  const failed = await until(
    () => stack.control.deployment(app, "v1"),
    (seen) => seen?.state === "failed",
  );
  expect(failed?.failure?.code).toBe("provision_failed");
  expect(failed?.failure?.reason).toContain("The build exited with code 7");
  expect(failed?.failure?.reason).toContain("no such module");
  expect((await logOf(app, "v1")).join("\n")).toContain("compiling");
  await until(
    () => names(directoryOf(runner, "deployments")),
    (left) => left.length === 0,
  );
  expect(runner.hosted()).toEqual([]);
});

test("an app that crashes is started again", async () => {
  const { runner, app, host } = await world();
  await deployTunnelApp(stack, runner, app, "v1");
  const [before] = runner.hosted();
  expect((await stack.request(host, "/crash")).status).toBe(502);
  await serves(host, "v1");
  expect(runner.hosted()).toHaveLength(1);
  expect(runner.hosted()[0]).not.toBe(before);
});

test("an app's environment holds nothing of the runner's secrets", async () => {
  const { runner, app, host } = await world();
  await deployTunnelApp(stack, runner, app, "v1", { env: { GIVEN: "by its owner" } });
  const { text: body } = await stack.request(host, "/environment");
  const environment = new Map(Object.entries(Object(JSON.parse(body))));
  expect(environment.get("GIVEN")).toBe("by its owner");
  expect(environment.has(MARKER_VARIABLE)).toBe(true);
  expect(body).not.toContain(RUNNER_SECRET);
  expect(body).not.toContain(CONTROL_TOKEN);
  expect(body).not.toContain("agent-key-for-tests");
  expect([...environment.keys()].filter((name) => name.startsWith("RUNNER_"))).toEqual([]);
});

test.each([
  { signal: "SIGTERM", end: (runner: RunnerProcess) => runner.stop() },
  { signal: "SIGKILL", end: (runner: RunnerProcess) => runner.kill() },
])("after $signal a runner's deployments come back by themselves", async ({ signal, end }) => {
  const { runner, app, host } = await world();
  await deployTunnelApp(stack, runner, app, "v1");
  await deployTunnelApp(stack, runner, app, "v2");
  const before = runner.hosted();
  await end(runner);
  // What a killed runner leaves behind is ended by the next one; a sandbox leaves nothing.
  if (signal === "SIGTERM") expect(runner.hosted()).toEqual([]);
  else expect(before).toEqual(expect.arrayContaining(runner.hosted()));
  expect([502, 503]).toContain((await stack.request(host, "/")).status);
  await runner.start();
  await serves(host, "v2");
  await until(
    () => stack.request(host, "/x?pulse_deployment=v1"),
    ({ text }) => text.startsWith("v1 "),
  );
  const after = runner.hosted();
  expect(after).toHaveLength(2);
  expect(after.filter((pid) => before.includes(pid))).toEqual([]);
});

test("a runner that is killed during an upload keeps nothing of it", async () => {
  const { runner } = await world();
  const archive = await archiveOf({ "noise.txt": randomBytes(3 * 1024 * 1024).toString("base64") });
  const half = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(new Uint8Array(archive.subarray(0, archive.length / 2)));
      await half.promise;
      controller.enqueue(new Uint8Array(archive.subarray(archive.length / 2)));
      controller.close();
    },
  });
  const answer = putSource(stack, runner.id, body);
  await until(
    () => names(directoryOf(runner, "sources", ".uploads")),
    (uploads) => uploads.length === 1,
  );
  await runner.kill();
  const { status } = await answer;
  half.resolve();
  expect([502, 503]).toContain(status);
  await runner.start();
  expect(await names(directoryOf(runner, "sources"))).toEqual([".uploads"]);
  await expectWhole(runner);
  await uploadSource(stack, runner.id, archive);
});

/** Hangs the first time; HOME is the app's own and outlives the runner. */
const once = (step: string): string =>
  `echo ${step} >> "$HOME/steps"; if [ ! -e "$HOME/${step}" ]; then touch "$HOME/${step}"; sleep 600; fi`;

test.each(["install", "build", "start"])("a runner that is killed during %s goes on", async (step) => {
  const { runner, app, host } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  const command = step === "start" ? `${once(step)}; ${TUNNEL_APP}` : once(step);
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, [step]: command });
  await until(
    () => names(directoryOf(runner, "deployments", app, ".home")),
    (files) => files.includes(step),
  );
  const before = runner.hosted();
  expect(before.length).toBeGreaterThan(0);
  await runner.kill();
  await runner.start();
  await stack.control.until(app, "v1", ["active"], 60_000);
  await serves(host, "v1");
  const after = runner.hosted();
  expect(after).toHaveLength(1);
  expect(after.filter((pid) => before.includes(pid))).toEqual([]);
  await expectWhole(runner);
  expect(await names(directoryOf(runner, "processes"))).toHaveLength(1);
});

test("a build goes on while workerd is killed and comes back", async () => {
  const { runner, app, host } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  const build = `echo begun | tee -a "$HOME/builds"; sleep 4; echo ended`;
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, build });
  await until(
    () => names(directoryOf(runner, "deployments", app, ".home")),
    (files) => files.includes("builds"),
  );
  await stack.restart();
  await stack.control.until(app, "v1", ["active"], 60_000);
  await serves(host, "v1");
  const lines = await logOf(app, "v1");
  expect(lines.filter((line) => line === "begun")).toEqual(["begun"]);
  expect(lines.filter((line) => line === "ended")).toEqual(["ended"]);
  expect((await stat(directoryOf(runner, "deployments", app, ".home", "builds"))).size).toBe(6);
  expect(runner.hosted()).toHaveLength(1);
});

test("a deployment without a runner goes to the least loaded one that may take it", async () => {
  const { runner: busy, app, host } = await world();
  const idle = await run(`${busy.id}-b`);
  const archive = await anySource();
  const sha256 = await uploadSource(stack, busy.id, archive);
  await uploadSource(stack, idle.id, archive);
  await deployTunnelApp(stack, busy, app, "v1");
  const held = rawRequest(`${stack.origin}/hold`, { headers: { host } }).on("error", () => undefined);
  try {
    await new Promise((resolve) => held.on("response", resolve).end());
    await deploy(stack, app, "v2", { sha256 });
    expect(await placeOf(app, "v2")).toBe(idle.id);
    await stack.control.until(app, "v2", ["active"], 60_000);

    await stack.api("POST", `/runners/${idle.id}/drain`, {});
    expect((await viewRunner(stack, idle.id)).state).toBe("draining");
    await deploy(stack, app, "v3", { sha256 });
    expect(await placeOf(app, "v3")).toBe(busy.id);
    expect(await refusal(app, { runnerId: idle.id, source: { sha256 } })).toEqual(["target.runnerId"]);
    await serves(host, "v3");
    expect((await stack.request(host, "/x?pulse_deployment=v2")).text).toMatch(/^v2 /);
  } finally {
    held.destroy();
  }
});

test("a target that can't work is refused by the name of its field", async () => {
  const { runner, app } = await world();
  const sha256 = await uploadSource(stack, runner.id, await anySource());
  const unknown = "0".repeat(64);
  expect(await refusal(app, { runnerId: "nobody", source: { sha256 } })).toEqual(["target.runnerId"]);
  expect(await refusal(app, { runnerId: runner.id, source: { sha256: unknown } })).toEqual([
    "target.source.sha256",
  ]);
  expect(await refusal(app, { source: { sha256: unknown } })).toEqual(["target.source.sha256"]);
  expect((await stack.api("GET", `/apps/${app}`)).body["deployments"]).toEqual([]);
});

async function placeOf(app: string, id: string): Promise<unknown> {
  const { body } = await stack.api("GET", `/apps/${app}/deployments/${id}`);
  return Object(body["target"]).runnerId;
}

/** The fields that a refused deployment is refused for. */
async function refusal(app: string, target: Record<string, unknown>): Promise<unknown[]> {
  const body = { id: "refused", target: { kind: "runner", start: TUNNEL_APP, ...target } };
  const answer = await stack.api("POST", `/apps/${app}/deployments`, body);
  expect(answer.status).toBe(422);
  const errors: unknown = answer.body["errors"];
  return Array.isArray(errors) ? errors.map((error: unknown) => Object(error).field) : [];
}

/** Answers 200 to one host, and refuses every other one in words. */
const picky = (host: string): Record<string, string> => ({
  "server.mjs": `import { createServer } from "node:http";
createServer((request, response) => {
  if (request.headers.host === ${JSON.stringify(host)}) response.end("known");
  else response.writeHead(403, { "content-type": "text/plain" }).end("Blocked: " + request.headers.host);
}).listen(process.env.PORT);`,
});

test("an app without hosts is verified at its name in the app domain, where its visitors come", async () => {
  const { runner, app } = await world();
  await putApp(stack, app, { contract: "none", hosts: [] });
  const sha256 = await uploadSource(stack, runner.id, await archiveOf(picky(`${app}.localhost`)));
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, start: "node server.mjs" });
  await stack.control.until(app, "v1", ["active"], 60_000);
});

test("a verification that fails says what the app answered, to which host, and the remedy", async () => {
  const { runner, app, host } = await world();
  await putApp(stack, app, { contract: "none", hosts: [host], verifyTimeoutSeconds: 5 });
  const sha256 = await uploadSource(stack, runner.id, await archiveOf(picky("localhost")));
  await deploy(stack, app, "v1", { sha256, runnerId: runner.id, start: "node server.mjs" });
  const failed = await until(
    async () => (await stack.api("GET", `/apps/${app}/deployments/v1`)).body,
    ({ state }) => state === "failed",
  );
  expect(failed["failure"]).toMatchObject({
    reason: expect.stringContaining(
      `answered 403 ("Blocked: ${host}") to Host ${host}; an app that answers to localhost alone needs "host": "local"`,
    ),
  });
});
