import { describe, expect, test } from "vitest";
import {
  encodeFrame,
  encodeOpen,
  joinFrames,
  parseFrames,
  type Frame,
} from "../../functions/protocol/frames.ts";

/** Each frame as bytes that were written without the codec, so that both ends can't change the wire together. */
const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);
const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, "latin1"));
const wire = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const hexOf = (message: Uint8Array): string => Buffer.from(message).toString("hex");

const OPEN = {
  service: "app/v1",
  method: "GET",
  path: "/a",
  headers: [["host", "a.test"] as [string, string]],
  webSocket: false,
};
const HEAD = {
  status: 200,
  statusText: "OK",
  headers: [["Set-Cookie", "a=1"] as [string, string], ["Set-Cookie", "b=2"] as [string, string]],
};

/** Type, flags, stream, length; payload. */
const golden: [what: string, hex: string, frame: Frame][] = [
  [
    "an open without a body",
    "01 01 00000001 00000063 0000005f7b2273657276696365223a226170702f7631222c226d6574686f64223a22474554222c2270617468223a222f61222c2268656164657273223a5b5b22686f7374222c22612e74657374225d5d2c22776562536f636b6574223a66616c73657d",
    { type: "open", stream: 1, head: OPEN, body: bytes(), end: true },
  ],
  [
    "an open with the first bytes of a body",
    "01 00 00000002 00000065 0000005f7b2273657276696365223a226170702f7631222c226d6574686f64223a22474554222c2270617468223a222f61222c2268656164657273223a5b5b22686f7374222c22612e74657374225d5d2c22776562536f636b6574223a66616c73657d6869",
    { type: "open", stream: 2, head: OPEN, body: text("hi"), end: false },
  ],
  [
    "a head with a whole body",
    "02 01 00000001 0000005c 000000567b22737461747573223a3230302c2273746174757354657874223a224f4b222c2268656164657273223a5b5b225365742d436f6f6b6965222c22613d31225d2c5b225365742d436f6f6b6965222c22623d32225d5d7d6f6b",
    { type: "head", stream: 1, head: HEAD, body: text("ok"), end: true },
  ],
  [
    "a head without one",
    "02 00 ffffffff 0000005a 000000567b22737461747573223a3230302c2273746174757354657874223a224f4b222c2268656164657273223a5b5b225365742d436f6f6b6965222c22613d31225d2c5b225365742d436f6f6b6965222c22623d32225d5d7d",
    { type: "head", stream: 0xffff_ffff, head: HEAD, body: bytes(), end: false },
  ],
  ["data", "03 00 00000007 00000002 00ff", { type: "data", stream: 7, body: bytes(0, 255), end: false }],
  ["the end of a body", "03 01 00000007 00000000 ", { type: "data", stream: 7, body: bytes(), end: true }],
  [
    "a reset: cancelled",
    "04 00 00000003 00000003 00c3a9",
    { type: "reset", stream: 3, code: "cancelled", reason: "é" },
  ],
  [
    "a reset: unreachable",
    "04 00 00000003 00000003 01c3a9",
    { type: "reset", stream: 3, code: "unreachable", reason: "é" },
  ],
  [
    "a reset: protocol",
    "04 00 00000003 00000003 02c3a9",
    { type: "reset", stream: 3, code: "protocol", reason: "é" },
  ],
  [
    "a reset: overflow",
    "04 00 00000003 00000003 03c3a9",
    { type: "reset", stream: 3, code: "overflow", reason: "é" },
  ],
  [
    "a reset: draining",
    "04 00 00000003 00000003 04c3a9",
    { type: "reset", stream: 3, code: "draining", reason: "é" },
  ],
  [
    "a reset: timeout",
    "04 00 00000003 00000003 05c3a9",
    { type: "reset", stream: 3, code: "timeout", reason: "é" },
  ],
  ["a window of a stream", "05 00 00000009 00000004 00010000", { type: "window", stream: 9, bytes: 65_536 }],
  [
    "a window of the connection",
    "05 00 00000000 00000004 ffffffff",
    { type: "window", stream: 0, bytes: 0xffff_ffff },
  ],
  [
    "a part of a text message",
    "06 00 00000002 00000002 68c3",
    { type: "text", stream: 2, body: bytes(0x68, 0xc3), end: false },
  ],
  [
    "the last part of one",
    "06 01 00000002 00000001 a9",
    { type: "text", stream: 2, body: bytes(0xa9), end: true },
  ],
  [
    "a binary message",
    "07 01 00000002 00000001 ff",
    { type: "binary", stream: 2, body: bytes(255), end: true },
  ],
  ["a close", "08 00 00000002 00000005 03e8627965", { type: "close", stream: 2, code: 1_000, reason: "bye" }],
  [
    "a close without a code",
    "08 00 00000002 00000002 03ed",
    { type: "close", stream: 2, code: 1_005, reason: "" },
  ],
];

