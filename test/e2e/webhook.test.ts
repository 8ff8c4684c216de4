import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isObject } from "../../functions/protocol/control.ts";
import { WebhookQueue } from "../../runner/webhook/webhook-queue.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

interface Taken {
  headers: IncomingHttpHeaders;
  event: Record<string, unknown>;
}

let root: string;
let app: Server;
let port: number;
/** What it answers to an event; null: it hangs up. */
let answer: (event: Record<string, unknown>) => number | null;
let asked: Taken[];
let taken: Taken[];
let runner: UnconnectedRunner | null;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-webhook-"));
  asked = [];
  taken = [];
  answer = () => 200;
  runner = null;
  app = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const event = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
      const one = { headers: request.headers, event };
      expect([request.method, request.url]).toEqual(["POST", "/base/api/runner/events"]);
      asked.push(one);
      const status = answer(event);
      if (status === null) return request.socket.destroy();
      if (status === 200) taken.push(one);
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  const address = app.address();
  port = isObject(address) ? Number(address["port"]) : 0;
});
afterEach(async () => {
  await runner?.stop();
  app.closeAllConnections();
  app.close();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
});

async function start(): Promise<UnconnectedRunner> {
  runner = await UnconnectedRunner.start({
    root,
    agents: { chosen: AGENT, table: {}, vendors: {} },
    confinement: { level: "none" },
    webhook: { baseUrl: `http://127.0.0.1:${port}/base`, secret: "s3cret", runnerId: "r1", firstDelayMs: 20 },
  });
  return runner;
}

async function build(on: UnconnectedRunner, id: string, prompt: string): Promise<void> {
  await on.json("PUT", "/projects/shop", { name: "Shop", agent: null });
  const serve = "require('node:http').createServer((q, a) => a.end()).listen(process.env.PORT, '127.0.0.1')";
  const manifest = { scripts: { dev: `node -e "${serve}"` } };
  await writeFile(join(root, "shop/package.json"), JSON.stringify(manifest));
  const body = { id: `shop.${id}`, prompt, agent: null };
  expect((await on.json("POST", "/projects/shop/builds", body)).status).toBe(202);
}

/** Each event's number, as often as it was taken. */
const numbers = (): string[] => taken.map(({ headers }) => String(headers["x-signalbox-event"]));

test("a web app that is away, then answers 503, gets every event in order and each one signed", async () => {
  let refusals = 0;
  answer = () => (++refusals <= 3 ? null : refusals <= 6 ? 503 : 200);
  const first = await start();
  await build(first, "first1", "many 3");
  await until("the build's end is told", () =>
    taken.some(({ event }) => event["type"] === "build-completed"),
  );
  expect(new Set(numbers()).size).toBe(numbers().length);
  expect(numbers()).toEqual(
    numbers().toSorted((one, other) => Number(one.slice(3)) - Number(other.slice(3))),
  );
  expect(taken[0]?.headers.authorization).toBe("Bearer s3cret");
  expect(taken.map(({ event }) => event["type"])).toEqual(
    expect.arrayContaining(["build-stream", "build-progress", "port-detected", "project-metadata"]),
  );
});

test("what the web app can't read is listed, and what follows is delivered", async () => {
  answer = ({ type }) => (type === "port-detected" ? 422 : 200);
  const first = await start();
  await build(first, "first1", "many 3");
  await until("the build's end is told", () =>
    taken.some(({ event }) => event["type"] === "build-completed"),
  );
  await first.stop();
  runner = null;
  const state = JSON.parse(await readFile(join(root, ".signalbox/webhook/state.json"), "utf8")) as Record<
    string,
    unknown
  >;
  expect(state["notTaken"]).toMatchObject([{ type: "port-detected", reason: "it answered 422" }]);
});

test("a runner that is killed while the web app is away tells all of it afterwards", async () => {
  answer = () => 503;
  const first = await start();
  await build(first, "first1", "many 200");
  await until("the build is over", async () => {
    const { body } = await first.json("GET", "/projects/shop/builds/shop.first1");
    return body["state"] === "completed";
  });
  await first.kill();
  answer = () => 200;
  await start();
  await until("the build's end is told", () =>
    taken.some(({ event }) => event["type"] === "build-completed"),
  );
  const calls = taken.filter(({ event }) => String(event["data"]).includes('"tool-input-available"'));
  expect(calls.map(({ event }) => /"toolCallId":"([^"]+)"/.exec(String(event["data"]))?.[1])).toEqual(
    Array.from({ length: 200 }, (_, index) => `call-${index + 1}`),
  );
});

test("builds from before there was a web app aren't told", async () => {
  const before = await UnconnectedRunner.start({
    root,
    agents: { chosen: AGENT, table: {}, vendors: {} },
    confinement: { level: "none" },
  });
  await build(before, "before1", "many 3");
  await until("the build is over", async () => {
    const { body } = await before.json("GET", "/projects/shop/builds/shop.before1");
    return body["state"] === "completed";
  });
  await before.stop();
  const after = await start();
  await build(after, "after1", "many 3");
  await until("the build's end is told", () =>
    taken.some(({ event }) => event["type"] === "build-completed"),
  );
  expect(taken.filter(({ event }) => event["type"] === "build-completed").length).toBe(1);
});

test("a queue that is full lists the oldest, and its file stays small", async () => {
  const queue = await WebhookQueue.open(join(root, "queue"), 20_000);
  const event = { type: "build-stream", data: "x".repeat(1_000) };
  for (let seq = 1; seq <= 3_000; seq++) queue.add("shop.one1", seq, [event]);
  expect(queue.size).toBeLessThan(20);
  expect(queue.notTaken.length).toBe(200);
  expect(queue.notTaken.at(-1)).toMatchObject({ type: "build-stream", reason: "the queue is full" });
  await queue.close();
  expect((await stat(join(root, "queue/queue.jsonl"))).size).toBeLessThan(2.5 * 1024 * 1024);
  const again = await WebhookQueue.open(join(root, "queue"), 20_000);
  expect([again.has("shop.one1"), (await again.first())?.seq]).toEqual([3_000, 3_001 - again.size]);
});
