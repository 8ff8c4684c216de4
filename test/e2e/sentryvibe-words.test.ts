import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isObject, type Fields, type RunnerEvent } from "../../functions/protocol/control.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startHub, type Hub, type HubConnection } from "../helpers/hub-client.ts";
import { rawGet, rawRequest } from "../helpers/raw-http.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

/** As SentryVibe's: `ws` without a thought of subprotocols, no text pings. */
let broker: Hub;
let runner: RunnerProcess;
let link: HubConnection;
let files: string;
let count = 0;

beforeAll(async () => {
  broker = await startHub({ path: "/socket", subprotocol: "silent", answersPings: false });
  files = await mkdtemp(join(tmpdir(), "signalbox-words-"));
  runner = await startRunner(broker, { env: { RUNNER_AGENT: AGENT } });
  link = await broker.connection(0);
});
afterAll(async () => {
  await runner?.remove();
  await broker?.close();
  await rm(files, { recursive: true, force: true });
});

function send(type: string, payload: Fields, projectId = "9b2e6a1c"): string {
  const id = `command-${++count}`;
  const timestamp = new Date().toISOString();
  const traced = { _sentry: { trace: "t", baggage: "b" } };
  link.socket.send(JSON.stringify({ id, type, projectId, timestamp, payload, ...traced }));
  return id;
}

function answer(commandId: string, ...types: string[]): Promise<RunnerEvent> {
  return link.event(types[0] ?? "", (event) => event.commandId === commandId);
}

function payloadOf(event: RunnerEvent): Fields {
  return isObject(event["payload"]) ? event["payload"] : {};
}

function startBuild(prompt: string, projectId: string, more: Fields = {}): string {
  const names = {
    projectSlug: projectId,
    projectName: "A shop",
    operationType: "initial-build",
    sessionId: "s-1",
  };
  return send("start-build", { prompt, ...names, ...more }, `id-of-${projectId}`);
}

const eventsOf = (id: string): RunnerEvent[] => link.events.filter(({ commandId }) => commandId === id);

/** What a page gets that reads a build's stream. */
function streamOf(id: string): unknown[] {
  return eventsOf(id).flatMap(({ type, data }) => {
    if (type !== "build-stream") return [];
    const text = /^data: (.*)\n\n$/s.exec(String(data))?.[1] ?? "";
    return text === "[DONE]" ? [text] : [JSON.parse(text) as unknown];
  });
}

test("an agent's build is told as a stream, progress, todos, and an end", async () => {
  const id = startBuild("everything", "shop", { claudeModel: "x", conversationHistory: [] });
  expect(await answer(id, "build-completed")).toMatchObject({
    projectId: "id-of-shop",
    sessionId: "s-1",
    payload: { todos: [{ id: "todo-1", title: "First", status: "skipped" }] },
  });
  const parts = streamOf(id) as Fields[];
  expect(parts[0]).toMatchObject({ type: "start" });
  expect(parts.at(-1)).toBe("[DONE]");
  const delta = parts.find((part) => part["type"] === "text-delta" && part["delta"] === "All done.");
  const around = parts.filter((part) => part["id"] === delta?.["id"]).map((part) => part["type"]);
  expect(around).toEqual(["text-start", "text-delta", "text-end"]);
  expect(parts).toContainEqual(
    expect.objectContaining({ type: "tool-input-available", toolCallId: "t1", toolName: "Edit" }),
  );
  expect(parts).toContainEqual(
    expect.objectContaining({
      type: "tool-output-available",
      toolCallId: "t1",
      output: expect.stringContaining("+two"),
    }),
  );
  expect(parts).toContainEqual(
    expect.objectContaining({
      toolName: "TodoWrite",
      input: { todos: [{ content: "First", status: "pending", activeForm: "First" }] },
    }),
  );
  const progress = eventsOf(id)
    .filter(({ type }) => type === "build-progress")
    .map(payloadOf);
  expect(progress.map(({ stage }) => stage)).toEqual(
    expect.arrayContaining(["planning", "generating", "applying"]),
  );
  expect(progress).toContainEqual({
    stage: "generating",
    message: "First",
    todoId: "todo-1",
    todoStatus: "pending",
  });
});

test("a page that is built has a port, metadata, a log, and files under SentryVibe's id", async () => {
  const id = startBuild("page Fresh bread", "bakery", { tags: [{ key: "framework", value: "static" }] });
  await answer(id, "build-completed");
  const detected = await answer(id, "port-detected");
  // Browsers and `fetch` refuse port 6000, which this may be.
  const page = await rawRequest(Number(detected["port"]), rawGet("localhost", "/"));
  expect(page.body.toString()).toContain("Fresh bread");
  expect(payloadOf(await answer(id, "project-metadata"))).toMatchObject({
    path: join(runner.workspace, "bakery"),
    port: detected["port"],
    runCommand: expect.stringContaining("static"),
    slug: "bakery",
    friendlyName: "A shop",
  });
  const list = send("list-files", {}, "id-of-bakery");
  expect(await answer(list, "file-list")).toMatchObject({ slug: "bakery", projectId: "id-of-bakery" });
  const logs = send("fetch-logs", { limit: 50 }, "id-of-bakery");
  expect(await answer(logs, "log-chunk")).toMatchObject({ data: expect.stringContaining("static") });
});