describe("the bytes of", () => {
  test.each(golden)("%s are written", (_what, hex, frame) => {
    expect(hexOf(joinFrames([encodeFrame(frame)]))).toBe(hexOf(wire(hex)));
  });

  test.each(golden)("%s are read", (_what, hex, frame) => {
    expect(parseFrames(wire(hex))).toEqual([frame]);
  });

  test("several frames follow each other in one message", () => {
    const frames = golden.map(([, , frame]) => frame);
    const hex = golden.map(([, one]) => one).join("");
    expect(hexOf(joinFrames(frames.map(encodeFrame)))).toBe(hexOf(wire(hex)));
    expect(parseFrames(wire(hex))).toEqual(frames);
  });

  test("a body in chunks are those of a whole one", () => {
    const frame: Frame = {
      type: "data",
      stream: 7,
      body: bytes(1),
      rest: [bytes(2, 3), bytes(4)],
      end: true,
    };
    expect(hexOf(joinFrames([encodeFrame(frame)]))).toBe("0301000000070000000401020304");
  });

  test("a frame of 512 KiB have its length in front", () => {
    const encoded = encodeFrame({ type: "data", stream: 7, body: new Uint8Array(512 * 1024), end: false });
    expect(hexOf(encoded.prefix)).toBe("03000000000700080000");
  });

  test("an open whose head was made before are those of one that is made now", () => {
    const made = joinFrames([encodeOpen(1, JSON.stringify(OPEN), true)]);
    expect(hexOf(made)).toBe(hexOf(wire(golden[0]?.[1] ?? "")));
  });
});

describe("a head of either kind of peer is read:", () => {
  test("bytes of a value, escaped, as Workers send them", () => {
    const message = wire(
      "01 01 00000001 0000005f 0000005b7b2273657276696365223a2261222c226d6574686f64223a22474554222c2270617468223a222f222c2268656164657273223a5b5b2278222c225c75303063335c7530306139225d5d2c22776562536f636b6574223a747275657d",
    );
    expect(parseFrames(message)).toMatchObject([
      { head: { headers: [["x", "\u00c3\u00a9"]], webSocket: true } },
    ]);
    expect(
      hexOf(
        joinFrames([
          encodeOpen(
            1,
            '{"service":"a","method":"GET","path":"/","headers":[["x","\\u00c3\\u00a9"]],"webSocket":true}',
            true,
          ),
        ]),
      ),
    ).toBe(hexOf(message));
  });

  test("text of a value, as older Workers send it", () => {
    const message = wire(
      "01 01 00000001 00000066 000000627b2273657276696365223a2261222c226d6574686f64223a22474554222c2270617468223a222f222c2268656164657273223a5b5b22636f6f6b6965222c226e616d653dd182d0b5d181d182225d5d2c22776562536f636b6574223a66616c73657d",
    );
    expect(parseFrames(message)).toMatchObject([{ head: { headers: [["cookie", "name=тест"]] } }]);
  });

  test("bytes of a value, not escaped, as runners send them", () => {
    const message = wire(
      "02 01 00000001 0000003d 000000397b22737461747573223a3230302c2273746174757354657874223a224f4b222c2268656164657273223a5b5b2278222c22c383c2a9225d5d7d",
    );
    expect(parseFrames(message)).toMatchObject([{ head: { headers: [["x", "\u00c3\u00a9"]] } }]);
  });
});
