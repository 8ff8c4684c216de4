import fc from "fast-check";
import { expect, test } from "vitest";
import { drainOf, parseCommand, parseEvent } from "../../functions/protocol/control.ts";
import {
  encodeFrame,
  joinFrames,
  parseFrames,
  ProtocolError,
  resetCodes,
  type Frame,
} from "../../functions/protocol/frames.ts";

/** Repeat a failure with SIGNALBOX_FUZZ_SEED. */
const seed = Number(process.env["SIGNALBOX_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const numRuns = process.env["SIGNALBOX_SOAK"] === "1" ? 200_000 : 20_000;
console.log(`Fuzzing the protocol ${numRuns} times from seed ${seed}`);
const options = { seed, numRuns };

const stream = fc.integer({ min: 1, max: 0xffff_ffff });
const body = fc.uint8Array({ maxLength: 40 });
const reason = fc.string({ maxLength: 20 });
const headers = fc.array(fc.tuple(fc.stringMatching(/^[a-zA-Z-]{1,10}$/), fc.string({ maxLength: 10 })), {
  maxLength: 4,
});
const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    type: fc.constant("open" as const),
    stream,
    head: fc.record({
      service: fc.string({ maxLength: 10 }),
      method: fc.stringMatching(/^[A-Z]{1,8}$/),
      path: fc.stringMatching(/^\/[!-~]{0,10}$/),
      headers,
      webSocket: fc.boolean(),
    }),
    body,
    end: fc.boolean(),
  }),
  fc.record({
    type: fc.constant("head" as const),
    stream,
    head: fc.record({
      status: fc.integer({ min: 100, max: 599 }),
      statusText: fc.string({ maxLength: 10 }),
      headers,
    }),
    body,
    end: fc.boolean(),
  }),
  fc.record({
    type: fc.constantFrom("data" as const, "text" as const, "binary" as const),
    stream,
    body,
    end: fc.boolean(),
  }) as fc.Arbitrary<Frame>,
  fc.record({ type: fc.constant("reset" as const), stream, code: fc.constantFrom(...resetCodes), reason }),
  fc.record({
    type: fc.constant("window" as const),
    stream: fc.oneof(stream, fc.constant(0)),
    bytes: fc.integer({ min: 1, max: 0xffff_ffff }),
  }),
  fc.record({
    type: fc.constant("close" as const),
    stream,
    code: fc.integer({ min: 0, max: 65_535 }),
    reason,
  }),
);

/** Null for what was refused in the right way. */
function parsed(message: Uint8Array): Frame[] | null {
  try {
    return parseFrames(message);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}

function hasHead(one: Frame): boolean {
  return one.type === "open" || one.type === "head";
}

function encode(frames: Frame[]): Uint8Array {
  return joinFrames(frames.map((one) => encodeFrame(one)));
}

/** What is read means the same when it is written again, byte for byte where no JSON leaves a choice. */
function expectStable(message: Uint8Array): void {
  const frames = parsed(message);
  if (frames === null) return;
  const again = encode(frames);
  expect(parseFrames(again)).toEqual(frames);
  if (!frames.some(hasHead)) expect(Buffer.compare(again, message)).toBe(0);
  expect(Buffer.compare(encode(parseFrames(again)), again)).toBe(0);
}

test("any bytes are refused with a ProtocolError, or are frames that are written again as they came", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => expectStable(bytes)),
    options,
  );
});

const payload = fc.oneof(
  fc.uint8Array({ maxLength: 30 }),
  fc.json({ maxDepth: 2 }).map((text) => {
    const json = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(json.length);
    return new Uint8Array(Buffer.concat([length, json]));
  }),
);

/** Frames by hand, some of which lie about their length. */
const almostFrames = fc
  .array(
    fc.record({
      type: fc.integer({ min: 0, max: 10 }),
      flags: fc.integer({ min: 0, max: 3 }),
      stream: fc.integer({ min: 0, max: 5 }),
      payload,
      lie: fc.constantFrom(0, 0, 0, 0, 1, -1, 2 ** 31),
    }),
    { maxLength: 4 },
  )
  .map((parts) =>
    Buffer.concat(
      parts.map((part) => {
        const header = Buffer.alloc(10);
        header.writeUInt8(part.type, 0);
        header.writeUInt8(part.flags, 1);
        header.writeUInt32BE(part.stream, 2);
        header.writeUInt32BE(Math.max(0, part.payload.length + part.lie), 6);
        return Buffer.concat([header, part.payload]);
      }),
    ),
  );

test("so are bytes that look like frames", () => {
  fc.assert(
    fc.property(almostFrames, (bytes) => expectStable(new Uint8Array(bytes))),
    options,
  );
});

test("frames come back as they were, and with bytes changed they are frames or refused", () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 });
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), changes, (frames, changed) => {
      const message = encode(frames);
      expect(parseFrames(message)).toEqual(frames);
      for (const [at, value] of changed) message[at % message.byteLength] = value;
      expectStable(message);
    }),
    { ...options, numRuns: numRuns / 4 },
  );
});

test("any text is refused with a ProtocolError, or is a message", () => {
  const fields = fc.record(
    {
      type: fc.constantFrom("ack", "error", "zz"),
      id: fc.jsonValue(),
      commandId: fc.jsonValue(),
      payload: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fields.map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(text, (message) => {
      for (const parse of [parseCommand, parseEvent]) {
        try {
          const read = parse(message);
          if (read === null) continue;
          // What is filled in is the time, and that goes on.
          if (parse === parseCommand) expect([true, false, null]).toContain(drainOf(parseCommand(message)));
          expect({ ...parse(JSON.stringify(read)), timestamp: "" }).toEqual({ ...read, timestamp: "" });
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }
    }),
    options,
  );
});
