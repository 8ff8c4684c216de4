import { randomBytes } from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";

export interface SpliceOptions {
  /** Whether payloads are changed by a random key; see `needsNoMask`. */
  masks: boolean;
  messageLimitBytes: number;
  /** Frames at once, and then per second: beyond that they wait. */
  pace: { burst: number; perSecond: number };
  /** What is said when the peer vanishes between two messages; null: nothing. */
  vanishedCode: number | null;
}

const TOO_BIG = 1_009;
const CLOSE_OPCODE = 0x8;
/** Source: RFC 6455, 5.2: two bytes, and as many of the length. */
const HEADER_LIMIT_BYTES = 10;
const KEY_BYTES = 4;

/** A peer that doesn't speak WebSocket. */
export class BrokenFrame extends Error {
  override name = "BrokenFrame";
}

/**
 * Takes the frames of a WebSocket server and masks them as a client's, in whatever pieces they come: it never holds a
 * message, and whoever reads it slowly holds the server back.
 */
export class FrameSplice extends Transform {
  readonly #options: SpliceOptions;
  readonly #header = Buffer.alloc(HEADER_LIMIT_BYTES);
  #headerBytes = 0;
  readonly #key = Buffer.alloc(KEY_BYTES);
  /** Of the present frame's payload. */
  #leftBytes = 0;
  #payloadBytes = 0;
  #messageBytes = 0;
  /** The payload of a close frame. */
  #close: Buffer | null = null;
  #closed: { code: number; reason: string } | null = null;
  #finished = false;
  #isTooBig = false;
  #frames = 0;
  #pacedAt = performance.now();
  #waits: NodeJS.Timeout | undefined;

  constructor(options: SpliceOptions) {
    super({ readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
    this.#options = options;
  }

  /** What the peer closed with. */
  get peerClose(): { code: number; reason: string } | null {
    return this.#closed;
  }

  /** Says a close in the peer's name; what the peer says from then on is dropped. False: it would stand in the middle of a frame. */
  sayClose(code: number, reason: string): boolean {
    if (this.#finished || this.#closed !== null) return true;
    this.#finished = true;
    if (this.#headerBytes > 0 || this.#leftBytes > 0) return false;
    const text = Buffer.from(reason).subarray(0, 123);
    const payload = Buffer.alloc(2 + text.length);
    payload.writeUInt16BE(code, 0);
    text.copy(payload, 2);
    // A key of zeros: the payload is ours.
    this.push(
      Buffer.concat([Buffer.from([0x80 | CLOSE_OPCODE, 0x80 | payload.length, 0, 0, 0, 0]), payload]),
    );
    this.push(null);
    return true;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    if (this.#finished) return done();
    try {
      this.#take(chunk);
    } catch (error) {
      return done(error instanceof Error ? error : new Error(String(error)));
    }
    const waitMs = this.#waitMs();
    if (waitMs === 0) done();
    else this.#waits = setTimeout(done, waitMs);
  }

  override _flush(done: TransformCallback): void {
    const { vanishedCode } = this.#options;
    if (this.#finished || this.#closed !== null || vanishedCode === null) return done();
    if (!this.sayClose(vanishedCode, "")) done(new BrokenFrame("It ended within a frame."));
    else done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#waits);
    done(error);
  }

  #take(chunk: Buffer): void {
    // The common case of a large message.
    if (this.#leftBytes > chunk.length && this.#close === null && !this.#options.masks) {
      this.#leftBytes -= chunk.length;
      this.push(chunk);
      return;
    }
    // Each two bytes may be a frame, which gets a key.
    const out = Buffer.allocUnsafe(chunk.length * 3 + HEADER_LIMIT_BYTES + KEY_BYTES);
    let written = 0;
    for (let at = 0; at < chunk.length && !this.#isTooBig;) {
      if (this.#leftBytes > 0) {
        const part = chunk.subarray(at, at + this.#leftBytes);
        at += part.length;
        written += this.#payload(part, out, written);
        if (this.#leftBytes === 0) this.#frameEnded();
        continue;
      }
      this.#header[this.#headerBytes] = chunk[at] ?? 0;
      this.#headerBytes += 1;
      at += 1;
      if (this.#headerBytes === headerBytes(this.#header, this.#headerBytes))
        written += this.#begin(out, written);
    }
    // What is kept while it waits shall not be three times as large.
    if (written > 0)
      this.push(written * 2 < out.length ? Buffer.from(out.subarray(0, written)) : out.subarray(0, written));
    if (!this.#isTooBig) return;
    this.sayClose(TOO_BIG, "message too big");
    this.emit("closing");
  }

  /** Writes the header of the next frame; nothing if its message is too large. */
  #begin(out: Buffer, at: number): number {
    const [first = 0, second = 0] = this.#header;
    if ((second & 0x80) !== 0) throw new BrokenFrame("A server's frame is masked.");
    const opcode = first & 0x0f;
    const isControl = (opcode & 0x8) !== 0;
    const bytes = payloadBytes(this.#header);
    if (bytes > Number.MAX_SAFE_INTEGER || (isControl && bytes > 125))
      throw new BrokenFrame("A frame is too long.");
    const size = this.#headerBytes;
    this.#headerBytes = 0;
    if (!isControl) {
      this.#messageBytes = (opcode === 0 ? this.#messageBytes : 0) + bytes;
      if (this.#messageBytes > this.#options.messageLimitBytes) {
        this.#isTooBig = true;
        return 0;
      }
      if ((first & 0x80) !== 0) this.#messageBytes = 0;
    }
    this.#frames += 1;
    this.#leftBytes = bytes;
    this.#payloadBytes = 0;
    this.#close = opcode === CLOSE_OPCODE ? Buffer.alloc(bytes) : null;
    if (this.#options.masks) randomBytes(KEY_BYTES).copy(this.#key);
    this.#header.copy(out, at, 0, size);
    out[at + 1] = second | 0x80;
    this.#key.copy(out, at + size);
    if (bytes === 0) this.#frameEnded();
    return size + KEY_BYTES;
  }

  #payload(part: Buffer, out: Buffer, at: number): number {
    if (this.#close !== null) part.copy(this.#close, this.#payloadBytes);
    part.copy(out, at);
    if (this.#options.masks)
      for (let n = 0; n < part.length; n += 1)
        out[at + n] = (out[at + n] ?? 0) ^ (this.#key[(this.#payloadBytes + n) % KEY_BYTES] ?? 0);
    this.#payloadBytes += part.length;
    this.#leftBytes -= part.length;
    return part.length;
  }

  #frameEnded(): void {
    if (this.#close === null) return;
    const payload = this.#close;
    this.#close = null;
    this.#closed =
      payload.length < 2
        ? { code: 1_005, reason: "" }
        : { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
    this.emit("closing");
  }

  #waitMs(): number {
    const { burst, perSecond } = this.#options.pace;
    const now = performance.now();
    this.#frames = Math.max(0, this.#frames - ((now - this.#pacedAt) / 1_000) * perSecond);
    this.#pacedAt = now;
    return this.#frames <= burst ? 0 : ((this.#frames - burst) / perSecond) * 1_000;
  }
}

/** Bytes of a header, as far as its first two say so. */
function headerBytes(header: Buffer, known: number): number {
  if (known < 2) return 2;
  const length = (header[1] ?? 0) & 0x7f;
  return length === 126 ? 4 : length === 127 ? 10 : 2;
}

function payloadBytes(header: Buffer): number {
  const length = (header[1] ?? 0) & 0x7f;
  if (length === 126) return header.readUInt16BE(2);
  return length === 127 ? Number(header.readBigUInt64BE(2)) : length;
}
