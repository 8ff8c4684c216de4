import { describe, expect, test } from "vitest";
import {
  encodeFrame,
  FRAME_HEADER_BYTES,
  frameSize,
  joinFrames,
  parseFrames,
  ProtocolError,
  resetCodes,
  type Frame,
} from "../../functions/protocol/frames.ts";
import {
  FRAME_MESSAGE_LIMIT_BYTES,
  FRAME_PAYLOAD_LIMIT_BYTES,
  STREAM_HEAD_LIMIT_BYTES,
} from "../../functions/protocol/limits.ts";

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

const open = { service: "app/v1", method: "GET", path: "/a?b=%20", headers: [], webSocket: false };
const answer = { status: 200, statusText: "OK", headers: [] };

const frames: Frame[] = [
  { type: "open", stream: 1, head: open, body: bytes(), end: true },
  {
    type: "open",
    stream: 0xffff_ffff,
    head: {
      ...open,
      method: "M-SEARCH",
      headers: [
        ["X-Dup", "1"],
        ["x-dup", "é\t2"],
      ],
      webSocket: true,
    },
    body: bytes(1, 2, 3),
    end: false,
  },
  {
    type: "head",
    stream: 7,
    head: { ...answer, status: 599, statusText: "ça va" },
    body: bytes(0),
    end: true,
  },
  { type: "data", stream: 7, body: bytes(), end: true },
  { type: "data", stream: 7, body: new Uint8Array(65_536).fill(9), end: false },
  ...resetCodes.map((code): Frame => ({ type: "reset", stream: 3, code, reason: "why: 😀" })),
  { type: "window", stream: 0, bytes: 1 },
  { type: "window", stream: 9, bytes: 0xffff_ffff },
  { type: "text", stream: 2, body: text("hé"), end: false },
  { type: "binary", stream: 2, body: bytes(255), end: true },
  { type: "close", stream: 2, code: 4_999, reason: "" },
  { type: "close", stream: 2, code: 1_005, reason: "x".repeat(123) },
];

describe("frames", () => {
  test.each(frames.map((frame): [string, Frame] => [frame.type, frame]))(
    "of type %s come back",
    (_type, frame) => {
      const encoded = encodeFrame(frame);
      const message = joinFrames([encoded]);
      expect(message.byteLength).toBe(frameSize(encoded));
      expect(parseFrames(message)).toEqual([frame]);
    },
  );

  test("come back in order from one message, wherever in a buffer it lies", () => {
    const message = joinFrames(frames.map(encodeFrame));
    const padded = new Uint8Array(message.byteLength + 20);
    padded.set(message, 11);
    expect(parseFrames(padded.subarray(11, 11 + message.byteLength))).toEqual(frames);
  });

  test("a reason is cut to what a close frame holds, between characters", () => {
    const [parsed] = parseFrames(
      joinFrames([
        encodeFrame({ type: "reset", stream: 1, code: "cancelled", reason: `x${"😀".repeat(50)}` }),
      ]),
    );
    expect(parsed).toMatchObject({ reason: `x${"😀".repeat(30)}` });
  });

  const unsendable: [string, Frame][] = [
    ["a window of nothing", { type: "window", stream: 1, bytes: 0 }],
    ["a window beyond 32 bits", { type: "window", stream: 1, bytes: 2 ** 32 }],
    ["a part of a byte", { type: "window", stream: 1, bytes: 1.5 }],
    ["a stream beyond 32 bits", { type: "data", stream: 2 ** 32, body: bytes(), end: true }],
    ["a negative stream", { type: "data", stream: -1, body: bytes(), end: true }],
    [
      "a body that is too large",
      { type: "data", stream: 1, body: new Uint8Array(FRAME_PAYLOAD_LIMIT_BYTES + 1), end: true },
    ],
    [
      "a head that is too large",
      {
        type: "head",
        stream: 1,
        head: { ...answer, headers: [["x", "y".repeat(STREAM_HEAD_LIMIT_BYTES)]] },
        body: bytes(),
        end: true,
      },
    ],
  ];
  test.each(unsendable)("with %s aren't sent", (_name, frame) => {
    expect(() => encodeFrame(frame)).toThrow(ProtocolError);
  });
});

/** A frame by hand: type, flags, stream, payload. */
function raw(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array,
  length = payload.length,
): Uint8Array {
  const message = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, type);
  view.setUint8(1, flags);
  view.setUint32(2, stream);
  view.setUint32(6, length);
  message.set(payload, FRAME_HEADER_BYTES);
  return message;
}

function head(value: unknown, type = 1): Uint8Array {
  return rawHead(text(typeof value === "string" ? value : JSON.stringify(value)), type);
}

function rawHead(json: Uint8Array, type = 1, length = json.length): Uint8Array {
  const payload = new Uint8Array(4 + json.length);
  new DataView(payload.buffer).setUint32(0, length);
  payload.set(json, 4);
  return raw(type, 1, 1, payload);
}

