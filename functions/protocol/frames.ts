/**
 * The binary half of the wire: streams. A WebSocket message holds one or more frames; see PROTOCOL.md, section 3.
 * Nothing here knows what a stream is for.
 */

import {
  FRAME_MESSAGE_LIMIT_BYTES,
  FRAME_PAYLOAD_LIMIT_BYTES,
  REASON_LIMIT_BYTES,
  STREAM_HEAD_LIMIT_BYTES,
} from "./limits.ts";

export const frameTypes = {
  open: 1,
  head: 2,
  data: 3,
  reset: 4,
  window: 5,
  text: 6,
  binary: 7,
  close: 8,
} as const;

/** One frame. `stream` 0 is the connection itself and only ever carries `window`. */
export type Frame =
  /** Starts a stream: head as JSON, then the first bytes of the body. `end`: the body is complete. */
  | { type: "open"; stream: number; head: OpenHead; body: Uint8Array; end: boolean }
  /** The answer's head, then the first bytes of its body: a small answer is one frame. */
  | { type: "head"; stream: number; head: AnswerHead; body: Uint8Array; rest?: Chunks; end: boolean }
  | { type: "data"; stream: number; body: Uint8Array; rest?: Chunks; end: boolean }
  /** Ends both directions at once. */
  | { type: "reset"; stream: number; code: ResetCode; reason: string }
  /** The receiver has room for so many bytes more. */
  | { type: "window"; stream: number; bytes: number }
  /** A part of a WebSocket message; `end`: the last one. */
  | { type: "text" | "binary"; stream: number; body: Uint8Array; end: boolean }
  /** A WebSocket's closing handshake, in either direction. 1005: without a code. */
  | { type: "close"; stream: number; code: number; reason: string };

/** What follows `body` in a frame that is sent, so that chunks needn't be joined before the message is. */
type Chunks = readonly Uint8Array[];

export type RawHeaders = [name: string, value: string][];

export interface OpenHead {
  /** Which of the runner's services it is for: a deployment's or project's id. */
  service: string;
  method: string;
  /** Path and query as the client spelled them. */
  path: string;
  headers: RawHeaders;
  webSocket: boolean;
}

export interface AnswerHead {
  status: number;
  statusText: string;
  headers: RawHeaders;
}

export const resetCodes = [
  "cancelled",
  "unreachable",
  "protocol",
  "overflow",
  "draining",
  "timeout",
] as const;
export type ResetCode = (typeof resetCodes)[number];

/** A peer that doesn't speak the protocol: its connection ends. The message never repeats what it sent. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

/** type, flags, stream, length of the rest. */
export const FRAME_HEADER_BYTES = 10;
const END = 1;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const EMPTY = new Uint8Array(0);

/** The size on the wire. */
export function frameSize({ prefix, body, rest }: EncodedFrame): number {
  return prefix.byteLength + bodySize({ body, rest });
}

/** How much of a body a frame carries. */
export function bodySize({ body, rest = [] }: { body: Uint8Array; rest?: Chunks | undefined }): number {
  return rest.reduce((sum, chunk) => sum + chunk.byteLength, body.byteLength);
}

/** A frame ready to be written: what precedes the body, and the body itself, which isn't copied. */
export interface EncodedFrame {
  prefix: Uint8Array;
  body: Uint8Array;
  rest?: Chunks | undefined;
}

export function encodeFrame(frame: Frame): EncodedFrame {
  switch (frame.type) {
    case "open":
    case "head": {
      const head = encoder.encode(JSON.stringify(frame.head));
      if (head.byteLength > STREAM_HEAD_LIMIT_BYTES) {
        throw new ProtocolError(`A stream's head is larger than ${STREAM_HEAD_LIMIT_BYTES} bytes.`);
      }
      const prefix = header(frame, 4 + head.byteLength, 4 + head.byteLength + bodySize(frame));
      new DataView(prefix.buffer).setUint32(FRAME_HEADER_BYTES, head.byteLength);
      prefix.set(head, FRAME_HEADER_BYTES + 4);
      return { prefix, body: frame.body, rest: "rest" in frame ? frame.rest : undefined };
    }
    case "data":
      return { prefix: header(frame, 0, bodySize(frame)), body: frame.body, rest: frame.rest };
    case "text":
    case "binary":
      return { prefix: header(frame, 0, frame.body.byteLength), body: frame.body };
    case "reset": {
      const text = reasonBytes(frame.reason);
      const prefix = header(frame, 1, 1 + text.byteLength);
      prefix[FRAME_HEADER_BYTES] = resetCodes.indexOf(frame.code);
      return { prefix, body: text };
    }
    case "window": {
      if (!isUint32(frame.bytes) || frame.bytes === 0) throw new ProtocolError("A window grants nothing.");
      const prefix = header(frame, 4, 4);
      new DataView(prefix.buffer).setUint32(FRAME_HEADER_BYTES, frame.bytes);
      return { prefix, body: EMPTY };
    }
    case "close": {
      const text = reasonBytes(frame.reason);
      const prefix = header(frame, 2, 2 + text.byteLength);
      new DataView(prefix.buffer).setUint16(FRAME_HEADER_BYTES, frame.code);
      return { prefix, body: text };
    }
  }
}

