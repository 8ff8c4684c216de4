import { describe, expect, test } from "vitest";
import { encodeFrame, parseFrames, type EncodedFrame } from "../../functions/protocol/frames.ts";
import { FrameWriter, type FrameSource } from "../../runner/tunnel/frame-writer.ts";

const KIB = 1024;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A writer on a clock of its own, whose messages leave when the test says so. */
class Wire {
  now = 0;
  readonly sent: { bytes: Uint8Array; written: () => void }[] = [];
  readonly writer = new FrameWriter(
    (message, written) => this.sent.push({ bytes: message.slice(), written }),
    () => {
      throw new Error("overflow");
    },
    () => this.now,
  );

  /** The next message leaves after so long; returns the sizes of its frames' bodies. */
  async leave(ms: number): Promise<number[]> {
    await turn();
    const message = this.sent.shift();
    if (message === undefined) return [];
    const sizes = parseFrames(message.bytes).map((frame) => ("body" in frame ? frame.body.byteLength : 0));
    // Those behind it were handed over at the same time.
    this.now += ms;
    message.written();
    return sizes;
  }
}

/** Has always more to send. */
function endless(stream: number, chunk?: () => Uint8Array): FrameSource {
  return {
    pull: (maxBodyBytes): EncodedFrame =>
      encodeFrame({
        type: "data",
        stream,
        body: chunk?.() ?? new Uint8Array(maxBodyBytes),
        end: false,
      }),
  };
}

describe("a stream that is alone", () => {
  test("gets larger frames while messages leave at once, and smaller ones when they don't", async () => {
    const wire = new Wire();
    wire.writer.wake(endless(1));
    const largest: number[] = [];
    for (let n = 0; n < 12; n++) largest.push(Math.max(...(await wire.leave(0))));
    expect(largest[0]).toBe(64 * KIB);
    expect(largest.at(-1)).toBe(512 * KIB);
    for (let n = 0; n < 12; n++) await wire.leave(100);
    expect(Math.max(...(await wire.leave(100)))).toBe(64 * KIB);
  });

  test("has no more than that again once another has something to send", async () => {
    const wire = new Wire();
    wire.writer.wake(endless(1));
    for (let n = 0; n < 12; n++) await wire.leave(0);
    wire.writer.wake(endless(3));
    for (let n = 0; n < 3; n++) await wire.leave(0);
    expect(new Set(await wire.leave(0))).toEqual(new Set([64 * KIB]));
  });
});

test("a chunk is given back once it is in a message, and a part of one isn't", async () => {
  const wire = new Wire();
  const whole = new Uint8Array(64 * KIB).fill(7);
  const part = new Uint8Array(128 * KIB).fill(8).subarray(0, 64 * KIB);
  const chunks = [whole, part];
  wire.writer.wake({
    pull() {
      const body = chunks.shift();
      return body === undefined ? null : encodeFrame({ type: "data", stream: 1, body, end: false });
    },
  });
  await turn();
  const bodies = parseFrames(wire.sent[0]?.bytes ?? new Uint8Array()).flatMap((frame) =>
    "body" in frame ? [frame.body[0], frame.body.byteLength] : [],
  );
  expect(bodies).toEqual([7, 64 * KIB, 8, 64 * KIB]);
  expect(whole.byteLength).toBe(0);
  expect(part.byteLength).toBe(64 * KIB);
});

test("grants of one turn leave as one frame for each stream", async () => {
  const wire = new Wire();
  for (const [stream, bytes] of [
    [0, 5],
    [1, 7],
    [0, 6],
    [1, 8],
  ] as const)
    wire.writer.window(stream, bytes);
  await turn();
  expect(wire.sent.flatMap(({ bytes }) => parseFrames(bytes))).toEqual([
    { type: "window", stream: 0, bytes: 11 },
    { type: "window", stream: 1, bytes: 15 },
  ]);
});
