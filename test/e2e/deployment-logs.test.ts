import { afterAll, beforeAll, expect, test, type TestContext } from "vitest";
import { startBackend } from "../helpers/backend.ts";
import { putApp } from "../helpers/deploy.ts";
import { readEvents, type ServerEvent } from "../helpers/event-stream.ts";
import { archiveOf } from "../helpers/archive.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { deploy, uploadSource } from "../helpers/runner-deployments.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(() => stack.stop());

/** Writes a line for each request: its path. */
const SERVER = `import { createServer } from "node:http";
createServer((request, response) => {
  if (request.url.startsWith("/_pulse/meta")) return response.end(JSON.stringify({ status: "ok", deployment_id: process.env.PULSE_DEPLOYMENT_ID }));
  if (!request.url.startsWith("/_")) console.log("asked for " + request.url);
  if (request.url === "/crash") process.exit(3);
  response.end("served");
}).listen(process.env.PORT, process.env.HOST, () => console.log("app listens"));`;

interface World {
  runner: RunnerProcess;
  app: string;
  ask: (path: string) => Promise<void>;
}

/** A runner and an app of this test alone. */
async function world({ onTestFinished }: TestContext): Promise<World> {
  count += 1;
  const app = `logs-${count}`;
  const host = `${app}.test`;
  const runner = await startRunner(stack, { id: `logs-runner-${count}` });
  onTestFinished(() => runner.remove());
  await putApp(stack, app, { hosts: [host], previousRetentionSeconds: 0, reloadGraceSeconds: 0 });
  const sha256 = await uploadSource(stack, runner.id, await archiveOf({ "server.mjs": SERVER }));
  const target = { sha256, runnerId: runner.id, build: "echo built; echo with a warning >&2" };
  await deploy(stack, app, "v1", { ...target, start: "node server.mjs" });
  await stack.control.until(app, "v1", ["active"], 60_000);
  return {
    runner,
    app,
    async ask(path) {
      await until(
        () => stack.request(host, path),
        ({ status }) => status === 200,
      );
    },
  };
}

interface Page {
  lines: { at: string; stream: string; text: string; step?: string }[];
  cursor: number;
  truncated: boolean;
  complete: boolean;
  detail?: string;
}

async function page(app: string, query: string): Promise<Page> {
  const { status, body } = await stack.api("GET", `/apps/${app}/deployments/v1/logs?${query}`);
  expect(status, JSON.stringify(body)).toBe(200);
  return body as unknown as Page;
}

/** All lines from a cursor on, by pages. */
async function rest(app: string, cursor: number, limit = 1_000): Promise<Page> {
  const first = await page(app, `cursor=${cursor}&limit=${limit}`);
  if (first.lines.length === 0) return first;
  const more = await rest(app, first.cursor, limit);
  return { ...more, lines: [...first.lines, ...more.lines] };
}

/** Until a request's line is in the log: what an app writes comes another way than what it answers. */
async function logged(app: string, path: string, cursor = 0): Promise<Page> {
  return until(
    () => rest(app, cursor),
    ({ lines }) => asked(lines).includes(path),
  );
}

const asked = (lines: { text: string }[]): string[] =>
  lines.flatMap(({ text }) => (text.startsWith("asked for ") ? [text.slice("asked for ".length)] : []));

test.concurrent(
  "the log of an active deployment holds its build and its app, page by page",
  async (context) => {
    const { app, ask } = await world(context);
    await ask("/one");
    await logged(app, "/one");
    const { lines, cursor } = await page(app, "");
    expect(lines).toContainEqual(expect.objectContaining({ stream: "stdout", text: "built", step: "build" }));
    expect(lines).toContainEqual(expect.objectContaining({ stream: "stderr", text: "with a warning" }));
    expect(lines).toContainEqual(
      expect.objectContaining({ stream: "stdout", text: "app listens", step: "start" }),
    );
    expect(asked(lines)).toEqual(["/one"]);
    expect(lines.every(({ at }) => !Number.isNaN(Date.parse(at)))).toBe(true);
    expect((await rest(app, 0, 2)).lines).toEqual(lines);
    expect(await page(app, `cursor=${cursor}`)).toEqual({
      lines: [],
      cursor,
      truncated: false,
      complete: false,
    });

    const openApi = await (await fetch(`${stack.origin}/_signalbox/api/v1/openapi.json`)).text();
    expect(openApi).toContain("/apps/{app}/deployments/{id}/logs");
  },
);

