import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildEvent, BuildView } from "../../functions/protocol/builds.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { readEvents } from "../helpers/event-stream.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

const KEYLESS = JSON.stringify({
  keyless: {
    command: AGENT,
    key: { variable: "KEYLESS_API_KEY", url: "https://vendor.example", header: "x-api-key" },
  },
});

let stack: TestStack;
let runner: RunnerProcess;
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "builder", env: { RUNNER_AGENT: AGENT, RUNNER_AGENTS: KEYLESS } });
});
afterAll(async () => {
  await runner?.remove();
  await stack?.stop();
});

async function newProject(): Promise<string> {
  const slug = `project-${++count}`;
  const { status, body } = await stack.api("POST", "/projects", { slug });
  expect(body).toMatchObject({ slug, runnerId: "builder", build: null });
  expect(status).toBe(201);
  return slug;
}

async function begin(slug: string, prompt: string): Promise<string> {
  const { status, body } = await stack.api("POST", `/projects/${slug}/builds`, { prompt });
  expect(body).toMatchObject({ project: slug, prompt });
  expect(status).toBe(202);
  return String(body["id"]);
}

async function view(id: string): Promise<BuildView> {
  return (await stack.api("GET", `/builds/${id}`)).body as unknown as BuildView;
}

/** All events of a build, to its end. */
async function eventsOf(id: string, after = 0): Promise<BuildEvent[]> {
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/builds/${id}/events`, {
    headers: {
      authorization: `Bearer ${CONTROL_TOKEN}`,
      ...(after > 0 && { "last-event-id": String(after) }),
    },
  });
  const events: BuildEvent[] = [];
  for await (const { event, data } of readEvents(response)) {
    if (event === "end") break;
    if (event === "build") events.push(JSON.parse(data) as BuildEvent);
  }
  return events;
}

async function run(slug: string, prompt: string): Promise<BuildEvent[]> {
  const events = await eventsOf(await begin(slug, prompt));
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  return events;
}

function said(events: BuildEvent[]): string {
  return events
    .map((event) => (event.type === "message" && event.from === "agent" ? event.text : ""))
    .join("");
}

function ended(events: BuildEvent[]): BuildEvent | undefined {
  return events.at(-1);
}

test("every update of the protocol is an event of ours, and a newer one is named", async () => {
  const events = await run(await newProject(), "everything");
  expect(events).toContainEqual(expect.objectContaining({ type: "thought", text: "I think." }));
  expect(events).toContainEqual(
    expect.objectContaining({ type: "tool", id: "t1", title: "Write it", kind: "edit" }),
  );
  const output = events.find((event) => event.type === "tool" && event.status === "completed");
  expect(output).toMatchObject({ truncated: true, files: ["index.html"] });
  expect(output).toHaveProperty("output", expect.stringMatching(/^--- index\.html\n-one\n\+two\n/));
  expect(output).toHaveProperty("output.length", 64 * 1024);
  expect(events).toContainEqual(
    expect.objectContaining({ type: "plan", entries: [{ title: "First", status: "pending" }] }),
  );
  expect(events).toContainEqual(
    expect.objectContaining({
      type: "usage",
      usedTokens: 10,
      contextTokens: 100,
      cost: { amount: 0.5, currency: "USD" },
    }),
  );
  expect(events).toContainEqual(expect.objectContaining({ type: "other", update: "hologram_update" }));
  // Two deltas are one message, and what came before the session's answer is there, too.
  expect(events).toContainEqual(expect.objectContaining({ type: "message", text: "All done." }));
  expect(said(events)).toMatch(/^Before my answer\. /);
  expect(events).toContainEqual(expect.objectContaining({ type: "thought", text: "Late." }));
  expect(ended(events)).toMatchObject({ type: "state", state: "completed" });
});

test("a question waits for an answer, which must be one of the options", async () => {
  const slug = await newProject();
  const id = await begin(slug, "permission");
  const { questions } = await until(
    () => view(id),
    ({ state }) => state === "waiting",
  );
  const path = `/builds/${id}/answers/${questions[0]}`;
  expect((await stack.api("POST", path, { option: "yes" })).body).toMatchObject({
    code: "invalid_request",
    detail: "Choose one of: %00 odd/ id, no.",
  });
  expect((await stack.api("POST", path, { option: "%00 odd/ id" })).status).toBe(200);
  const events = await eventsOf(id);
  expect(said(events)).toContain('I was told {"outcome":"selected","optionId":"%00 odd/ id"}.');
  expect(events).toContainEqual(
    expect.objectContaining({ type: "answer", option: "%00 odd/ id", by: "operator" }),
  );
  expect((await stack.api("POST", path, { option: "no" })).body).toMatchObject({ code: "unknown_question" });
});

test("an edit inside the project is allowed without a question", async () => {
  expect(said(await run(await newProject(), "inside"))).toContain('"optionId":"once"');
});

test.each([
  ["crash", /ended in the middle of its work \(code 7\)$/],
  ["stop refusal", /refused the prompt/],
  ["stop max_tokens", /limit of tokens/],
  ["stop made_up", /stopped: made_up/],
  ["stop cancelled", /nobody asked for it/],
])("a build whose agent does this fails with the reason: %s", async (prompt, reason) => {
  expect(ended(await run(await newProject(), prompt))).toMatchObject({
    state: "failed",
    reason: expect.stringMatching(reason),
  });
});

test("what isn't the protocol on an agent's output, and a line of 40 MiB, are set aside", async () => {
  const events = await run(await newProject(), "garbage");
  expect(said(events)).toContain("Still here.");
  const asides = events.map((event) => (event.type === "log" ? event.text : ""));
  expect(asides.join("\n")).toMatch(/Welcome!.*\[1, 2\]\n\{ broken\na line of \d+ bytes/s);
  expect(ended(events)).toMatchObject({ state: "completed" });
});

test("a cancelled build leaves no process, and the record says who cancelled", async () => {
  const id = await begin(await newProject(), "hang");
  await until(
    () => view(id),
    ({ state }) => state === "running",
  );
  await until(
    () => runner.hosted(),
    (pids) => pids.length > 0,
  );
  const { status, body } = await stack.api("POST", `/builds/${id}/cancel`);
  expect([status, body["state"]]).toEqual([200, "cancelled"]);
  expect(runner.hosted()).toEqual([]);
  expect(ended(await eventsOf(id))).toMatchObject({ state: "cancelled", reason: "operator cancelled it." });
});

test("a question that is open when its build is cancelled ends with it", async () => {
  const id = await begin(await newProject(), "permission");
  await until(
    () => view(id),
    ({ state }) => state === "waiting",
  );
  expect((await stack.api("POST", `/builds/${id}/cancel`)).body).toMatchObject({
    state: "cancelled",
    questions: [],
  });
});

test("what an agent starts ends with its turn, whatever it did to get away", async () => {
  expect(ended(await run(await newProject(), "daemon"))).toMatchObject({ state: "completed" });
  await until(
    () => runner.hosted(),
    (pids) => pids.length === 0,
  );
});

test("builds of one project wait for each other, those of two run at once", async () => {
  const [one, other] = [await newProject(), await newProject()];
  const first = await begin(one, "hang");
  const second = await begin(one, "everything");
  expect(ended(await run(other, "everything"))).toMatchObject({ state: "completed" });
  expect((await view(second)).state).toBe("queued");
  await stack.api("POST", `/builds/${first}/cancel`);
  expect(ended(await eventsOf(second))).toMatchObject({ state: "completed" });
});

test("an agent goes on with its session, and its replay is no news", async () => {
  const slug = await newProject();
  await run(slug, "everything");
  const events = await run(slug, "everything");
  expect(said(events)).not.toContain("replay");
  expect(said(events)).not.toContain("Before my answer");
});

test("an agent sees no secret of the runner", async () => {
  const env = said(await run(await newProject(), "secrets"));
  expect(env).toContain("PATH");
  expect(env).not.toContain(RUNNER_SECRET);
  expect(env).not.toContain("agent-key-for-tests");
});

test("a project that is deleted while it builds leaves nothing", async () => {
  const slug = await newProject();
  await begin(slug, "hang");
  await until(
    () => runner.hosted(),
    (pids) => pids.length > 0,
  );
  expect((await stack.api("DELETE", `/projects/${slug}`)).status).toBe(200);
  expect(runner.hosted()).toEqual([]);
  expect(await readdir(runner.workspace)).not.toContain(slug);
  expect(await readdir(join(runner.workspace, ".signalbox/projects"))).not.toContain(slug);
  expect((await stack.api("GET", `/projects/${slug}`)).body).toMatchObject({ code: "unknown_project" });
});

test("a runner that was killed never runs a prompt again, and goes on with what waited", async () => {
  const slug = await newProject();
  const running = await begin(slug, "hang");
  const queued = await begin(slug, "page hello");
  await until(
    () => view(running),
    ({ state }) => state === "running",
  );
  await runner.kill();
  await runner.start();
  expect(ended(await eventsOf(running))).toMatchObject({ state: "interrupted" });
  const events = await eventsOf(queued);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(events).toContainEqual(expect.objectContaining({ type: "preview", framework: "static" }));
  expect(ended(events)).toMatchObject({ state: "completed" });
});

test("no event is lost or doubled while the Worker is killed and the runner's connection cut", async () => {
  const id = await begin(await newProject(), "many 2000");
  for (let kills = 0; kills < 3; kills++) {
    await stack.kill();
    await stack.restart();
  }
  await until(
    () => stack.api("GET", `/builds/${id}`),
    ({ status, body }) => status === 200 && body["state"] === "completed",
  );
  const events = await eventsOf(id);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const calls = events.flatMap((event) => (event.type === "tool" ? event.title : []));
  expect(calls).toEqual(Array.from({ length: 2_000 }, (_, index) => `Call ${index + 1}`));
  expect(await eventsOf(id, events.length - 3)).toEqual(events.slice(-3));
});

test("an agent that nobody knows, isn't installed or has no key is refused before anything starts", async () => {
  const slug = await newProject();
  const refusal = async (agent: string): Promise<unknown> =>
    (await stack.api("POST", `/projects/${slug}/builds`, { prompt: "x", agent })).body;
  expect(await refusal("mallory")).toMatchObject({
    code: "invalid_request",
    detail: "There is no agent mallory: template, claude, codex, gemini, opencode, copilot, keyless, custom.",
  });
  expect(await refusal("gemini")).toMatchObject({
    code: "invalid_request",
    detail:
      "Agent gemini can't run: gemini isn't installed on the runner's machine, or not on its PATH. " +
      "Mend it: npm install -g @google/gemini-cli",
  });
  expect(await refusal("keyless")).toMatchObject({
    detail: "Agent keyless can't run: it has no key. Mend it: start the runner with KEYLESS_API_KEY",
  });
  expect((await stack.control.project(slug)).runner?.builds).toEqual([]);
});

test.each([
  ["seconds", { seconds: 0.5 }, "hang", "It reached its limit of time, 0.5 s."],
  [
    "silence",
    { silenceSeconds: 0.5 },
    "hang",
    "It reached its limit of silence: the agent said nothing for 0.5 s.",
  ],
  ["output", { outputBytes: 20_000 }, "many 5000", "It reached its limit of 20000 bytes of output."],
  ["cost", { cost: 0.4 }, "costly", "It reached its limit of cost, 0.4 USD."],
])(
  "a build that reaches its limit fails and leaves no process: %s",
  async (_name, limits, prompt, reason) => {
    const before = runner.hosted(); // dev servers of other tests
    const slug = await newProject();
    const { status, body } = await stack.api("POST", `/projects/${slug}/builds`, { prompt, limits });
    expect(status).toBe(202);
    expect(ended(await eventsOf(String(body["id"])))).toMatchObject({ state: "failed", reason });
    expect(runner.hosted()).toEqual(before);
  },
);

test("a build that may take one turn asks for no repair", async () => {
  const slug = await newProject();
  const { body } = await stack.api("POST", `/projects/${slug}/builds`, {
    prompt: "broken",
    limits: { turns: 1 },
  });
  expect(ended(await eventsOf(String(body["id"])))).toMatchObject({
    state: "failed",
    reason: "It reached its limit of 1 turn.",
  });
});
