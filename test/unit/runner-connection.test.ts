import { expect, test } from "vitest";
import { Backoff } from "../../runner/connection/backoff.ts";
import { Commands, CommandError } from "../../runner/connection/commands.ts";
import type { NewEvent } from "../../runner/connection/connection.ts";
import { EventQueue } from "../../runner/connection/event-queue.ts";
import { createLog } from "../../runner/terminal/log.ts";
import { commandTypes, type Command } from "../../functions/protocol/control.ts";

test("pauses double from one second to thirty, and start over after a reset", () => {
  const backoff = new Backoff(1_000, 30_000, () => 1);
  const pauses = Array.from({ length: 8 }, () => backoff.nextMs());
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  backoff.reset();
  expect(backoff.nextMs()).toBe(1_000);
});

test("jitter is full: from nothing to the whole pause, and never ends in infinity", () => {
  const draws = [0, 0.5, 0.999];
  const backoff = new Backoff(1_000, 30_000, () => draws.shift() ?? 1);
  expect([backoff.nextMs(), backoff.nextMs(), backoff.nextMs()]).toEqual([0, 1_000, 3_996]);
  for (let n = 0; n < 5_000; n += 1) expect(backoff.nextMs()).toBeLessThanOrEqual(30_000);
});

test("a thousand runners that were cut off together come back apart", () => {
  const pauses = Array.from({ length: 1_000 }, () => new Backoff(1_000, 30_000).nextMs());
  const perTenth = Array.from(
    { length: 10 },
    (_, n) => pauses.filter((ms) => Math.floor(ms / 100) === n).length,
  );
  expect(Math.min(...perTenth)).toBeGreaterThan(40);
});

test("waiting events are bounded by number and by size, and the oldest go first", () => {
  const queue = new EventQueue();
  for (let n = 0; n < 1_200; n += 1) queue.push(`event ${n}`);
  expect([queue.size, queue.takeDropped(), queue.takeDropped()]).toEqual([1_000, 200, 0]);
  expect(queue.shift()).toBe("event 200");
  for (let n = 0; n < 20; n += 1) queue.push("x".repeat(1024 * 1024));
  expect(queue.size).toBe(8);
  while (queue.shift() !== undefined);
  queue.push("after");
  expect(queue.shift()).toBe("after");
});

function command(type: string): Command {
  return { id: "c1", type, projectId: null, timestamp: "2026-11-22T00:00:00Z", payload: {} };
}

test("a command is acknowledged before its result, and a drain refuses only what starts work", async () => {
  const sent: NewEvent[] = [];
  const commands = new Commands(
    (event) => sent.push(event),
    () => undefined,
  );
  for (const type of commandTypes)
    commands.handle(type, async (_, { answer }) => answer({ type: "build-summary" }));
  await commands.dispatch(command("start-build"));
  expect(sent.splice(0)).toEqual([
    { type: "ack", commandId: "c1" },
    { type: "build-summary", commandId: "c1" },
  ]);
  commands.shutDown();
  for (const type of commandTypes) await commands.dispatch(command(type));
  const refused = sent.filter(({ type }) => type === "error").length;
  expect(refused).toBe(8);
  sent.splice(0);
  await commands.dispatch(command("stop-dev-server"));
  expect(sent[0]).toMatchObject({ type: "ack" });
});

test("an expected failure tells its code, an unexpected one only that it happened", async () => {
  const sent: NewEvent[] = [];
  const reported: unknown[] = [];
  const commands = new Commands(
    (event) => sent.push(event),
    (error) => reported.push(error),
  );
  commands.handle("read-file", () =>
    Promise.reject(new CommandError("path_outside_project", "That is outside.")),
  );
  commands.handle("list-files", () => Promise.reject(new Error("/secret/path is broken")));
  await commands.dispatch(command("read-file"));
  await commands.dispatch(command("list-files"));
  expect(sent.filter(({ type }) => type === "error")).toEqual([
    { type: "error", commandId: "c1", code: "path_outside_project", error: "That is outside." },
    {
      type: "error",
      commandId: "c1",
      code: "internal",
      error: "The runner failed at list-files; see its log.",
    },
  ]);
  expect(reported.length).toBe(1);
});

test("no line holds a secret", () => {
  const lines: string[] = [];
  const log = createLog({ debug: false, secrets: ["s3cret", ""], write: (line) => lines.push(line) });
  log.warn("refused: Bearer s3cret, s3cret");
  log.debug("nothing");
  expect(lines).toEqual(["refused: Bearer [secret], [secret]"]);
});
