import { describe, expect, test } from "vitest";
import { encodeOpen, parseFrames, type Frame } from "../../functions/protocol/frames.ts";
import { SendCredit } from "../../functions/protocol/flow.ts";
import {
  BATCH_BYTES,
  CONNECTION_WINDOW_BYTES,
  FRAME_BODY_BYTES,
  STREAM_WINDOW_BYTES,
} from "../../functions/protocol/limits.ts";
import { bodyLength } from "../../functions/runners/answer.ts";
import { parseRunnerUrl, runnerOrigin } from "../../functions/runners/origin.ts";
import { Outbox } from "../../functions/runners/outbox.ts";
import { Turns } from "../../functions/runners/turns.ts";

describe("a runner's origin", () => {
  test.each([
    ["web", "/", "/"],
    ["app/v1", "/a/../b%2F?x=/y#", "/a/../b%2F?x=/y#"],
    ["ä ?#/%", "?q", "/?q"],
    ["@runner", "", "/"],
  ])("of service %s comes back with the path %s as it was spelled", (service, path, wanted) => {
    expect(parseRunnerUrl(runnerOrigin("r-1.x", service) + path)).toEqual({
      runnerId: "r-1.x",
      service,
      path: wanted,
    });
  });

  test("is told from others, and must name a service", () => {
    expect(parseRunnerUrl("https://example.com/runner://x/y")).toBeNull();
    expect(() => parseRunnerUrl("runner://r1")).toThrow(TypeError);
    expect(() => parseRunnerUrl("runner:///x")).toThrow(TypeError);
  });
});

describe("frames that come up in one turn", () => {
  const data = (stream: number, bytes: number): Frame => ({
    type: "data",
    stream,
    body: new Uint8Array(bytes),
    end: false,
  });

  test("leave as one message, and those of the next turn as another", async () => {
    const messages: Uint8Array[] = [];
    const outbox = new Outbox((message) => messages.push(message));
    outbox.push(data(1, 10));
    outbox.push(data(2, 20));
    expect(messages).toHaveLength(0);
    await Promise.resolve();
    outbox.push(data(3, 5));
    await Promise.resolve();
    expect(messages.map((message) => parseFrames(message).map(({ stream }) => stream))).toEqual([
      [1, 2],
      [3],
    ]);
  });

  test("are split where they would be too much, in order", async () => {
    const messages: Uint8Array[] = [];
    const outbox = new Outbox((message) => messages.push(message));
    for (let stream = 1; stream <= 10; stream++) outbox.push(data(stream, 65_536));
    await Promise.resolve();
    expect(messages.every((message) => message.byteLength <= BATCH_BYTES)).toBe(true);
    expect(messages.flatMap((message) => parseFrames(message).map(({ stream }) => stream))).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    ]);
  });
});