/** An open frame without a body, whose head is JSON already, and ASCII. */
export function encodeOpen(stream: number, head: string, end: boolean): EncodedFrame {
  if (head.length > STREAM_HEAD_LIMIT_BYTES)
    throw new ProtocolError(`A stream's head is larger than ${STREAM_HEAD_LIMIT_BYTES} bytes.`);
  const prefix = header({ type: "open", stream, end }, 4 + head.length, 4 + head.length);
  new DataView(prefix.buffer).setUint32(FRAME_HEADER_BYTES, head.length);
  encoder.encodeInto(head, prefix.subarray(FRAME_HEADER_BYTES + 4));
  return { prefix, body: EMPTY };
}

/** Joins frames into one message; in `space`, if that is given and they fit. */
export function joinFrames(frames: readonly EncodedFrame[], space?: Uint8Array): Uint8Array {
  const bytes = frames.reduce((sum, frame) => sum + frameSize(frame), 0);
  const message =
    space !== undefined && bytes <= space.byteLength ? space.subarray(0, bytes) : new Uint8Array(bytes);
  let at = 0;
  for (const { prefix, body, rest = [] } of frames) {
    for (const part of [prefix, body, ...rest]) {
      message.set(part, at);
      at += part.byteLength;
    }
  }
  return message;
}

/** The frames of one message; bodies are views into it. Throws {@link ProtocolError} for anything malformed. */
export function parseFrames(message: Uint8Array): Frame[] {
  // Checked before anything is made of it: ten bytes on the wire are a hundred in memory.
  if (message.byteLength > FRAME_MESSAGE_LIMIT_BYTES)
    throw new ProtocolError("A binary message is too large.");
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const frames: Frame[] = [];
  let at = 0;
  while (at < message.byteLength) {
    if (message.byteLength - at < FRAME_HEADER_BYTES)
      throw new ProtocolError("A frame's header is cut short.");
    const length = view.getUint32(at + 6);
    if (length > FRAME_PAYLOAD_LIMIT_BYTES) throw new ProtocolError("A frame is too large.");
    const start = at + FRAME_HEADER_BYTES;
    if (length > message.byteLength - start) throw new ProtocolError("A frame is cut short.");
    const flags = view.getUint8(at + 1);
    if ((flags & ~END) !== 0) throw new ProtocolError("A frame has flags of another version.");
    const payload = message.subarray(start, start + length);
    frames.push(parseFrame(view.getUint8(at), (flags & END) !== 0, view.getUint32(at + 2), payload));
    at = start + length;
  }
  if (frames.length === 0) throw new ProtocolError("A binary message holds no frame.");
  return frames;
}

function parseFrame(type: number, end: boolean, stream: number, payload: Uint8Array): Frame {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const need = (bytes: number): void => {
    if (payload.byteLength < bytes) throw new ProtocolError("A frame is too short for its type.");
  };
  if (stream === 0 && type !== frameTypes.window)
    throw new ProtocolError("Stream 0 carries nothing but window.");
  if (end && (type === frameTypes.reset || type === frameTypes.window || type === frameTypes.close)) {
    throw new ProtocolError("A frame of this type has no END.");
  }
  switch (type) {
    case frameTypes.open:
    case frameTypes.head: {
      need(4);
      const length = view.getUint32(0);
      if (length > STREAM_HEAD_LIMIT_BYTES) throw new ProtocolError("A stream's head is too large.");
      need(4 + length);
      const head = json(payload.subarray(4, 4 + length));
      const body = payload.subarray(4 + length);
      return type === frameTypes.open
        ? { type: "open", stream, head: openHead(head), body, end }
        : { type: "head", stream, head: answerHead(head), body, end };
    }
    case frameTypes.data:
      return { type: "data", stream, body: payload, end };
    case frameTypes.text:
      return { type: "text", stream, body: payload, end };
    case frameTypes.binary:
      return { type: "binary", stream, body: payload, end };
    case frameTypes.reset: {
      need(1);
      const code = resetCodes[view.getUint8(0)];
      if (code === undefined) throw new ProtocolError("A reset has an unknown code.");
      return { type: "reset", stream, code, reason: reasonText(payload.subarray(1)) };
    }
    case frameTypes.window: {
      need(4);
      const bytes = view.getUint32(0);
      if (bytes === 0 || payload.byteLength !== 4) throw new ProtocolError("A window frame is malformed.");
      return { type: "window", stream, bytes };
    }
    case frameTypes.close:
      need(2);
      return { type: "close", stream, code: view.getUint16(0), reason: reasonText(payload.subarray(2)) };
    default:
      throw new ProtocolError("A frame has an unknown type.");
  }
}