test.concurrent(
  "a reader that waits is answered by the next line, not by the end of its time",
  async (context) => {
    const { runner, app, ask } = await world(context);
    const { cursor } = await rest(app, 0);
    const waiting = page(app, `cursor=${cursor}&wait=50`);
    await runnerIsAsked(runner);
    const startedAt = Date.now();
    await ask("/awaited");
    expect(asked((await waiting).lines)).toEqual(["/awaited"]);
    expect(Date.now() - startedAt).toBeLessThan(25_000);
  },
);

/** Until the reader's request has come to the runner. */
async function runnerIsAsked(runner: RunnerProcess, streams = 1): Promise<void> {
  await until(
    () => stack.api("GET", `/runners/${runner.id}`),
    ({ body }) => body["openStreams"] === streams,
  );
}

test.concurrent(
  "a cursor goes on where it was after the app crashed and after its runner was killed",
  async (context) => {
    const { runner, app, ask } = await world(context);
    await ask("/before");
    const before = await logged(app, "/before");
    const { text } = await stack.request(`${app}.test`, "/crash");
    expect(text).not.toBe("served");
    await ask("/after-crash");
    const crashed = await logged(app, "/after-crash", before.cursor);
    expect(asked(crashed.lines)).toEqual(["/crash", "/after-crash"]);
    expect(crashed.lines.map((line) => line.text)).toContain("app listens");

    await runner.kill();
    const offline = await stack.api("GET", `/apps/${app}/deployments/v1/logs?cursor=${crashed.cursor}`);
    expect(offline.status).toBe(503);
    expect(offline.body["code"]).toBe("runner_offline");
    await runner.start();
    await ask("/after-kill");
    const killed = await logged(app, "/after-kill", crashed.cursor);
    expect(asked(killed.lines)).toEqual(["/after-kill"]);
    expect(killed.truncated).toBe(false);
    expect(asked((await rest(app, 0)).lines)).toEqual(["/before", "/crash", "/after-crash", "/after-kill"]);
  },
);

test.concurrent(
  "a followed log is live, outlives its runner, resumes by Last-Event-ID and ends with the deployment",
  async (context) => {
    const { runner, app, ask } = await world(context);
    const stream = await follow(app);
    await ask("/first");
    await stream.until("/first");
    await runner.kill();
    await runner.start();
    await ask("/second");
    await stream.until("/second");
    expect(asked(stream.lines)).toEqual(["/first", "/second"]);
    stream.drop();

    await ask("/third");
    const resumed = await follow(app, stream.lastId);
    await resumed.until("/third");
    expect(asked(resumed.lines)).toEqual(["/third"]);
    await stack.api("DELETE", `/apps/${app}`);
    await resumed.end();
    expect(asked([...stream.lines, ...resumed.lines])).toEqual(["/first", "/second", "/third"]);
  },
);

test.concurrent(
  "nothing is asked of a runner for a reader that has left, and a waiting one doesn't hold up its end",
  async (context) => {
    const { runner, app } = await world(context);
    const stream = await follow(app);
    await stream.until("app listens");
    await runnerIsAsked(runner);
    const leftAt = Date.now();
    stream.drop();
    await runnerIsAsked(runner, 0);
    // A stream is kept alive each five seconds, and so is found to have no reader; a page would be waited for fifty.
    expect(Date.now() - leftAt).toBeLessThan(25_000);

    const next = await follow(app, stream.lastId);
    await runnerIsAsked(runner);
    const startedAt = Date.now();
    await runner.stop();
    // A request that it had to wait for would hold it up for its ten seconds of grace.
    expect(Date.now() - startedAt).toBeLessThan(8_000);
    next.drop();
  },
);

