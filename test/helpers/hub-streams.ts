import type { AnswerHead, Frame, OpenHead, RawHeaders } from "../../functions/protocol/frames.ts";
import { frameBudget, ReceiveCredit, SendCredit } from "../../functions/protocol/flow.ts";
import { CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES } from "../../functions/protocol/limits.ts";
import { frameBytes, framesOf } from "./wire.ts";

/** The hub's side of the streams of one connection; every rule that the runner must keep is checked. */
export class HubStreams {
  readonly #send: (message: Uint8Array) => void;
  readonly #streams = new Map<number, HubStream>();
  readonly sendCredit = new SendCredit(CONNECTION_WINDOW_BYTES);
  readonly receiveCredit = new ReceiveCredit(CONNECTION_WINDOW_BYTES);
  #next = 1;
  /** Sizes of the messages that arrived, and of the frames in each. */
  readonly messages: number[][] = [];
  keepMessages = false;

  constructor(send: (message: Uint8Array) => void) {
    this.#send = send;
  }

  get open(): number {
    return this.#streams.size;
  }

  /** Opens a stream; `body`: all of it, or null when `write` and `finish` will follow. */
  request(
    head: Partial<OpenHead> & { path: string },
    body: Uint8Array | null = new Uint8Array(0),
  ): HubStream {
    const stream = new HubStream(this, this.#next);
    this.#next += 1;
    this.#streams.set(stream.id, stream);
    const full = { service: "app", method: "GET", headers: [["host", "app.example"]] as RawHeaders, ...head };
    const first = body ?? new Uint8Array(0);
    if (first.byteLength > 64 * 1024) throw new Error("A larger body has to be written.");
    stream.sendCredit.take(first.byteLength);
    this.sendCredit.take(first.byteLength);
    stream.requestEnded = body !== null && full.webSocket !== true;
    this.frame({
      type: "open",
      stream: stream.id,
      head: { webSocket: false, ...full },
      body: first,
      end: body !== null,
    });
    return stream;
  }

  frame(frame: Frame): void {
    this.#send(frameBytes(frame));
  }

  raw(message: Uint8Array): void {
    this.#send(message);
  }

  receive(message: Uint8Array): void {
    const frames = framesOf(message);
    if (this.keepMessages)
      this.messages.push(frames.map((frame) => ("body" in frame ? frame.body.byteLength : 0)));
    for (const frame of frames) {
      if (frame.type === "window" && frame.stream === 0) {
        this.sendCredit.grant(frame.bytes);
        for (const stream of this.#streams.values()) stream.changed();
        continue;
      }
      if (frame.type === "head" || frame.type === "data") this.receiveCredit.receive(frame.body.byteLength);
      const stream = this.#streams.get(frame.stream);
      if (stream !== undefined) stream.receive(frame);
      else if (frame.type === "head" || frame.type === "data") this.consumed(frame.body.byteLength);
    }
  }

  consumed(bytes: number): void {
    const grant = this.receiveCredit.consume(bytes);
    if (grant > 0) this.frame({ type: "window", stream: 0, bytes: grant });
  }

  remove(stream: HubStream): void {
    this.#streams.delete(stream.id);
  }

  /** The connection is gone. */
  end(): void {
    for (const stream of this.#streams.values()) stream.cut();
    this.#streams.clear();
  }
}

export interface HubMessage {
  type: "text" | "binary";
  bytes: Buffer;
}

/** One request or WebSocket, as a test uses it. */
export class HubStream {
  readonly id: number;
  readonly sendCredit = new SendCredit(STREAM_WINDOW_BYTES);
  readonly #receiveCredit = new ReceiveCredit(STREAM_WINDOW_BYTES);
  readonly #hub: HubStreams;
  #head: AnswerHead | undefined;
  readonly #chunks: Uint8Array[] = [];
  readonly #messages: HubMessage[] = [];
  #parts: Uint8Array[] = [];
  #ended = false;
  requestEnded = false;
  /** Why it ended before its end. */
  failure: { code: string; reason: string } | null = null;
  closed: { code: number; reason: string } | null = null;
  /** Body bytes so far, read or not. */
  receivedBytes = 0;
  /** Frames that its answer came in. */
  frames = 0;
  readonly #wakes = new Set<() => void>();

  constructor(streams: HubStreams, id: number) {
    this.#hub = streams;
    this.id = id;
  }

  /** The answer's head; rejects when the stream is reset before. */
  async head(): Promise<AnswerHead> {
    await this.#until(() => this.#head !== undefined || this.failure !== null);
    if (this.#head === undefined) throw new Error(`reset: ${this.failure?.code}: ${this.failure?.reason}`);
    return this.#head;
  }

  /** The next bytes of the body, null at its end; rejects when the stream is reset before. */
  async read(): Promise<Uint8Array | null> {
    await this.#until(() => this.#chunks.length > 0 || this.#ended || this.failure !== null);
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#hub.consumed(chunk.byteLength);
      const grant = this.#receiveCredit.consume(chunk.byteLength);
      if (grant > 0 && !this.#ended) this.#hub.frame({ type: "window", stream: this.id, bytes: grant });
      return chunk;
    }
    if (this.failure !== null) throw new Error(`reset: ${this.failure.code}: ${this.failure.reason}`);
    return null;
  }

  async body(): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    for (let chunk = await this.read(); chunk !== null; chunk = await this.read()) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Sends a part of the request's body as there is credit. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) {
      const budget = (): number => frameBudget(this.sendCredit, this.#hub.sendCredit);
      await this.#until(() => budget() > 0 || this.failure !== null);
      if (this.failure !== null) throw new Error(`reset: ${this.failure.code}: ${this.failure.reason}`);
      const body = bytes.subarray(at, at + budget());
      this.sendCredit.take(body.byteLength);
      this.#hub.sendCredit.take(body.byteLength);
      this.#hub.frame({ type: "data", stream: this.id, body, end: false });
      at += body.byteLength;
    }
  }

  finish(): void {
    this.#hub.frame({ type: "data", stream: this.id, body: new Uint8Array(0), end: true });
    this.requestEnded = true;
    this.#settle();
  }

  cancel(): void {
    this.#hub.frame({ type: "reset", stream: this.id, code: "cancelled", reason: "the client is gone" });
    this.cut();
    this.#hub.remove(this);
    this.#hub.consumed(this.#chunks.splice(0).reduce((sum, chunk) => sum + chunk.byteLength, 0));
  }

  // As a WebSocket.

  say(message: string | Uint8Array, partBytes = 64 * 1024): void {
    const type = typeof message === "string" ? "text" : "binary";
    const bytes = Buffer.from(message);
    let at = 0;
    do {
      const body = bytes.subarray(at, at + partBytes);
      at += partBytes;
      this.#hub.frame({ type, stream: this.id, body, end: at >= bytes.byteLength });
    } while (at < bytes.byteLength);
  }

  async hear(): Promise<HubMessage> {
    await this.#until(() => this.#messages.length > 0 || this.closed !== null || this.failure !== null);
    const message = this.#messages.shift();
    if (message === undefined) throw new Error(`closed: ${JSON.stringify(this.closed ?? this.failure)}`);
    return message;
  }

  close(code: number, reason = ""): void {
    this.#hub.frame({ type: "close", stream: this.id, code, reason });
  }

  /** How the WebSocket or stream ended. */
  async over(): Promise<{ code: number | string; reason: string }> {
    await this.#until(() => this.closed !== null || this.failure !== null);
    return this.closed ?? this.failure ?? { code: "", reason: "" };
  }

  // From the connection.

  receive(frame: Frame): void {
    this.frames += 1;
    switch (frame.type) {
      case "head":
        if (this.#head !== undefined) throw new Error("The runner answered twice.");
        this.#head = frame.head;
        this.#data(frame.body, frame.end);
        break;
      case "data":
        if (this.#head === undefined) throw new Error("The runner sent a body before a head.");
        this.#data(frame.body, frame.end);
        break;
      case "window":
        this.sendCredit.grant(frame.bytes);
        break;
      case "reset":
        this.failure = { code: frame.code, reason: frame.reason };
        this.#hub.remove(this);
        break;
      case "text":
      case "binary":
        this.#parts.push(frame.body);
        if (frame.end) {
          this.#messages.push({ type: frame.type, bytes: Buffer.concat(this.#parts) });
          this.#parts = [];
        }
        break;
      case "close":
        this.closed = { code: frame.code, reason: frame.reason };
        this.#hub.remove(this);
        break;
      case "open":
        throw new Error("The runner opened a stream.");
    }
    this.changed();
  }

  changed(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }

  cut(): void {
    this.failure ??= { code: "cut", reason: "the connection is gone" };
    this.changed();
  }

  #data(body: Uint8Array, end: boolean): void {
    if (this.#ended) throw new Error("The runner's answer goes on after its end.");
    this.#receiveCredit.receive(body.byteLength);
    this.receivedBytes += body.byteLength;
    if (body.byteLength > 0) this.#chunks.push(body);
    if (end) this.#ended = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#ended && this.requestEnded) this.#hub.remove(this);
  }

  async #until(reached: () => boolean): Promise<void> {
    while (!reached()) await new Promise<void>((resolve) => this.#wakes.add(resolve));
  }
}
