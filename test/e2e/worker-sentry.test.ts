import { afterAll, beforeAll, expect, test } from "vitest";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { startSink, type Sink } from "../helpers/sink.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, until } from "../helpers/stack.ts";

let sink: Sink;
let world: UpstashStack;

beforeAll(async () => {
  sink = await startSink();
  world = await onUpstash({
    SENTRY_DSN: `http://publickey@127.0.0.1:${sink.port}/42`,
    SENTRY_ENVIRONMENT: "staging",
    SENTRY_RELEASE: "abc123",
  });
});
afterAll(async () => {
  await world?.stop();
  await sink?.close();
});

function scrape(): Promise<Response> {
  const headers = { authorization: `Bearer ${CONTROL_TOKEN}` };
  return fetch(`${world.stack.origin}/_signalbox/metrics?secret-in-a-query`, { headers });
}

test("what nobody expected is reported, with nothing secret in it", async () => {
  // No writer of ours leaves that behind. Its parser says in its message what it found.
  await world.store.writeRecord("janitor", "last", CONTROL_TOKEN);
  const answer = await scrape();
  expect([answer.status, await answer.json()]).toEqual([
    500,
    expect.objectContaining({ code: "internal_error" }),
  ]);
  const [sent] = await until(
    () => sink.sent,
    (all) => all.length > 0,
  );
  expect(sent).toMatchObject({
    path: "/api/42/envelope/",
    headers: {
      "content-type": "application/x-sentry-envelope",
      "x-sentry-auth": expect.stringContaining("sentry_key=publickey"),
    },
  });
  const [head, type, event] = String(sent?.text)
    .split("\n")
    .map((line): Record<string, unknown> => JSON.parse(line));
  expect(type).toEqual({ type: "event" });
  expect(event).toMatchObject({
    event_id: head?.["event_id"],
    level: "error",
    environment: "staging",
    release: "abc123",
    tags: { where: "own request" },
    exception: { values: [{ type: "SyntaxError", mechanism: { handled: true } }] },
  });
  expect(sent?.text).not.toContain("secret-in");
  // V8 quotes the first characters of what isn't JSON.
  for (const secret of [CONTROL_TOKEN, INTERNAL_TOKEN]) expect(sent?.text).not.toContain(secret);
});

test("a failure in a loop doesn't become a flood", async () => {
  for (let count = 0; count < 40; count++) await (await scrape()).body?.cancel();
  await until(
    () => sink.sent.length,
    (count) => count >= 25,
  );
  expect(sink.sent.length).toBeLessThanOrEqual(60);
});

test("what a caller does wrong isn't reported", async () => {
  const before = sink.sent.length;
  await world.stack.api("GET", "/apps/nothing");
  await world.stack.api("PUT", "/apps/odd", { odd: true });
  expect(sink.sent.length).toBe(before);
});