interface Followed {
  lines: { text: string }[];
  lastId: string;
  /** Reads until a line holds a text. */
  until(text: string): Promise<void>;
  /** Reads to the end event. */
  end(): Promise<void>;
  drop(): void;
}

async function follow(app: string, lastId?: string): Promise<Followed> {
  const dropped = new AbortController();
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/logs?follow=1`, {
    headers: {
      authorization: `Bearer ${CONTROL_TOKEN}`,
      ...(lastId === undefined ? {} : { "last-event-id": lastId }),
    },
    signal: AbortSignal.any([dropped.signal, AbortSignal.timeout(110_000)]),
  });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const events = readEvents(response);
  const take = async (): Promise<ServerEvent> => {
    const { done, value } = await events.next();
    if (done) throw new Error("The stream ended.");
    if (value.event === "log") {
      followed.lines.push(...(JSON.parse(value.data) as Page).lines);
      followed.lastId = value.id;
    }
    return value;
  };
  const followed: Followed = {
    lines: [],
    lastId: lastId ?? "0",
    async until(text) {
      while (!followed.lines.some((line) => line.text.includes(text))) await take();
    },
    async end() {
      while ((await take()).event !== "end");
    },
    drop: () => dropped.abort(),
  };
  return followed;
}

test.concurrent("a deployment that has ended says so, and where its build's output is", async (context) => {
  const { runner, app } = await world(context);
  const { cursor } = await rest(app, 0);
  const sha256 = await uploadSource(stack, runner.id, await archiveOf({ "server.mjs": SERVER }));
  await deploy(stack, app, "v2", { sha256, runnerId: runner.id, start: "node server.mjs" });
  await stack.control.until(app, "v2", ["active"], 60_000);
  await stack.api("DELETE", `/apps/${app}/deployments/v1`);
  await stack.control.until(app, "v1", ["removed"], 60_000);
  const last = await page(app, `cursor=${cursor}&wait=50`);
  expect(last).toMatchObject({ lines: [], cursor, complete: true });
  expect(last.detail).toContain("among its events");
  const ended = await fetch(`${stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/logs?follow=1`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "last-event-id": String(cursor) },
  });
  expect(ended.status).toBe(204);
});

test.concurrent("what can't be read is refused by name", async () => {
  const backend = await startBackend("v1");
  try {
    await putApp(stack, "elsewhere", {});
    await stack.api("POST", "/apps/elsewhere/deployments", {
      id: "v1",
      target: { kind: "url", url: backend.url },
    });
    for (const query of ["", "follow=1"]) {
      const { status, body } = await stack.api("GET", `/apps/elsewhere/deployments/v1/logs?${query}`);
      expect([status, body["code"]]).toEqual([404, "no_logs"]);
      expect(body["detail"]).toContain("is a URL");
    }
    const unknown = await stack.api("GET", "/apps/elsewhere/deployments/v9/logs");
    expect([unknown.status, unknown.body["code"]]).toEqual([404, "unknown_deployment"]);
    for (const query of ["cursor=-1", "cursor=x", "limit=0", "limit=1001", "wait=51", "follow=yes"]) {
      const { status, body } = await stack.api("GET", `/apps/elsewhere/deployments/v1/logs?${query}`);
      expect([query, status]).toEqual([query, 400]);
      expect(JSON.stringify(body["errors"])).toContain(`query.${query.split("=")[0]}`);
    }
    const answer = await stack.api("GET", "/apps/elsewhere/deployments/v1/logs?follow=1", undefined, {
      "last-event-id": "one",
    });
    expect(answer.status).toBe(400);
  } finally {
    await backend.close();
  }
});
