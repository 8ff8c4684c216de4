import type { AnswerHead, Frame, OpenHead } from "../../functions/protocol/frames.ts";

/** Stream frames as PROTOCOL.md, section 3, has them, in code that the product has no part in: both sides' bytes are checked. */

const TYPES = ["", "open", "head", "data", "reset", "window", "text", "binary", "close"] as const;
const RESETS = ["cancelled", "unreachable", "protocol", "overflow", "draining", "timeout"] as const;
const HEADER_BYTES = 10;

/** A message of one frame. */
export function frameBytes(frame: Frame): Buffer {
  const payload = payloadOf(frame);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(TYPES.indexOf(frame.type), 0);
  header.writeUInt8("end" in frame && frame.end ? 1 : 0, 1);
  header.writeUInt32BE(frame.stream, 2);
  header.writeUInt32BE(payload.length, 6);
  return Buffer.concat([header, payload]);
}

function payloadOf(frame: Frame): Buffer {
  switch (frame.type) {
    case "open":
    case "head": {
      const head = Buffer.from(JSON.stringify(frame.head));
      return Buffer.concat([number(head.length, 4), head, frame.body]);
    }
    case "data":
    case "text":
    case "binary":
      return Buffer.from(frame.body);
    case "reset":
      return Buffer.concat([number(RESETS.indexOf(frame.code), 1), Buffer.from(frame.reason)]);
    case "window":
      return number(frame.bytes, 4);
    case "close":
      return Buffer.concat([number(frame.code, 2), Buffer.from(frame.reason)]);
  }
}

function number(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

/** The frames of a message; throws for what the protocol doesn't have. */
export function framesOf(message: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  let rest = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  if (rest.length === 0) throw new Error("A message without a frame.");
  while (rest.length > 0) {
    const end = HEADER_BYTES + rest.readUInt32BE(6);
    if (end > rest.length) throw new Error("A frame is longer than its message.");
    frames.push(frameOf(rest.subarray(0, end)));
    rest = rest.subarray(end);
  }
  return frames;
}

function frameOf(bytes: Buffer): Frame {
  const type = TYPES[bytes.readUInt8(0)];
  const flags = bytes.readUInt8(1);
  const stream = bytes.readUInt32BE(2);
  const payload = bytes.subarray(HEADER_BYTES);
  const mayEnd = type !== "reset" && type !== "window" && type !== "close";
  if (flags > (mayEnd ? 1 : 0)) throw new Error(`A ${type} frame with the flags ${flags}.`);
  if (stream === 0 && type !== "window") throw new Error(`A ${type} frame of stream 0.`);
  const end = flags === 1;
  switch (type) {
    case "open":
    case "head": {
      const headEnd = 4 + payload.readUInt32BE(0);
      if (headEnd > payload.length) throw new Error(`A ${type} frame is shorter than its head.`);
      const head: unknown = JSON.parse(payload.toString("utf8", 4, headEnd));
      const body = payload.subarray(headEnd);
      return type === "open"
        ? { type, stream, head: head as OpenHead, body, end }
        : { type, stream, head: head as AnswerHead, body, end };
    }
    case "data":
    case "text":
    case "binary":
      return { type, stream, body: payload, end };
    case "reset": {
      const code = RESETS[payload.readUInt8(0)];
      if (code === undefined) throw new Error(`A reset with the code ${payload.readUInt8(0)}.`);
      return { type, stream, code, reason: payload.toString("utf8", 1) };
    }
    case "window":
      if (payload.length !== 4) throw new Error(`A window frame of ${payload.length} bytes.`);
      return { type, stream, bytes: payload.readUInt32BE(0) };
    case "close":
      return { type, stream, code: payload.readUInt16BE(0), reason: payload.toString("utf8", 2) };
    default:
      throw new Error(`A frame of the type ${bytes.readUInt8(0)}.`);
  }
}
