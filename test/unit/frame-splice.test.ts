import { once } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameSplice, type SpliceOptions } from "../../runner/tunnel/frame-splice.ts";

interface Frame {
  first: number;
  payload: Buffer;
}

const OPTIONS: SpliceOptions = {
  masks: false,
  messageLimitBytes: 100_000,
  pace: { burst: 10_000, perSecond: 1_000_000 },
  vanishedCode: null,
};

/** As a server sends it. */
function serverFrame({ first, payload }: Frame): Buffer {
  const { length } = payload;
  const header =
    length < 126
      ? Buffer.from([first, length])
      : length < 65_536
        ? Buffer.from([first, 126, length >> 8, length & 0xff])
        : Buffer.from([first, 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 0xff, length & 0xff]);
  return Buffer.concat([header, payload]);
}

/** As a client sends them, all of which are masked. */
function clientFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const [first = 0, second = 0] = bytes.subarray(at);
    expect(second & 0x80).toBe(0x80);
    const short = second & 0x7f;
    const [header, length] =
      short === 126
        ? [4, bytes.readUInt16BE(at + 2)]
        : short === 127
          ? [10, Number(bytes.readBigUInt64BE(at + 2))]
          : [2, short];
    const key = bytes.subarray(at + header, at + header + 4);
    const start = at + header + 4;
    const payload = bytes.subarray(start, start + length).map((byte, n) => byte ^ (key[n % 4] ?? 0));
    frames.push({ first, payload: Buffer.from(payload) });
    at = start + length;
  }
  return frames;
}

async function spliced(chunks: readonly Buffer[], options: Partial<SpliceOptions> = {}): Promise<Frame[]> {
  const splice = new FrameSplice({ ...OPTIONS, ...options });
  const out: Buffer[] = [];
  splice.on("data", (chunk: Buffer) => out.push(chunk));
  const ended = once(splice, "end");
  for (const chunk of chunks) splice.write(chunk);
  splice.end();
  await ended;
  return clientFrames(Buffer.concat(out));
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const size = sizes[n % sizes.length] ?? 1;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

const frame = fc.record({
  // Text, binary and continuation, unfinished and whole; ping.
  first: fc.constantFrom(0x81, 0x82, 0x01, 0x00, 0x80, 0x89),
  size: fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(65_535, 65_536, 3_000)),
});

test("frames come out masked and otherwise as they went in, in whatever pieces", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      async (given, sizes, masks) => {
        const frames = given.map(({ first, size }, n) => ({
          first,
          payload: Buffer.alloc(first === 0x89 ? Math.min(size, 125) : size, n + 1),
        }));
        const bytes = Buffer.concat(frames.map(serverFrame));
        const limits = { masks, messageLimitBytes: 10_000_000 };
        expect(await spliced(cut(bytes, sizes), limits)).toEqual(frames);
      },
    ),
    { numRuns: 60 },
  );
});

test("a message over the limit is answered with 1009, even in parts, and nothing follows it", async () => {
  const part = { first: 0x02, payload: Buffer.alloc(60_000) };
  const rest = { first: 0x80, payload: Buffer.alloc(60_000) };
  const after = { first: 0x81, payload: Buffer.from("after") };
  const frames = await spliced([part, rest, after].map(serverFrame));
  expect(frames.map(({ first }) => first)).toEqual([0x02, 0x88]);
  expect(frames[1]?.payload.readUInt16BE(0)).toBe(1009);
});

test("a server that vanishes between two messages is reported by a close, and one within a message by an error", async () => {
  const whole = serverFrame({ first: 0x81, payload: Buffer.from("hello") });
  const frames = await spliced([whole], { vanishedCode: 1011 });
  expect(frames[1]?.payload.readUInt16BE(0)).toBe(1011);
  const splice = new FrameSplice({ ...OPTIONS, vanishedCode: 1011 });
  const failed = once(splice, "error");
  splice.resume();
  splice.end(whole.subarray(0, 4));
  await failed;
});

test("what a server closes with is known, and isn't said twice", async () => {
  const payload = Buffer.concat([Buffer.from([0x10, 0xe1]), Buffer.from("bye")]);
  const splice = new FrameSplice({ ...OPTIONS, vanishedCode: 1011 });
  const out: Buffer[] = [];
  splice.on("data", (chunk: Buffer) => out.push(chunk));
  const ended = once(splice, "end");
  splice.end(serverFrame({ first: 0x88, payload }));
  await ended;
  expect(splice.peerClose).toEqual({ code: 4321, reason: "bye" });
  expect(clientFrames(Buffer.concat(out))).toEqual([{ first: 0x88, payload }]);
});

test("frames beyond the pace wait for their time", async () => {
  const empty = serverFrame({ first: 0x81, payload: Buffer.alloc(0) });
  const startedAt = performance.now();
  const frames = await spliced(
    Array.from({ length: 50 }, () => empty),
    { pace: { burst: 10, perSecond: 200 } },
  );
  expect(frames.length).toBe(50);
  expect(performance.now() - startedAt).toBeGreaterThan(150);
});

test.each([
  ["a masked frame", Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0])],
  ["a long control frame", Buffer.from([0x89, 126, 1, 0])],
])("%s of a server is an error", async (_name, bytes) => {
  const splice = new FrameSplice(OPTIONS);
  const failed = once(splice, "error");
  splice.resume();
  splice.write(bytes);
  await failed;
});