describe("a malformed message is refused:", () => {
  const cases: [string, Uint8Array][] = [
    ["nothing", bytes()],
    ["a header that is cut short", bytes(3, 0, 0, 0, 0, 1, 0, 0, 0)],
    ["a payload that is cut short", raw(3, 0, 1, bytes(1), 2)],
    ["something after the last frame", joinFrames([{ prefix: raw(3, 0, 1, bytes(1)), body: bytes(0) }])],
    ["type 0", raw(0, 0, 1, bytes())],
    ["type 9", raw(9, 0, 1, bytes())],
    ["an unknown flag", raw(3, 2, 1, bytes())],
    ["END on a reset", raw(4, 1, 1, bytes(0))],
    ["END on a window", raw(5, 1, 1, bytes(0, 0, 0, 1))],
    ["END on a close", raw(8, 1, 1, bytes(3, 232))],
    ["data on stream 0", raw(3, 0, 0, bytes())],
    ["a reset of stream 0", raw(4, 0, 0, bytes(0))],
    ["a payload beyond the limit", raw(3, 0, 1, bytes(), FRAME_PAYLOAD_LIMIT_BYTES + 1)],
    ["a message beyond the limit", new Uint8Array(FRAME_MESSAGE_LIMIT_BYTES + 1)],
    ["a reset without a code", raw(4, 0, 1, bytes())],
    ["a reset with an unknown code", raw(4, 0, 1, bytes(6))],
    ["a reset whose reason isn't UTF-8", raw(4, 0, 1, bytes(0, 0xff))],
    ["a reset whose reason is too long", raw(4, 0, 1, new Uint8Array(125))],
    ["a window that is too short", raw(5, 0, 1, bytes(0, 0, 1))],
    ["a window that is too long", raw(5, 0, 1, bytes(0, 0, 0, 1, 0))],
    ["a window of nothing", raw(5, 0, 1, bytes(0, 0, 0, 0))],
    ["a close without a code", raw(8, 0, 1, bytes(3))],
    ["a close whose reason isn't UTF-8", raw(8, 0, 1, bytes(3, 232, 0xc0))],
    ["a head without a length", raw(1, 0, 1, bytes(0, 0, 0))],
    ["a head that is cut short", rawHead(text("{}"), 1, 3)],
    ["a head beyond the limit", rawHead(text("{}"), 2, STREAM_HEAD_LIMIT_BYTES + 1)],
    ["a head that isn't UTF-8", rawHead(bytes(0xff))],
    ["a head that isn't JSON", head("{nope")],
    ["a head with a byte order mark", head("\ufeff{}")],
    ...[null, 1, "x", [], true].map((value): [string, Uint8Array] => [
      `a head that is ${JSON.stringify(value)}`,
      head(JSON.stringify(value)),
    ]),
    ...Object.entries({
      service: [undefined, 1, null],
      method: [undefined, "", "get", "GET /", "A".repeat(33), "-X", "GÉT"],
      path: [undefined, "", "a", "*", "/a b", "/a\r\nx", "/\u0000", "/é", "/\u007f", "http://x/"],
      headers: [undefined, {}, "x", [["a"]], [["a", "b", "c"]], [["a", 1]], [[1, "a"]], ["ab"]],
      webSocket: [undefined, 1, "true"],
    }).flatMap(([field, values]) =>
      values.map((value): [string, Uint8Array] => [
        `an open head with ${field} ${JSON.stringify(value)}`,
        head({ ...open, [field]: value }),
      ]),
    ),
    ...["", "a b", "a:", "é", "a\r"].map((name): [string, Uint8Array] => [
      `a header called ${JSON.stringify(name)}`,
      head({ ...open, headers: [[name, "x"]] }),
    ]),
    ...["a\r\nb: c", "\n", "\u0000"].map((value): [string, Uint8Array] => [
      `a header whose value is ${JSON.stringify(value)}`,
      head({ ...answer, headers: [["a", value]] }, 2),
    ]),
    ...Object.entries({
      status: [undefined, "200", 99, 600, 200.5, null, -1],
      statusText: [undefined, 1, "a\r\nb", "\u0000"],
    }).flatMap(([field, values]) =>
      values.map((value): [string, Uint8Array] => [
        `an answer's head with ${field} ${JSON.stringify(value)}`,
        head({ ...answer, [field]: value }, 2),
      ]),
    ),
  ];

  test.each(cases)("%s", (_name, message) => {
    expect(() => parseFrames(message)).toThrow(ProtocolError);
  });

  test("and says nothing of what it held", () => {
    try {
      parseFrames(head({ ...open, path: "/secret in here" }));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError);
      expect(String(error)).not.toContain("secret");
    }
  });
});
