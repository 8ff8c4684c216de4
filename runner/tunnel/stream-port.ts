import {
  bodySize,
  encodeFrame,
  ProtocolError,
  type EncodedFrame,
  type Frame,
  type ResetCode,
} from "../../functions/protocol/frames.ts";
import {
  appOf,
  frameBudget,
  SendCredit,
  StreamWindow,
  type AppFlow,
  type AppFlows,
  type Owing,
  type ReceiveCredit,
  type WindowPool,
} from "../../functions/protocol/flow.ts";
import { STREAM_WINDOW_BYTES } from "../../functions/protocol/limits.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import type { MessageFlow } from "./message-flow.ts";
import type { FrameSource, FrameWriter } from "./frame-writer.ts";

/** What serves one stream locally. */
export interface TunnelStream {
  /** Bytes of the request's body. They stay the stream's until it says `consumed`. */
  data(body: Uint8Array, end: boolean): void;
  /** A part of a WebSocket message. */
  message(type: "text" | "binary", body: Uint8Array, end: boolean): void;
  /** The other side closes the WebSocket. */
  closing(code: number, reason: string): void;
  /** This runner is about to stop, and the hub has been told: what doesn't lead through it has to be told here. */
  leaving?(code: number, reason: string): void;
  /** The next frame, with at most `maxBodyBytes` of body. */
  pull(maxBodyBytes: number): Frame | null;
  /** The stream is over: releases everything. No call follows. */
  release(): void;
}

/** What a connection does for its streams. */
export interface StreamConnection {
  readonly writer: FrameWriter;
  readonly sendCredit: SendCredit;
  readonly receiveCredit: ReceiveCredit;
  readonly windows: WindowPool;
  readonly apps: AppFlows;
  /** For answers that are read ahead of their turn, beyond a small frame each. */
  readonly readAhead: MemoryBudget;
  /** For WebSocket messages, which have no credit. */
  readonly messages: MessageFlow;
  remove(port: StreamPort): void;
}

/** One stream's way into the connection: its turn, its credit, its end. */
export class StreamPort implements FrameSource, Owing {
  readonly id: number;
  readonly service: string;
  readonly app: string;
  readonly webSocket: boolean;
  readonly #connection: StreamConnection;
  readonly #flow: AppFlow;
  readonly #send: SendCredit;
  readonly #receive: StreamWindow;
  #stream: TunnelStream | undefined;
  /** Received, and not yet consumed. */
  #heldBytes = 0;
  #requestEnded = false;
  #answerEnded = false;
  #closed = false;

  constructor(connection: StreamConnection, id: number, service: string, webSocket: boolean) {
    this.#connection = connection;
    this.app = appOf(service);
    this.#flow = connection.apps.of(this.app);
    this.#send = new SendCredit(STREAM_WINDOW_BYTES, this.#flow);
    this.#receive = new StreamWindow(connection.windows);
    this.id = id;
    this.service = service;
    this.webSocket = webSocket;
  }

  get closed(): boolean {
    return this.#closed;
  }

  attach(stream: TunnelStream): void {
    this.#stream = stream;
    // It may have been refused while it was being made.
    if (this.#closed) stream.release();
  }

  // The connection's side.

  /** Takes note of body bytes, which have cost the sender credit. */
  received(bytes: number, end: boolean): void {
    if (this.#requestEnded) throw new ProtocolError("A body goes on after its end.");
    this.#connection.receiveCredit.receive(bytes);
    this.#receive.receive(bytes);
    this.#heldBytes += bytes;
    this.#requestEnded = end;
  }

  frame(frame: Exclude<Frame, { type: "open" | "head" }>): void {
    switch (frame.type) {
      case "data":
        this.received(frame.body.byteLength, frame.end);
        this.#stream?.data(frame.body, frame.end);
        this.#settle();
        return;
      case "window":
        this.#send.grant(frame.bytes);
        this.wake();
        return;
      case "text":
      case "binary":
        this.#stream?.message(frame.type, frame.body, frame.end);
        return;
      case "close":
        this.#stream?.closing(frame.code, frame.reason);
        return;
      case "reset":
        this.close();
    }
  }

  pull(maxBodyBytes: number): EncodedFrame | null {
    if (this.#closed) return null;
    const budget = frameBudget(this.#send, this.#connection.sendCredit, maxBodyBytes);
    const frame = this.#stream?.pull(budget) ?? null;
    if (frame === null) return null;
    let encoded: EncodedFrame;
    try {
      encoded = encodeFrame(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.reset("protocol", error.message);
      return null;
    }
    if (frame.type === "head" || frame.type === "data") {
      const bytes = bodySize(frame);
      this.#send.take(bytes);
      this.#connection.sendCredit.take(bytes);
      if (frame.end) this.#answerEnded = true;
    }
    if (frame.type === "close" || frame.type === "reset") this.close();
    this.#settle();
    return encoded;
  }

  leaving(code: number, reason: string): void {
    this.#stream?.leaving?.(code, reason);
  }

  /** Ends the stream without a word to the peer. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.writer.forget(this);
    this.#giveBack(this.#heldBytes);
    this.#receive.end();
    this.#flow.settle(this);
    this.#connection.messages.forget(this);
    this.#send.end();
    this.#connection.remove(this);
    this.#stream?.release();
  }

  // The stream's side.

  /** What one of its frames may hold at present. */
  get frameBytes(): number {
    return this.#connection.writer.frameBytes;
  }

  get readAhead(): MemoryBudget {
    return this.#connection.readAhead;
  }

  /** Whether a message of this size may leave now; if not, the port is woken when it may. */
  mayTell(bytes: number): boolean {
    return this.#connection.messages.take(bytes, this);
  }

  wake(): void {
    if (!this.#closed) this.#connection.writer.wake(this);
  }

  /** The local server took `bytes`: the peer may send as many more. */
  consumed(bytes: number): void {
    if (this.#closed || bytes === 0) return;
    this.#heldBytes -= bytes;
    this.#giveBack(bytes);
    const grant = this.#receive.consume(bytes);
    if (grant === 0 || this.#requestEnded) return this.#flow.owe(this, bytes);
    this.#flow.settle(this);
    this.#window(this.id, grant);
  }

  /** Also of a request that has ended: the hub counts what its app has, and an answer may take long. */
  tell(bytes: number): void {
    const grant = this.#requestEnded ? bytes : this.#receive.flush();
    if (grant > 0) this.#window(this.id, grant);
  }

  reset(code: ResetCode, reason: string): void {
    if (this.#closed) return;
    this.#connection.writer.control(encodeFrame({ type: "reset", stream: this.id, code, reason }));
    this.close();
  }

  /** Both directions have ended. A WebSocket that was refused has only one. */
  #settle(): void {
    if (this.#answerEnded && (this.#requestEnded || this.webSocket)) this.close();
  }

  #giveBack(bytes: number): void {
    const grant = this.#connection.receiveCredit.consume(bytes);
    if (grant > 0) this.#window(0, grant);
  }

  #window(stream: number, bytes: number): void {
    this.#connection.writer.window(stream, bytes);
  }
}