function header(
  frame: { type: Frame["type"]; stream: number; end?: boolean },
  ownBytes: number,
  payloadBytes: number,
): Uint8Array<ArrayBuffer> {
  if (!isUint32(frame.stream)) throw new ProtocolError("A stream's number is out of range.");
  if (payloadBytes > FRAME_PAYLOAD_LIMIT_BYTES) throw new ProtocolError("A frame would be too large.");
  const prefix = new Uint8Array(FRAME_HEADER_BYTES + ownBytes);
  const view = new DataView(prefix.buffer);
  view.setUint8(0, frameTypes[frame.type]);
  view.setUint8(1, frame.end === true ? END : 0);
  view.setUint32(2, frame.stream);
  view.setUint32(6, payloadBytes);
  return prefix;
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** Cut to what a close frame holds, between characters: a reason is for people. */
function reasonBytes(reason: string): Uint8Array {
  const bytes = encoder.encode(reason);
  if (bytes.byteLength <= REASON_LIMIT_BYTES) return bytes;
  let end = REASON_LIMIT_BYTES;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}

function reasonText(bytes: Uint8Array): string {
  if (bytes.byteLength > REASON_LIMIT_BYTES) throw new ProtocolError("A frame's reason is too long.");
  return text(bytes);
}

function text(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new ProtocolError("A frame's text isn't UTF-8.");
  }
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(text(bytes));
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw new ProtocolError("A stream's head isn't JSON.");
  }
}

/** The head of an open frame by itself. */
export function parseOpenHead(text: string): OpenHead {
  return openHead(JSON.parse(text));
}

function openHead(value: unknown): OpenHead {
  const { service, method, path, headers, webSocket } = record(value);
  if (typeof service !== "string" || typeof method !== "string" || typeof path !== "string") {
    throw new ProtocolError("An open frame's head lacks service, method or path.");
  }
  if (!/^[A-Z][A-Z-]{0,31}$/.test(method)) throw new ProtocolError("An open frame's method is malformed.");
  // It becomes a request line: one that could end it could smuggle another. What isn't ASCII is percent-encoded.
  if (!/^\/[\u0021-\u007e]*$/.test(path)) throw new ProtocolError("An open frame's path is malformed.");
  if (typeof webSocket !== "boolean") throw new ProtocolError("An open frame's webSocket isn't a boolean.");
  return { service, method, path, headers: rawHeaders(headers), webSocket };
}

function answerHead(value: unknown): AnswerHead {
  const { status, statusText, headers } = record(value);
  if (typeof status !== "number" || !Number.isInteger(status) || status < 100 || status > 599) {
    throw new ProtocolError("A head frame's status is malformed.");
  }
  if (typeof statusText !== "string" || endsLine(statusText)) {
    throw new ProtocolError("A head frame's statusText is malformed.");
  }
  return { status, statusText, headers: rawHeaders(headers) };
}

function rawHeaders(value: unknown): RawHeaders {
  if (!Array.isArray(value)) throw new ProtocolError("A head's headers aren't a list.");
  return value.map((entry: unknown) => {
    if (!Array.isArray(entry) || entry.length !== 2) throw new ProtocolError("A header isn't a pair.");
    const [name, content]: unknown[] = entry;
    if (typeof name !== "string" || !/^[!#$%&'*+.^_`|~0-9a-zA-Z-]+$/.test(name)) {
      throw new ProtocolError("A header's name is malformed.");
    }
    if (typeof content !== "string" || endsLine(content)) {
      throw new ProtocolError("A header's value is malformed.");
    }
    return [name, content];
  });
}

/** Whether it could end a line of HTTP, and smuggle another. */
function endsLine(text: string): boolean {
  return text.includes("\r") || text.includes("\n") || text.includes("\0");
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ProtocolError("A stream's head isn't an object.");
  }
  return { ...value };
}