test("a dev server is started with a command of SentryVibe's, its output told, and stopped", async () => {
  const write = send("write-file", {
    slug: "clock",
    filePath: "server.js",
    content: `console.log("tick " + process.env.WORD);
require("node:http").createServer((q, a) => a.end("time")).listen(process.env.PORT, "127.0.0.1");`,
  });
  await answer(write, "file-written");
  const start = send(
    "start-dev-server",
    {
      runCommand: `${process.execPath} server.js`,
      workingDirectory: join(runner.workspace, "clock"),
      env: { WORD: "tock" },
      preferredPort: 6_077,
      framework: "node",
    },
    "id-of-clock",
  );
  const { port } = await answer(start, "port-detected");
  expect(port).toBe(6_077);
  expect(await (await fetch(`http://127.0.0.1:${port as number}/`)).text()).toBe("time");
  expect(await answer(start, "log-chunk")).toMatchObject({ stream: "stdout", data: "tick tock\n" });
  const stop = send("stop-dev-server", {}, "id-of-clock");
  expect(await answer(stop, "process-exited")).toMatchObject({ state: "stopped", signal: "SIGTERM" });
  await expect(fetch(`http://127.0.0.1:${port as number}/`)).rejects.toThrow();
});

test("a dev server that can't start is said, with its last lines", async () => {
  const start = send("start-dev-server", { runCommand: "echo no oven; exit 3", slug: "cold" }, "id-of-cold");
  expect(await answer(start, "dev-server-error")).toMatchObject({
    error: "The start command exited with code 3",
    message: expect.stringContaining("no oven"),
  });
  expect(await answer(start, "process-exited")).toMatchObject({
    exitCode: 3,
    state: "failed",
    stderr: "no oven",
  });
});

test("a build is cancelled truly, and a second cancel says that it was over", async () => {
  const id = startBuild("hang", "slow");
  await answer(id, "build-stream");
  const cancel = send("cancel-build", { buildCommandId: id, reason: "Ada" });
  expect(payloadOf(await answer(cancel, "build-cancelled"))).toEqual({
    buildCommandId: id,
    success: true,
    reason: "Ada cancelled it.",
  });
  expect(await answer(id, "build-cancelled")).toMatchObject({
    payload: { buildCommandId: id, success: true },
  });
  const done = startBuild("page done", "done");
  await answer(done, "build-completed");
  const late = send("cancel-build", { buildCommandId: done });
  expect(payloadOf(await answer(late, "build-cancelled"))).toEqual({
    buildCommandId: done,
    success: false,
    reason: "The build had ended: completed.",
  });
});

test("an analysis without a key names the project and a template, and says that keywords did it", async () => {
  const id = send("analyze-project", {
    prompt: "An Astro blog called Crumbs",
    operationType: "initial-build",
  });
  await answer(id, "analysis-started");
  expect(payloadOf(await answer(id, "analysis-complete"))).toMatchObject({
    slug: "crumbs",
    friendlyName: "Crumbs",
    template: { framework: "astro" },
    by: "keywords",
  });
});

test("what this runner can't do is refused with a reason", async () => {
  const refused = async (type: string, payload: Fields): Promise<Fields> =>
    answer(send(type, payload, "id-of-bakery"), "error");
  expect(await refused("start-tunnel", { port: 6_000 })).toMatchObject({ code: "unsupported" });
  expect(await refused("start-build", { prompt: "", projectSlug: "bakery" })).toMatchObject({
    code: "invalid_request",
  });
  expect(await refused("start-build", { prompt: "x", projectSlug: "x", agent: "nobody" })).toMatchObject({
    code: "invalid_request",
    error: expect.stringContaining("There is no agent nobody"),
  });
  expect(await refused("start-build", { prompt: "x", projectSlug: "../x" })).toMatchObject({
    code: "invalid_project",
  });
  const image = { type: "image", image: "data:image/png;base64,AA==", mimeType: "image/png" };
  expect(
    await refused("start-build", { prompt: "x", projectSlug: "x", messageParts: [image] }),
  ).toMatchObject({
    code: "unsupported",
  });
});

test("a broker that closes for want of commands is connected to again, and a killed runner's build ends as failed", async () => {
  const next = broker.connections.length;
  const id = startBuild("hang", "cut");
  await answer(id, "build-stream");
  link.socket.close(1003, "no command for 5 minutes");
  link = await broker.connection(next);
  const health = send("runner-health-check", {});
  expect(await answer(health, "runner-status")).toMatchObject({ payload: { status: "online" } });
  await runner.kill();
  await runner.start();
  link = await broker.connection(next + 1);
  expect(await answer(id, "build-failed")).toMatchObject({
    projectId: "id-of-cut",
    sessionId: "s-1",
    error: expect.stringContaining("runner ended"),
  });
});
