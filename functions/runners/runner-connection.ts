// Over 400 lines on purpose: streams, credit and shares of one connection are counted against each other at each frame.

import { visitorOf } from "../client-address.ts";
import { Problem, problemResponse } from "../errors.ts";
import { counters } from "../observability/counters.ts";
import { AppFlows, appOf, ReceiveCredit, WindowPool } from "../protocol/flow.ts";
import { encodeOpen, parseFrames, ProtocolError, type AnswerHead, type Frame } from "../protocol/frames.ts";
import {
  APP_MESSAGES_BURST,
  APP_MESSAGES_PER_SECOND,
  CONNECTION_WINDOW_BYTES,
  OWN_REQUESTS_RESERVE,
  PARTIAL_MESSAGES_LIMIT_BYTES,
  STALLED_READER_MS,
  STUCK_BODY_MS,
} from "../protocol/limits.ts";
import { RUNNER_SERVICE } from "../protocol/runner-api.ts";
import { attachmentOf, PUBLIC_TAG, type PublicAttachment, type RunnerAttachment } from "./attachments.ts";
import { closeSocket, RESTARTED } from "./close-codes.ts";
import { headerText } from "./header-bytes.ts";
import { HttpStream } from "./http-stream.ts";
import { JoinedStream } from "./joined-stream.ts";
import { Joins } from "./joins.ts";
import { LeakyBucket } from "./leaky-bucket.ts";
import { Outbox } from "./outbox.ts";
import { Shares, type ShareLimits } from "./shares.ts";
import { SocketStream } from "./socket-stream.ts";
import type { Reader, StreamLink, WaitsForHead } from "./stream-link.ts";
import { connectionLost } from "./stream-problems.ts";
import type { OpenStreams, TunnelCall } from "./tunnel-call.ts";
import { Turns } from "./turns.ts";

/** Coarse enough to cost nothing per message; no reader needs it finer. */
const HEARD_RESOLUTION_MS = 500;
/** A request without an answer for this long listens for its client's leaving, which costs more than most answers. */
const LOOK_AFTER_MS = 200;
/** More than one app whose clients take nothing leaves. */
const SHORT_OF_ROOM_BYTES = (CONNECTION_WINDOW_BYTES * 3) / 8;
/** Source: PROTOCOL.md, section 3: numbers have 32 bits. */
const LAST_STREAM = 0xffff_ffff;

/** What the streams of one connection may be. */
export interface ConnectionSettings {
  requests: ShareLimits;
  sockets: ShareLimits;
  /** Whether a visitor's address is trustworthy. */
  knowsVisitors: boolean;
}

/**
 * One runner's connection: its streams, its credit, and the state that survives the hub's hibernation. A hub hibernates
 * only while no request is under way, so the state between two bodies is enough.
 */
