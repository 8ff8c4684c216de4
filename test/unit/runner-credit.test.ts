import fc from "fast-check";
import { expect, test } from "vitest";
import { frameBudget, ReceiveCredit, SendCredit } from "../../functions/protocol/flow.ts";
import {
  CONNECTION_WINDOW_BYTES,
  FRAME_BODY_BYTES,
  STREAM_WINDOW_BYTES,
} from "../../functions/protocol/limits.ts";

/** Both ends of a connection with streams whose receivers take what they are given, or don't. */
class Pipe {
  readonly sending = new SendCredit(CONNECTION_WINDOW_BYTES);
  readonly receiving = new ReceiveCredit(CONNECTION_WINDOW_BYTES);
  readonly streams: { sending: SendCredit; receiving: ReceiveCredit; held: number; delivered: number }[];

  constructor(count: number) {
    this.streams = Array.from({ length: count }, () => ({
      sending: new SendCredit(STREAM_WINDOW_BYTES),
      receiving: new ReceiveCredit(STREAM_WINDOW_BYTES),
      held: 0,
      delivered: 0,
    }));
  }

  send(index: number, wanted: number): number {
    const stream = this.streams[index];
    if (stream === undefined) return 0;
    const bytes = Math.min(wanted, frameBudget(stream.sending, this.sending));
    expect(stream.sending.take(bytes)).toBe(bytes);
    expect(this.sending.take(bytes)).toBe(bytes);
    // Throws when the receiver didn't allow it.
    this.receiving.receive(bytes);
    stream.receiving.receive(bytes);
    stream.held += bytes;
    return bytes;
  }

  consume(index: number, wanted: number): void {
    const stream = this.streams[index];
    if (stream === undefined) return;
    const bytes = Math.min(wanted, stream.held);
    stream.held -= bytes;
    stream.delivered += bytes;
    const [own, common] = [stream.receiving.consume(bytes), this.receiving.consume(bytes)];
    if (own > 0) stream.sending.grant(own);
    if (common > 0) this.sending.grant(common);
  }
}

test("whatever happens, no sender exceeds what its receiver allowed, and what flows on goes on flowing", () => {
  const step = fc.record({
    stream: fc.nat(150),
    bytes: fc.integer({ min: 1, max: 3 * FRAME_BODY_BYTES }),
    sends: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.array(step, { maxLength: 2_000 }), (slow, steps) => {
      const pipe = new Pipe(slow + 1);
      for (const { stream, bytes, sends } of steps) {
        if (sends) pipe.send(stream % (slow + 1), bytes);
        else pipe.consume(stream % (slow + 1), bytes);
      }
      // From here on all receivers but the last one have stopped, and their senders send what they may.
      const before = pipe.streams[slow]?.delivered ?? 0;
      for (let n = 0; n < 200; n += 1) {
        for (let index = 0; index < slow; index += 1) pipe.send(index, FRAME_BODY_BYTES);
        pipe.send(slow, FRAME_BODY_BYTES);
        pipe.consume(slow, FRAME_BODY_BYTES);
      }
      expect((pipe.streams[slow]?.delivered ?? 0) - before).toBeGreaterThan(100 * 1_024);
    }),
    { numRuns: 20 },
  );
});

test("a stream that is alone uses its whole window", () => {
  const pipe = new Pipe(1);
  let sent = 0;
  for (let bytes = pipe.send(0, FRAME_BODY_BYTES); bytes > 0; bytes = pipe.send(0, FRAME_BODY_BYTES))
    sent += bytes;
  expect(sent).toBe(STREAM_WINDOW_BYTES);
});
