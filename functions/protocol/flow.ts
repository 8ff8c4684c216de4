import { ProtocolError } from "./frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  FRAME_BODY_BYTES,
  GRANT_STEP_BYTES,
  STREAM_WINDOW_BYTES,
} from "./limits.ts";

/**
 * Credit arithmetic, without any I/O. A sender may have as many bytes under way as its receiver has said there is room
 * for; a receiver gives room back as its consumer takes bytes away.
 */
export class SendCredit {
  #bytes: number;

  constructor(initialBytes: number) {
    this.#bytes = initialBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes up to `wanted` bytes; returns how many were granted. */
  take(wanted: number): number {
    const granted = Math.min(wanted, this.#bytes);
    this.#bytes -= granted;
    return granted;
  }

  /** The receiver has room for more. Throws when it can't mean it. */
  grant(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > CREDIT_LIMIT_BYTES)
      throw new ProtocolError("A peer grants more credit than can be meant.");
  }
}

/** Far above any window; a sum beyond it is a broken or hostile peer. */
const CREDIT_LIMIT_BYTES = 2 ** 31;

export class ReceiveCredit {
  readonly #window: number;
  #room: number;
  #consumed: number;

  /** `ungrantedBytes` is what {@link ungrantedBytes} said when everything received had been consumed. */
  constructor(windowBytes: number, ungrantedBytes = 0) {
    this.#window = windowBytes;
    this.#room = windowBytes - ungrantedBytes;
    this.#consumed = ungrantedBytes;
  }

  /** What the sender still has, as far as the receiver can know. */
  get roomBytes(): number {
    return this.#room;
  }

  /** Consumed and not granted again yet: all that there is to remember while nothing is under way. */
  get ungrantedBytes(): number {
    return this.#consumed;
  }

  /** Bytes have arrived. Throws when the sender had no credit for them. */
  receive(bytes: number): void {
    if (bytes > this.#room) throw new ProtocolError("A peer sent more than it had credit for.");
    this.#room -= bytes;
  }

  /** The consumer took bytes away. Returns how much to grant now: in steps, so that grants are few. */
  consume(bytes: number): number {
    this.#consumed += bytes;
    if (this.#consumed < Math.min(GRANT_STEP_BYTES, this.#window / 2)) return 0;
    const grant = this.#consumed;
    this.#consumed = 0;
    this.#room += grant;
    return grant;
  }
}

/**
 * How many bytes of a body a stream may send in its next frame. One that has a grant's worth under way gets more only
 * from the first half of the connection's window. The other half is for those that have less: so receivers that are
 * slow, a hundred of them, leave something for everyone else. Less than a grant's worth would never be granted back.
 */
export function frameBudget(stream: SendCredit, connection: SendCredit): number {
  const underWay = STREAM_WINDOW_BYTES - stream.bytes;
  const share = Math.max(GRANT_STEP_BYTES, connection.bytes - CONNECTION_WINDOW_BYTES / 2) - underWay;
  return Math.max(0, Math.min(FRAME_BODY_BYTES, stream.bytes, connection.bytes, share));
}
