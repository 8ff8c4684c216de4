import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameBudget, SendCredit, StreamWindow, WindowPool } from "../../functions/protocol/flow.ts";
import { ProtocolError } from "../../functions/protocol/frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  STREAM_WINDOW_BYTES,
  WINDOW_GROWTH_BYTES,
} from "../../functions/protocol/limits.ts";

const MIB = 1024 * 1024;

/** A sender with always more to send, a way with a delay and a rate, and a receiver, on a clock of their own. */
class Way {
  now = 0;
  readonly pool = new WindowPool(() => this.now);
  readonly delayMs: number;
  readonly bytesPerMs: number;

  constructor(delayMs: number, megabytesPerSecond: number) {
    this.delayMs = delayMs;
    this.bytesPerMs = megabytesPerSecond * 1_000;
  }

  /** Bytes per millisecond at the end of so many milliseconds. */
  run(ms: number, window: StreamWindow, consumes = (bytes: number): number => bytes): number {
    const sender = new SendCredit(STREAM_WINDOW_BYTES);
    const arriving: { at: number; bytes: number }[] = [];
    const returning: { at: number; bytes: number }[] = [];
    let held = 0;
    let received = 0;
    const end = this.now + ms;
    for (; this.now < end; this.now++) {
      for (let [grant] = returning; grant !== undefined && grant.at <= this.now; [grant] = returning)
        sender.grant(returning.shift()?.bytes ?? 0);
      const sent = sender.take(this.bytesPerMs);
      if (sent > 0) arriving.push({ at: this.now + this.delayMs, bytes: sent });
      for (let [chunk] = arriving; chunk !== undefined && chunk.at <= this.now; [chunk] = arriving) {
        arriving.shift();
        window.receive(chunk.bytes);
        held += chunk.bytes;
        if (this.now >= end - 1_000) received += chunk.bytes;
      }
      const consumed = Math.min(held, consumes(held));
      held -= consumed;
      const grant = window.consume(consumed);
      if (grant > 0) returning.push({ at: this.now + this.delayMs, bytes: grant });
    }
    return received / 1_000;
  }
}

describe("a stream's window", () => {
  test("grows until the way is full, and no further than it may", () => {
    const way = new Way(50, 50);
    const window = new StreamWindow(way.pool);
    expect(way.run(5_000, window) / way.bytesPerMs).toBeGreaterThan(0.95);
    expect(window.windowBytes).toBeLessThanOrEqual(STREAM_WINDOW_BYTES + WINDOW_GROWTH_BYTES);
  });

  test("stays small where that is enough", () => {
    for (const [delayMs, rate] of [
      [50, 1],
      [1, 100],
      [0, 500],
      [5, 20],
    ] as const) {
      const way = new Way(delayMs, rate);
      way.pool.delay(2 * delayMs);
      const window = new StreamWindow(way.pool);
      way.run(5_000, window);
      expect(window.windowBytes).toBe(STREAM_WINDOW_BYTES);
    }
  });

  test("grows to three times at most on a slow way of which nothing else is known", () => {
    const way = new Way(50, 1);
    const window = new StreamWindow(way.pool);
    way.run(20_000, window);
    expect(window.windowBytes).toBeLessThanOrEqual(3 * STREAM_WINDOW_BYTES);
  });

  test("stays small for a reader that takes nothing, or little", () => {
    const way = new Way(50, 50);
    const window = new StreamWindow(way.pool);
    way.run(3_000, window, () => 0);
    expect(window.windowBytes).toBe(STREAM_WINDOW_BYTES);
    const slow = new StreamWindow(way.pool);
    way.run(3_000, slow, () => 500);
    expect(slow.windowBytes).toBe(STREAM_WINDOW_BYTES);
  });

  test("shrinks when its reader becomes slow, and is given back at the end", () => {
    const way = new Way(50, 50);
    const window = new StreamWindow(way.pool);
    way.run(3_000, window);
    const grown = window.windowBytes;
    expect(grown).toBeGreaterThan(4 * MIB);
    expect(way.pool.growthLeftBytes).toBe(WINDOW_GROWTH_BYTES - (grown - STREAM_WINDOW_BYTES));
    window.end();
    expect(way.pool.growthLeftBytes).toBe(WINDOW_GROWTH_BYTES);
  });

  test("of all streams together grows by no more than the connection has for it, whatever happens", () => {
    const happening = fc.array(
      fc.record({
        stream: fc.nat({ max: 3 }),
        receives: fc.nat({ max: 2 * MIB }),
        consumes: fc.nat({ max: 2 * MIB }),
        ms: fc.nat({ max: 300 }),
      }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(happening, (events) => {
        let now = 0;
        const pool = new WindowPool(() => now);
        const streams = Array.from({ length: 4 }, () => ({
          window: new StreamWindow(pool),
          credit: new SendCredit(STREAM_WINDOW_BYTES),
          held: 0,
        }));
        for (const { stream, receives, consumes, ms } of events) {
          now += ms;
          const one = streams[stream];
          if (one === undefined) continue;
          const sent = one.credit.take(receives);
          one.window.receive(sent);
          one.held += sent;
          const taken = Math.min(one.held, consumes);
          one.held -= taken;
          one.credit.grant(one.window.consume(taken));
          expect(pool.growthLeftBytes).toBeGreaterThanOrEqual(0);
          expect(one.credit.bytes + one.held).toBeLessThanOrEqual(STREAM_WINDOW_BYTES + WINDOW_GROWTH_BYTES);
        }
        for (const { window } of streams) window.end();
        expect(pool.growthLeftBytes).toBe(WINDOW_GROWTH_BYTES);
      }),
    );
  });

  test("that was exceeded is an error", () => {
    const window = new StreamWindow(new WindowPool(() => 0));
    expect(() => window.receive(STREAM_WINDOW_BYTES + 1)).toThrow(ProtocolError);
  });
});

test("streams with grown windows that are stuck leave room for the others", () => {
  const connection = new SendCredit(CONNECTION_WINDOW_BYTES);
  const grown = Array.from(
    { length: 2 },
    () => new SendCredit(STREAM_WINDOW_BYTES + WINDOW_GROWTH_BYTES / 2),
  );
  const stuck = [...grown, ...Array.from({ length: 20 }, () => new SendCredit(STREAM_WINDOW_BYTES))];
  for (let before = -1; before !== connection.bytes;) {
    before = connection.bytes;
    for (const stream of stuck) connection.take(stream.take(frameBudget(stream, connection, 512 * 1024)));
  }
  const another = new SendCredit(STREAM_WINDOW_BYTES);
  expect(connection.bytes).toBeGreaterThan(4 * MIB);
  expect(frameBudget(another, connection)).toBe(64 * 1024);
});
