import { type ResetCode } from "../protocol/frames.ts";
import {
  FRAME_BODY_BYTES,
  IDLE_STREAM_MS,
  MESSAGE_COST_BYTES,
  PARTIAL_MESSAGE_TIMEOUT_MS,
  SOCKET_BURST_BYTES,
  SOCKET_BYTES_PER_SECOND,
  VISITOR_MESSAGES_BURST,
  VISITOR_MESSAGES_BURST_OF_BUSY_APP,
  VISITOR_MESSAGES_PER_SECOND,
  WEBSOCKET_MESSAGE_LIMIT_BYTES,
} from "../protocol/limits.ts";
import { ABNORMAL, closeCodeOf, closeSocket, RESTARTED } from "./close-codes.ts";
import { LeakyBucket } from "./leaky-bucket.ts";
import type { Holder } from "./shares.ts";
import type { StreamLink } from "./stream-link.ts";

const encoder = new TextEncoder();

/**
 * One public WebSocket over a stream. It keeps nothing between messages, so that the hub can hibernate: the socket's
 * attachment says which stream it is.
 */
export class SocketStream implements Holder {
  readonly number: number;
  readonly service: string;
  readonly app: string;
  readonly visitor: string | null;
  readonly idleAfterMs = IDLE_STREAM_MS;
  /** Whoever asked for it: its end is always seen. */
  readonly isOfPage = false;
  readonly socket: WebSocket;
  readonly #link: StreamLink;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  /** What the parts count as, for which there is room for all streams together. */
  #partCost = 0;
  /** What the visitor may not have taken yet. A runner of ours keeps below half of this by itself. */
  readonly #untaken = new LeakyBucket(2 * SOCKET_BYTES_PER_SECOND);
  readonly #said = new LeakyBucket(VISITOR_MESSAGES_PER_SECOND);
  #partType: "text" | "binary" = "binary";
  #partTimer: ReturnType<typeof setTimeout> | null = null;
  #movedAt = Date.now();
  #over = false;

  constructor(
    socket: WebSocket,
    link: StreamLink,
    given: { number: number; service: string; app: string; visitor: string | null },
  ) {
    this.number = given.number;
    this.service = given.service;
    this.app = given.app;
    this.visitor = given.visitor;
    this.socket = socket;
    this.#link = link;
  }

  /** When it last carried a message, as far as the hub remembers: it forgets while it hibernates. */
  get movedAt(): number {
    return this.#movedAt;
  }

  giveWay(): void {
    this.#close(1_013, "others wait for its place");
  }

