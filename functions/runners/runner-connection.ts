import { Problem } from "../errors.ts";
import { ReceiveCredit, WindowPool } from "../protocol/flow.ts";
import { encodeOpen, parseFrames, ProtocolError, type AnswerHead, type Frame } from "../protocol/frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  PARTIAL_MESSAGES_LIMIT_BYTES,
  STALLED_READER_MS,
  STREAMS_LIMIT,
} from "../protocol/limits.ts";
import { attachmentOf, PUBLIC_TAG, type PublicAttachment, type RunnerAttachment } from "./attachments.ts";
import { closeSocket, RESTARTED } from "./close-codes.ts";
import { headerText } from "./header-bytes.ts";
import { HttpStream } from "./http-stream.ts";
import { Outbox } from "./outbox.ts";
import { SocketStream } from "./socket-stream.ts";
import type { Reader, StreamLink, WaitsForHead } from "./stream-link.ts";
import { connectionLost } from "./stream-problems.ts";
import type { TunnelCall } from "./tunnel-call.ts";
import { Turns } from "./turns.ts";

/** Finer than any use of it, and coarse enough to cost nothing per message. */
const HEARD_RESOLUTION_MS = 500;
/** How long a request's head may take before its client's leaving is listened for, which costs more than most answers. */
const LOOK_AFTER_MS = 200;
/** Source: PROTOCOL.md, section 3: numbers have 32 bits. */
const LAST_STREAM = 0xffff_ffff;

/**
 * One runner's connection: its streams, its credit and what of it must outlive the hub's hibernation. Hibernation
 * only comes while no request is under way, so what is saved is the state between bodies.
 */