describe("the connection's credit", () => {
  const stream = (): SendCredit => new SendCredit(STREAM_WINDOW_BYTES);

  test("goes to those that wait in turn, a frame each", async () => {
    const turns = new Turns(0);
    const order: string[] = [];
    const ask = async (name: string): Promise<void> => {
      const credit = stream();
      for (let times = 0; times < 3; times++) order.push(`${name}${await turns.take(credit, 10)}`);
    };
    const asking = [ask("a"), ask("b")];
    for (let times = 0; times < 6; times++) {
      turns.grant(10);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await Promise.all(asking);
    expect(order).toEqual(["a10", "b10", "a10", "b10", "a10", "b10"]);
  });

  test("is given as far as it goes, and nothing once the connection or the stream has ended", async () => {
    const turns = new Turns(7);
    expect(await turns.take(stream(), 10)).toBe(7);
    const gone = stream();
    const ended = turns.take(gone, 10);
    const waiting = turns.take(stream(), 10);
    turns.leave(gone);
    expect(await ended).toBe(0);
    turns.end();
    expect(await waiting).toBe(0);
  });

  test("waits for the stream's own, which is told when it has grown", async () => {
    const turns = new Turns(CONNECTION_WINDOW_BYTES);
    const empty = new SendCredit(0);
    const waiting = turns.take(empty, 10);
    expect(await turns.take(stream(), 10)).toBe(10);
    empty.grant(STREAM_WINDOW_BYTES);
    turns.look();
    expect(await waiting).toBe(10);
    expect(empty.bytes).toBe(STREAM_WINDOW_BYTES - 10);
  });

  test("isn't all taken by receivers that take nothing: half of it is left to those that have less", async () => {
    const turns = new Turns(CONNECTION_WINDOW_BYTES);
    const greedy = async (): Promise<void> => {
      const credit = stream();
      while ((await turns.take(credit, FRAME_BODY_BYTES)) > 0);
    };
    const stuck = Array.from({ length: 30 }, greedy);
    for (let turn = 0; turn < 1_000; turn++) await Promise.resolve();
    expect(turns.bytes).toBeGreaterThan(CONNECTION_WINDOW_BYTES / 4);
    expect(await turns.take(stream(), FRAME_BODY_BYTES)).toBe(FRAME_BODY_BYTES);
    turns.end();
    await Promise.all(stuck);
  });
});

test.each([
  [[["Content-Length", "12"]], 12],
  [[["content-length", "0"]], 0],
  [[], null],
  [[["content-length", "-1"]], null],
  [[["content-length", "1, 1"]], null],
  [
    [
      ["content-length", "1"],
      ["content-length", "2"],
    ],
    null,
  ],
] as [[string, string][], number | null][])("a body's length by %j is %j", (headers, length) => {
  expect(bodyLength(headers)).toBe(length);
});

describe("open frames", () => {
  const opened = (stream: number): ReturnType<typeof encodeOpen> => encodeOpen(stream, "{}", true);
  const streamsOf = (messages: Uint8Array[]): number[][] =>
    messages.map((message) => {
      const view = new DataView(message.buffer, message.byteOffset);
      return Array.from({ length: message.byteLength / 16 }, (_, at) => view.getUint32(at * 16 + 2));
    });

  test("leave in their turn when no other is open, or nothing left just before", async () => {
    const messages: Uint8Array[] = [];
    const outbox = new Outbox(
      (message) => messages.push(message),
      () => 0,
    );
    outbox.pushOpen(opened(1), false);
    await Promise.resolve();
    expect(streamsOf(messages)).toEqual([[1]]);
    let now = 10;
    const later = new Outbox(
      (message) => messages.push(message),
      () => now,
    );
    later.pushOpen(opened(2), true);
    await Promise.resolve();
    now += 5;
    later.pushOpen(opened(3), true);
    await Promise.resolve();
    expect(streamsOf(messages)).toEqual([[1], [2], [3]]);
  });

  test("wait for others while messages follow each other, eight at most", async () => {
    const messages: Uint8Array[] = [];
    const outbox = new Outbox(
      (message) => messages.push(message),
      () => 0,
    );
    outbox.pushOpen(opened(1), false);
    await Promise.resolve();
    for (let stream = 2; stream <= 10; stream++) {
      outbox.pushOpen(opened(stream), true);
      await Promise.resolve();
    }
    expect(streamsOf(messages)).toEqual([[1], [2, 3, 4, 5, 6, 7, 8, 9]]);
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(streamsOf(messages)).toEqual([[1], [2, 3, 4, 5, 6, 7, 8, 9], [10]]);
  });

  test("leave at once, and first, when any other frame does", async () => {
    const messages: Uint8Array[] = [];
    const outbox = new Outbox(
      (message) => messages.push(message),
      () => 0,
    );
    outbox.pushOpen(opened(1), false);
    await Promise.resolve();
    outbox.pushOpen(opened(2), true);
    outbox.push({ type: "window", stream: 1, bytes: 1 });
    await Promise.resolve();
    expect(messages).toHaveLength(2);
    expect(messages[1]?.[0]).toBe(1);
    expect(messages[1]?.[16]).toBe(5);
  });
});