export class RunnerConnection implements StreamLink {
  readonly socket: WebSocket;
  readonly turns: Turns;
  readonly windows = new WindowPool(() => Date.now());
  readonly apps = new AppFlows();
  readonly #ctx: DurableObjectState;
  readonly #attachment: RunnerAttachment;
  readonly #outbox: Outbox;
  readonly #streams = new Map<number, HttpStream | SocketStream | JoinedStream>();
  readonly #joins = new Joins();
  /** By socket, which stays the same object for as long as the hub is awake. */
  readonly #publicStreams = new Map<WebSocket, SocketStream>();
  /** Clients that have yet to take bytes of an answer. */
  readonly #readers = new Set<Reader>();
  readonly #receiveCredit: ReceiveCredit;
  /** Streams with bodies: while there is one the hub doesn't hibernate, and the saved state may be old. */
  #requests = 0;
  /** Of them, those to the runner's own service. */
  #ownRequests = 0;
  readonly #requestShares: Shares;
  readonly #socketShares: Shares;
  readonly #knowsVisitors: boolean;
  /** Streams without an answer's head. One timer looks after all of them. */
  readonly #waiting = new Set<WaitsForHead>();
  #waitingTimer: ReturnType<typeof setTimeout> | null = null;
  #partBytes = 0;
  /** Messages of visitors, by app. */
  readonly #said = new Map<string, LeakyBucket>();
  #stalledTimer: ReturnType<typeof setTimeout> | null = null;
  #stuckTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(
    ctx: DurableObjectState,
    socket: WebSocket,
    attachment: RunnerAttachment,
    settings: ConnectionSettings,
  ) {
    this.#requestShares = new Shares(settings.requests, "requests");
    this.#socketShares = new Shares(settings.sockets, "WebSockets");
    this.#knowsVisitors = settings.knowsVisitors;
    this.socket = socket;
    this.#ctx = ctx;
    this.#attachment = attachment;
    this.turns = new Turns(attachment.sendCreditBytes, () => this.#watchStuck());
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

  get streams(): number {
    return this.#streams.size;
  }

  openStreams(service: string): OpenStreams {
    const own = [...this.#streams.values()].filter((stream) => stream.service === service);
    return { all: own.length, ofPages: own.filter(({ isOfPage }) => isOfPage).length };
  }

  /** Sends a request through the tunnel; always answers, if need be with a problem. */
  open(request: Request, call: TunnelCall): Promise<Response> {
    const visitor = this.#knowsVisitors && call.address !== null ? visitorOf(call.address) : null;
    const isOwn = call.service === RUNNER_SERVICE;
    if (isOwn) this.#makeOwnRoom();
    else this.#sharesOf(call).makeRoom(appOf(call.service), visitor);
    const number = this.#attachment.nextStream;
    if (number > LAST_STREAM) {
      // Stream numbers are never reused, so after some months a connection runs out. The next one starts at 1.
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
    counters.streams += 1;
    const stream = new HttpStream(request, this, { number, call, app: appOf(call.service), visitor });
    this.#streams.set(number, stream);
    if (isOwn) this.#ownRequests += 1;
    else this.#sharesOf(call).add(stream);
    return stream.answered;
  }

  /** A connection of the runner for one visitor's WebSocket, whose app it is about to ask. */
  join(number: number, request: Request): Response {
    const stream = this.#streams.get(number);
    if (stream instanceof HttpStream && stream.webSocket) return this.#joins.join(number);
    return problemResponse(new Problem("not_found", "No visitor waits for this WebSocket."), request);
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
    if (this.#stuckTimer !== null) clearTimeout(this.#stuckTimer);
    for (const stream of this.#streams.values()) stream.fail(problem);
    this.#streams.clear();
    this.#joins.end();
  }

  send(frame: Frame): void {
    if ("body" in frame) counters.bytesOut += frame.body.byteLength;
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
    const opened = this.#streams.get(stream);
    const service = opened?.service ?? "";
    const visitor = opened instanceof HttpStream ? opened.visitor : null;
    if (opened instanceof HttpStream) this.#leaveShare(opened);
    const protocol = head.headers.find(([name]) => name.toLowerCase() === "sec-websocket-protocol")?.[1];
    const headers = new Headers();
    for (const [name, value] of head.headers)
      if (!HANDSHAKE.has(name.toLowerCase())) headers.append(name, headerText(value));
    if (protocol !== undefined) headers.set("sec-websocket-protocol", headerText(protocol));
    const joined = this.#joins.take(stream);
    if (joined !== null) {
      this.#addJoined(new JoinedStream(this, { number: stream, service, app: appOf(service), visitor }));
      return new Response(null, { status: 101, webSocket: joined, headers });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.#ctx.acceptWebSocket(server, [PUBLIC_TAG]);
    const { epoch } = this.#attachment;
    const attachment: PublicAttachment = { kind: "public", epoch, stream, service, visitor };
    server.serializeAttachment(attachment);
    this.#addPublic(
      new SocketStream(server, this, { number: stream, service, app: appOf(service), visitor }),
    );
    this.#requests -= 1;
    this.#automaticPongs();
    this.#save();
    return new Response(null, { status: 101, webSocket: client, headers });
  }

  holdParts(bytes: number): boolean {
    this.#partBytes += bytes;
    return this.#partBytes <= PARTIAL_MESSAGES_LIMIT_BYTES;
  }

  said(app: string, now: number): boolean {
    let said = this.#said.get(app);
    if (said === undefined) this.#said.set(app, (said = new LeakyBucket(APP_MESSAGES_PER_SECOND)));
    return said.add(1, now) > APP_MESSAGES_BURST;
  }

  ended(stream: number): void {
    const known = this.#streams.get(stream);
    if (!this.#streams.delete(stream)) return;
    if (known instanceof SocketStream) {
      this.#publicStreams.delete(known.socket);
      this.#socketShares.remove(known);
      this.#automaticPongs();
    } else if (known instanceof JoinedStream) {
      this.#joins.remove(known);
      this.#socketShares.remove(known);
    } else if (known !== undefined) {
      this.#joins.take(stream);
      this.#requests -= 1;
      this.#leaveShare(known);
    }
    if (this.#requests === 0) this.#save();
  }

  #frame(frame: Frame): void {
    const { stream: number } = frame;
    const carriesBody = frame.type === "head" || frame.type === "data";
    if ("body" in frame) counters.bytesIn += frame.body.byteLength;
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
        if (!(stream instanceof HttpStream)) {
          this.consumed(frame.body.byteLength);
          stream.misplaced();
        } else if (frame.type === "head") stream.head(frame.head, frame.body, frame.end);
        else stream.data(frame.body, frame.end);
        return;
      case "text":
      case "binary":
        if (stream instanceof HttpStream) stream.misplaced();
        else stream.part(frame.type, frame.body, frame.end);
        return;
      case "close":
        if (stream instanceof HttpStream) stream.misplaced();
        else stream.closedByRunner(frame.code, frame.reason);
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

  /** While room is short, checks at intervals for clients that read nothing. */
  #watchStalled(): void {
    if (this.#stalledTimer !== null || this.#receiveCredit.roomBytes >= SHORT_OF_ROOM_BYTES) return;
    this.#stalledTimer = setTimeout(() => {
      this.#stalledTimer = null;
      if (this.#receiveCredit.roomBytes < SHORT_OF_ROOM_BYTES) {
        const since = Date.now() - STALLED_READER_MS;
        for (const reader of this.#readers) reader.giveUpStalled(since);
      }
      this.#watchStalled();
    }, STALLED_READER_MS / 4);
  }

  /** While room is short, checks at intervals for the app that holds most, and ends its uploads that stand still. */
  #watchStuck(): void {
    this.#stuckTimer ??= setTimeout(() => {
      this.#stuckTimer = null;
      if (!this.turns.isShort) return;
      const app = this.apps.fullest();
      let freed = 0;
      for (const stream of this.#streams.values()) {
        if (freed >= CONNECTION_WINDOW_BYTES / 4) break;
        if (stream instanceof HttpStream && stream.app === app)
          freed += stream.giveUpStuck(Date.now() - STUCK_BODY_MS);
      }
      this.#watchStuck();
    }, STUCK_BODY_MS / 4);
  }

  /** Public sockets of this connection go on after hibernation, those of an earlier one have lost their runner. */
  #takeUp(socket: WebSocket): void {
    const known = attachmentOf(socket);
    if (known?.kind !== "public" || socket.readyState !== WebSocket.OPEN) return;
    const { stream: number, service, visitor } = known;
    if (known.epoch !== this.#attachment.epoch)
      closeSocket(socket, RESTARTED, "the runner's connection ended");
    else this.#addPublic(new SocketStream(socket, this, { number, service, app: appOf(service), visitor }));
  }

  #addPublic(stream: SocketStream): void {
    this.#streams.set(stream.number, stream);
    this.#publicStreams.set(stream.socket, stream);
    this.#socketShares.add(stream);
  }

  #addJoined(stream: JoinedStream): void {
    this.#streams.set(stream.number, stream);
    this.#joins.add(stream);
    this.#socketShares.add(stream);
    this.#requests -= 1;
    this.#save();
  }

  #sharesOf({ webSocket }: { webSocket: boolean }): Shares {
    return webSocket ? this.#socketShares : this.#requestShares;
  }

  #leaveShare(stream: HttpStream): void {
    if (stream.service === RUNNER_SERVICE) this.#ownRequests -= 1;
    else this.#sharesOf(stream).remove(stream);
  }

  #makeOwnRoom(): void {
    if (this.#ownRequests < OWN_REQUESTS_RESERVE) return;
    const detail = `The runner has ${OWN_REQUESTS_RESERVE} requests to its own service open. Try again shortly.`;
    throw new Problem("runner_overloaded", detail, { headers: { "retry-after": "2" } });
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