export class RunnerConnection implements StreamLink {
  readonly socket: WebSocket;
  readonly turns: Turns;
  readonly windows = new WindowPool(() => Date.now());
  readonly #ctx: DurableObjectState;
  readonly #attachment: RunnerAttachment;
  readonly #outbox: Outbox;
  readonly #streams = new Map<number, HttpStream | SocketStream>();
  /** By socket, which stays the same object for as long as the hub is awake. */
  readonly #publicStreams = new Map<WebSocket, SocketStream>();
  /** Clients that have yet to take bytes of an answer. */
  readonly #readers = new Set<Reader>();
  readonly #receiveCredit: ReceiveCredit;
  /** Streams with bodies: while there is one the hub doesn't hibernate, and the saved state may be old. */
  #requests = 0;
  /** Streams without an answer's head. One timer looks after all of them. */
  readonly #waiting = new Set<WaitsForHead>();
  #waitingTimer: ReturnType<typeof setTimeout> | null = null;
  #partBytes = 0;
  #stalledTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, socket: WebSocket, attachment: RunnerAttachment) {
    this.socket = socket;
    this.#ctx = ctx;
    this.#attachment = attachment;
    this.turns = new Turns(attachment.sendCreditBytes);
    this.#receiveCredit = new ReceiveCredit(CONNECTION_WINDOW_BYTES, attachment.ungrantedBytes);
    this.#outbox = new Outbox((message) => sendTo(socket, message));
    for (const open of ctx.getWebSockets(PUBLIC_TAG)) this.#takeUp(open);
    this.#automaticPongs();
    this.#save();
  }

  /** Facts about the connection. */
  get facts(): Readonly<RunnerAttachment> {
    return this.#attachment;
  }

  get lastHeardAt(): number {
    const answered = this.#ctx.getWebSocketAutoResponseTimestamp(this.socket);
    return Math.max(this.#attachment.lastHeardAt, answered?.getTime() ?? 0);
  }

  /** The runner said something, possibly a new status. */
  heard(at: number, status: string | null = null): void {
    if (status === null && at - this.#attachment.lastHeardAt < HEARD_RESOLUTION_MS) return;
    this.#attachment.lastHeardAt = at;
    if (status !== null) this.#attachment.status = status;
    if (this.#requests === 0) this.#save();
  }

  openStreams(service: string | null): number {
    if (service === null) return this.#streams.size;
    return [...this.#streams.values()].filter((stream) => stream.service === service).length;
  }

  /** Sends a request through the tunnel; always answers, if need be with a problem. */
  open(request: Request, call: TunnelCall): Promise<Response> {
    if (this.#streams.size >= STREAMS_LIMIT) {
      throw new Problem(
        "runner_overloaded",
        `The runner has ${STREAMS_LIMIT} streams open. Try again shortly.`,
        {
          headers: { "retry-after": "2" },
        },
      );
    }
    const number = this.#attachment.nextStream;
    if (number > LAST_STREAM) {
      // Numbers are never used again, so a connection of some months comes to its end; the next one begins anew.
      closeSocket(this.socket, RESTARTED, "every stream number was used");
      throw connectionLost();
    }
    try {
      const frame = encodeOpen(number, call.head, request.body === null);
      this.#outbox.pushOpen(frame, this.#requests > 0);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      throw new Problem(
        "headers_too_large",
        "The request's headers are too large for the runner's connection.",
      );
    }
    this.#attachment.nextStream += 1;
    this.#requests += 1;
    const stream = new HttpStream(request, this, { number, call });
    this.#streams.set(number, stream);
    return stream.answered;
  }

  /** A binary message from the runner. Throws `ProtocolError` when the connection can't go on. */
  receive(message: ArrayBuffer): void {
    for (const frame of parseFrames(new Uint8Array(message))) this.#frame(frame);
  }

  /** The stream of a public socket; undefined when it has ended on this side. */
  publicStream(socket: WebSocket): SocketStream | undefined {
    return this.#publicStreams.get(socket);
  }

  /** The connection is over: every stream on it is, too. */
  end(problem: Problem): void {
    this.turns.end();
    if (this.#stalledTimer !== null) clearTimeout(this.#stalledTimer);
    if (this.#waitingTimer !== null) clearTimeout(this.#waitingTimer);
    for (const stream of this.#streams.values()) stream.fail(problem);
    this.#streams.clear();
  }

  send(frame: Frame): void {
    this.#outbox.push(frame);
  }

  consumed(bytes: number): void {
    const grant = this.#receiveCredit.consume(bytes);
    if (grant > 0) this.send({ type: "window", stream: 0, bytes: grant });
    if (this.#requests === 0) this.#save();
  }

  untaken(reader: Reader, some: boolean): void {
    if (some) this.#readers.add(reader);
    else this.#readers.delete(reader);
  }

  waits(stream: WaitsForHead, some: boolean): void {
    if (!some) this.#waiting.delete(stream);
    else {
      this.#waiting.add(stream);
      this.#lookAfterWaiting();
    }
  }

  upgrade(stream: number, head: AnswerHead): Response {
    const service = this.#streams.get(stream)?.service ?? "";
    const { 0: client, 1: server } = new WebSocketPair();
    const protocol = head.headers.find(([name]) => name.toLowerCase() === "sec-websocket-protocol")?.[1];
    const headers = new Headers();
    for (const [name, value] of head.headers)
      if (!HANDSHAKE.has(name.toLowerCase())) headers.append(name, headerText(value));
    if (protocol !== undefined) headers.set("sec-websocket-protocol", headerText(protocol));
    this.#ctx.acceptWebSocket(server, [PUBLIC_TAG]);
    const attachment: PublicAttachment = { kind: "public", epoch: this.#attachment.epoch, stream, service };
    server.serializeAttachment(attachment);
    this.#addPublic(new SocketStream(server, this, { number: stream, service }));
    this.#requests -= 1;
    this.#automaticPongs();
    this.#save();
    return new Response(null, { status: 101, webSocket: client, headers });
  }

  holdParts(bytes: number): boolean {
    this.#partBytes += bytes;
    return this.#partBytes <= PARTIAL_MESSAGES_LIMIT_BYTES;
  }

  ended(stream: number): void {
    const known = this.#streams.get(stream);
    if (!this.#streams.delete(stream)) return;
    if (known instanceof SocketStream) {
      this.#publicStreams.delete(known.socket);
      this.#automaticPongs();
    } else this.#requests -= 1;
    if (this.#requests === 0) this.#save();
  }

  #frame(frame: Frame): void {
    const { stream: number } = frame;
    const carriesBody = frame.type === "head" || frame.type === "data";
    if (carriesBody) {
      this.#receiveCredit.receive(frame.body.byteLength);
      this.#watchStalled();
    }
    if (number === 0) {
      if (frame.type === "window") this.turns.grant(frame.bytes);
      return;
    }
    if (number >= this.#attachment.nextStream)
      throw new ProtocolError("A frame is on a stream that was never opened.");
    if (frame.type === "open") throw new ProtocolError("Only the hub opens streams.");
    const stream = this.#streams.get(number);
    if (stream === undefined) {
      // It was under way when the stream ended.
      if (carriesBody) this.consumed(frame.body.byteLength);
      return;
    }
    switch (frame.type) {
      case "head":
      case "data":
        if (stream instanceof SocketStream) {
          this.consumed(frame.body.byteLength);
          stream.misplaced();
        } else if (frame.type === "head") stream.head(frame.head, frame.body, frame.end);
        else stream.data(frame.body, frame.end);
        return;
      case "text":
      case "binary":
        if (stream instanceof SocketStream) stream.part(frame.type, frame.body, frame.end);
        else stream.misplaced();
        return;
      case "close":
        if (stream instanceof SocketStream) stream.closedByRunner(frame.code, frame.reason);
        else stream.misplaced();
        return;
      case "reset":
        return stream.reset(frame.code);
      case "window":
        return stream.window(frame.bytes);
    }
  }

  /** It stops by itself: a timer that runs keeps the hub from hibernating. */
  #lookAfterWaiting(): void {
    this.#waitingTimer ??= setTimeout(() => {
      this.#waitingTimer = null;
      const now = Date.now();
      for (const stream of this.#waiting) stream.stillWaits(now);
      if (this.#waiting.size > 0) this.#lookAfterWaiting();
    }, LOOK_AFTER_MS);
  }

  /** While little room is left, looks now and then for clients that take nothing of what fills it. */
  #watchStalled(): void {
    if (this.#stalledTimer !== null || this.#receiveCredit.roomBytes >= CONNECTION_WINDOW_BYTES / 4) return;
    this.#stalledTimer = setTimeout(() => {
      this.#stalledTimer = null;
      if (this.#receiveCredit.roomBytes < CONNECTION_WINDOW_BYTES / 4) {
        const since = Date.now() - STALLED_READER_MS;
        for (const reader of this.#readers) reader.giveUpStalled(since);
      }
      this.#watchStalled();
    }, STALLED_READER_MS / 4);
  }

  /** Public sockets of this connection go on after hibernation, those of an earlier one have lost their runner. */
  #takeUp(socket: WebSocket): void {
    const known = attachmentOf(socket);
    if (known?.kind !== "public" || socket.readyState !== WebSocket.OPEN) return;
    const { stream: number, service } = known;
    if (known.epoch !== this.#attachment.epoch)
      closeSocket(socket, RESTARTED, "the runner's connection ended");
    else this.#addPublic(new SocketStream(socket, this, { number, service }));
  }

  #addPublic(stream: SocketStream): void {
    this.#streams.set(stream.number, stream);
    this.#publicStreams.set(stream.socket, stream);
  }

  /**
   * The platform's automatic answer is the same for all sockets of an object, so while visitors are connected, whose
   * `ping` is their app's business, the hub answers its runner itself.
   */
  #automaticPongs(): void {
    if (this.#publicStreams.size > 0) this.#ctx.setWebSocketAutoResponse();
    else this.#ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  #save(): void {
    this.#attachment.sendCreditBytes = this.turns.bytes;
    this.#attachment.ungrantedBytes = this.#receiveCredit.ungrantedBytes;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.serializeAttachment(this.#attachment);
  }
}

/** Made anew by the platform for the public's half of the connection. */
const HANDSHAKE = new Set([
  "connection",
  "upgrade",
  "sec-websocket-accept",
  "sec-websocket-extensions",
  "sec-websocket-protocol",
]);

function sendTo(socket: WebSocket, message: Uint8Array): void {
  try {
    socket.send(message);
  } catch {
    return; // it has just closed, and its close event ends every stream
  }
}
