import { afterAll, expect, test } from "vitest";
import { onEmbedded, onUpstash, type OpenStack } from "../helpers/both-stores.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { readEvents, type ServerEvent } from "../helpers/event-stream.ts";
import { openPage } from "../helpers/page-client.ts";
import { startPlainApp } from "../helpers/plain-app.ts";
import { startRunner } from "../helpers/runner.ts";
import { CONTROL_TOKEN, type TestStack } from "../helpers/stack.ts";

const stops: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

async function begin(open: () => Promise<OpenStack>): Promise<TestStack> {
  const opened = await open();
  stops.push(() => opened.stop());
  return opened.stack;
}

/** Reads the stream from its first byte on. */
async function look(stack: TestStack, query = ""): Promise<AsyncGenerator<ServerEvent>> {
  const controller = new AbortController();
  stops.push(async () => controller.abort());
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/events${query}`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
    signal: controller.signal,
  });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  return readEvents(response);
}

async function next(
  events: AsyncGenerator<ServerEvent>,
  wanted: (event: ServerEvent) => boolean,
): Promise<ServerEvent> {
  for (;;) {
    const { value, done } = await events.next();
    if (done === true) throw new Error("The stream ended.");
    if (wanted(value)) return value;
  }
}

const changed =
  (topic: string) =>
  ({ event, data }: ServerEvent): boolean =>
    event === "changed" && data === JSON.stringify({ topic });

test.each<[string, () => Promise<OpenStack>]>([
  ["the embedded store", onEmbedded],
  ["Upstash", onUpstash],
])("on %s every reader is told of apps, runners, projects and the janitor", async (_name, open) => {
  const stack = await begin(open);
  const [one, other] = [await look(stack), await look(stack)];
  await putApp(stack, "shop", {});
  await next(one, changed("app:shop"));
  await next(other, changed("app:shop"));
  const runner = await startRunner(stack, { id: "here" });
  stops.push(() => runner.remove());
  await next(one, changed("runner:here"));
  await stack.api("POST", "/janitor/run", {});
  await next(one, changed("janitor"));
  const { body } = await stack.api("POST", "/projects", {
    slug: "page",
    prompt: "A page",
    agent: "template",
  });
  expect(body).toMatchObject({ slug: "page" });
  await next(one, changed("project:page"));
  // Once for its record, and again for its build.
  await next(one, changed("project:page"));
  await next(other, changed("project:page"));
  await stack.api("DELETE", "/apps/shop");
  await next(one, changed("app:shop"));
});

test("a reader that watches an app is told how many are on each version, while it looks", async () => {
  const stack = await begin(onEmbedded);
  await putApp(stack, "shop", { contract: "edge" });
  const backend = await startPlainApp("v1");
  stops.push(() => backend.close());
  await deployUrl(stack, "shop", "v1", backend.url);
  const events = await look(stack, "?watch=app:shop");
  const page = await openPage(stack, "shop.localhost");
  const { data } = await next(
    events,
    ({ event, data: text }) => event === "watched" && text.includes('"sessions":1'),
  );
  expect(JSON.parse(data)).toEqual({
    topic: "app:shop",
    deployments: [{ id: "v1", sessions: 1, why: null }],
  });
  await stack.api("POST", "/apps/shop/pause", { mode: "refuse", message: "Back soon." });
  await next(events, changed("app:shop"));
  page.socket.close();
  await next(events, ({ event, data: text }) => event === "watched" && !text.includes('"sessions":1'));
});

test("what isn't a topic can't be watched", async () => {
  const stack = await begin(onEmbedded);
  for (const query of [
    "?watch=shop",
    "?watch=app:",
    "?watch=project:shop",
    `?watch=app:a&${"watch=app:b&".repeat(4)}`,
  ]) {
    const answer = await stack.api("GET", `/events${query}`);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: "invalid_request" });
  }
  const read = await stack.api("POST", "/tokens", { name: "deployer", scopes: ["deploy:shop"] });
  const refused = await stack.api("GET", "/events", undefined, {
    authorization: `Bearer ${String(read.body["token"])}`,
  });
  expect(refused.status).toBe(403);
});