  /** A part of a message from the runner. */
  part(type: "text" | "binary", body: Uint8Array, end: boolean): void {
    if (this.#partTimer !== null && type !== this.#partType)
      return this.#breakOff("protocol", "a message changes type");
    if (this.#partBytes + body.byteLength > WEBSOCKET_MESSAGE_LIMIT_BYTES) {
      return this.#close(1_009, "a message is too large");
    }
    if (end && this.#partTimer === null) return this.#deliver(type, body);
    // A small part is a view into a message that may be large.
    if (body.byteLength > 0)
      this.#parts.push(body.byteLength * 2 < body.buffer.byteLength ? body.slice() : body);
    this.#partBytes += body.byteLength;
    this.#partType = type;
    const cost = Math.max(body.byteLength, MESSAGE_COST_BYTES);
    this.#partCost += cost;
    if (!this.#link.holdParts(cost)) return this.#breakOff("overflow", "too many unfinished messages");
    if (this.#partTimer !== null) clearTimeout(this.#partTimer);
    // The timer also keeps the hub from hibernating, which would lose the parts.
    this.#partTimer = setTimeout(
      () => this.#breakOff("timeout", "a message wasn't completed"),
      PARTIAL_MESSAGE_TIMEOUT_MS,
    );
    if (!end) return;
    const whole = new Uint8Array(this.#partBytes);
    let at = 0;
    for (const one of this.#parts) {
      whole.set(one, at);
      at += one.byteLength;
    }
    this.#dropParts();
    this.#deliver(type, whole);
  }

  /** The runner's end of the closing handshake, or its beginning. */
  closedByRunner(code: number, reason: string): void {
    if (this.#over) return;
    this.#link.send({ type: "close", stream: this.number, code, reason });
    this.#finish();
    closeSocket(this.socket, code, reason);
  }

  /** A message of the client. */
  message(data: string | ArrayBuffer): void {
    if (this.#over) return;
    this.#movedAt = Date.now();
    const isBusy = this.#link.said(this.app, this.#movedAt);
    if (
      this.#said.add(1, this.#movedAt) >
      (isBusy ? VISITOR_MESSAGES_BURST_OF_BUSY_APP : VISITOR_MESSAGES_BURST)
    )
      return this.#close(1_013, "too many messages at a time");
    const type = typeof data === "string" ? "text" : "binary";
    const bytes = typeof data === "string" ? encoder.encode(data) : new Uint8Array(data);
    if (bytes.byteLength > WEBSOCKET_MESSAGE_LIMIT_BYTES) return this.#close(1_009, "a message is too large");
    let at = 0;
    do {
      const body = bytes.subarray(at, at + FRAME_BODY_BYTES);
      at += FRAME_BODY_BYTES;
      this.#link.send({ type, stream: this.number, body, end: at >= bytes.byteLength });
    } while (at < bytes.byteLength);
  }

  /** The client has closed, or vanished (1006). */
  closedByClient(code: number, reason: string): void {
    if (this.#over) return;
    if (code === ABNORMAL) return this.#breakOff("cancelled", "the client is gone");
    this.#link.send({ type: "close", stream: this.number, code, reason });
    this.#finish();
  }

  window(): void {
    this.#breakOff("protocol", "messages have no credit");
  }

  misplaced(): void {
    this.#breakOff("protocol", "a body on a WebSocket");
  }

  reset(code: ResetCode): void {
    this.#finish();
    closeSocket(this.socket, closeCodeOf(code), "the runner broke the connection off");
  }

  /** The runner's connection has ended: the same as a server that restarts. */
  fail(): void {
    this.#finish();
    closeSocket(this.socket, RESTARTED, "the runner's connection ended");
  }

  #deliver(type: "text" | "binary", bytes: Uint8Array): void {
    if (this.#over) return;
    if (!this.#mayDeliver(Math.max(bytes.byteLength, MESSAGE_COST_BYTES)))
      return this.#close(1_013, "more than a visitor may be sent at a time");
    let text = "";
    if (type === "text") {
      try {
        text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch {
        return this.#breakOff("protocol", "a text message isn't UTF-8");
      }
    }
    try {
      this.socket.send(type === "text" ? text : bytes);
    } catch {
      this.#breakOff("cancelled", "the client is gone");
    }
  }

  /**
   * Whether the visitor may be sent so much. Whether it reads can't be seen: what it doesn't read piles up in the platform.
   */
  #mayDeliver(bytes: number): boolean {
    this.#movedAt = Date.now();
    return this.#untaken.add(bytes, this.#movedAt) <= 2 * SOCKET_BURST_BYTES;
  }

  /** Closes both ends for a reason of this side's own. */
  #close(code: number, reason: string): void {
    if (this.#over) return;
    this.#link.send({ type: "close", stream: this.number, code, reason });
    this.#finish();
    closeSocket(this.socket, code, reason);
  }

  #breakOff(code: ResetCode, reason: string): void {
    if (this.#over) return;
    this.#link.send({ type: "reset", stream: this.number, code, reason });
    this.reset(code);
  }

  #dropParts(): void {
    if (this.#partTimer !== null) clearTimeout(this.#partTimer);
    this.#partTimer = null;
    this.#link.holdParts(-this.#partCost);
    this.#parts = [];
    this.#partBytes = 0;
    this.#partCost = 0;
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#dropParts();
    this.#link.ended(this.number);
  }
}
