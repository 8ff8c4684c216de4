import type { Agent } from "node:http";
import {
  encodeFrame,
  parseFrames,
  ProtocolError,
  type Frame,
  type OpenHead,
  type ResetCode,
} from "../../functions/protocol/frames.ts";
import { AppFlows, ReceiveCredit, SendCredit, WindowPool } from "../../functions/protocol/flow.ts";
import { CONNECTION_WINDOW_BYTES, REQUESTS_LIMIT, SOCKETS_LIMIT } from "../../functions/protocol/limits.ts";
import type { FrameLink, JoinOffer, StreamPeer } from "../connection/connection.ts";
import { FrameWriter } from "./frame-writer.ts";
import { MalformedRequest } from "./headers.ts";
import { HttpStream } from "./http-stream.ts";
import { JoinedWebSocketStream } from "./joined-web-socket-stream.ts";
import { MemoryBudget } from "./memory-budget.ts";
import { MessageBudget } from "./message-budget.ts";
import { MessageFlow } from "./message-flow.ts";
import type { ResolvedTarget } from "./services.ts";
import { StreamPort, type StreamConnection, type TunnelStream } from "./stream-port.ts";
import { WebSocketStream } from "./web-socket-stream.ts";

export interface TunnelConnectionOptions {
  agent: Agent;
  headTimeoutMs: number;
  resolve(service: string, isSocket: boolean): ResolvedTarget | null;
  isShuttingDown(): boolean;
}

/** WebSocket messages that local servers are slow to take, and those of one app: one message fits beside any app's. */
const WEBSOCKET_MEMORY = { bytes: 64 * 1024 * 1024, appBytes: 47 * 1024 * 1024 };
/** Sixteen answers at a time can be read ahead of their turn by the largest frame. */
const READ_AHEAD_BYTES = 8 * 1024 * 1024;
/** WebSockets that are over for the hub, and whose servers have yet to answer the close. */
const CLOSING_SOCKETS = 512;
/** What a request line can hold; everything else would be sent as something else. */
const REQUEST_PATH = /^[\u0021-\u007e\u0080-\u00ff]*$/;
/** Source: RFC 6455, 7.4.1. */
const GOING_AWAY = 1_001;

/** The streams of one connection. A peer that breaks the protocol makes `receive` throw ProtocolError. */
export class TunnelConnection implements StreamPeer, StreamConnection {
  readonly writer: FrameWriter;
  readonly sendCredit = new SendCredit(CONNECTION_WINDOW_BYTES);
  readonly receiveCredit = new ReceiveCredit(CONNECTION_WINDOW_BYTES);
  readonly windows = new WindowPool(() => performance.now());
  readonly apps = new AppFlows();
  readonly readAhead = new MemoryBudget(READ_AHEAD_BYTES);
  readonly #options: TunnelConnectionOptions;
  /** Null: this hub doesn't join WebSockets. */
  readonly #join: JoinOffer | null;
  readonly #ports = new Map<number, StreamPort>();
  readonly messages: MessageFlow;
  readonly #budget = new MessageBudget(WEBSOCKET_MEMORY);
  #highest = 0;
  #webSockets = 0;

  constructor(link: FrameLink, options: TunnelConnectionOptions) {
    this.#options = options;
    this.#join = link.join ?? null;
    this.messages = new MessageFlow((done) => link.confirm(done));
    this.writer = new FrameWriter(
      (message, written) => link.send(message, written),
      () => link.fail("The other side doesn't read what it is sent."),
    );
  }

  get ports(): Iterable<StreamPort> {
    return this.#ports.values();
  }

  receive(message: Uint8Array): void {
    for (const frame of parseFrames(message)) this.#frame("body" in frame ? owned(frame, message) : frame);
  }

  delay(ms: number): void {
    this.windows.delay(ms);
  }

  /** Tells the other side that WebSockets end; requests go on. */
  endWebSockets(): void {
    for (const port of this.#ports.values()) {
      if (!port.webSocket) continue;
      const reason = "the runner is about to stop";
      this.writer.control(encodeFrame({ type: "close", stream: port.id, code: GOING_AWAY, reason }));
      port.leaving(GOING_AWAY, reason);
      port.close();
    }
  }

  close(): void {
    this.writer.close();
    for (const port of this.#ports.values()) port.close();
  }

  remove(port: StreamPort): void {
    if (this.#ports.delete(port.id) && port.webSocket) this.#webSockets -= 1;
  }

  #frame(frame: Frame): void {
    if (frame.type === "open") return this.#open(frame.stream, frame.head, frame.body, frame.end);
    if (frame.type === "head") throw new ProtocolError("A hub sent an answer.");
    if (frame.stream === 0) {
      if (frame.type === "window") this.sendCredit.grant(frame.bytes);
      // Any of them may have waited for it.
      for (const port of this.#ports.values()) port.wake();
      return;
    }
    if (frame.stream > this.#highest)
      throw new ProtocolError("A frame is on a stream that was never opened.");
    const port = this.#ports.get(frame.stream);
    if (port !== undefined) port.frame(frame);
    else if (frame.type === "data") this.#discard(frame.body.byteLength);
  }

  #open(id: number, head: OpenHead, body: Uint8Array, end: boolean): void {
    if (id <= this.#highest) throw new ProtocolError("A stream's number was used before.");
    this.#highest = id;
    const port = new StreamPort(this, id, head.service, head.webSocket);
    const target = this.#options.isShuttingDown()
      ? null
      : this.#options.resolve(head.service, head.webSocket);
    const refusal = this.#refusal(head, target);
    port.received(body.byteLength, end);
    if (target === null || refusal !== null) {
      port.reset(...(refusal ?? ["unreachable", ""]));
      return;
    }
    this.#ports.set(id, port);
    if (port.webSocket) this.#webSockets += 1;
    try {
      port.attach(this.#serve(port, target, head, body, end));
    } catch (error) {
      // Node refuses characters that can't be in a request line or a header; see ERR_INVALID_CHAR.
      if (!(error instanceof MalformedRequest || error instanceof TypeError)) throw error;
      const reason =
        error instanceof MalformedRequest ? error.message : "The request has invalid characters.";
      port.reset("protocol", reason);
    }
  }

  #refusal(head: OpenHead, target: ResolvedTarget | null): [ResetCode, string] | null {
    if (this.#options.isShuttingDown()) return ["draining", "This runner is about to stop."];
    const isFull = head.webSocket
      ? this.#webSockets >= SOCKETS_LIMIT + CLOSING_SOCKETS
      : this.#ports.size - this.#webSockets >= REQUESTS_LIMIT;
    if (isFull) return ["overflow", "This runner has too many streams open."];
    if (head.method === "CONNECT") return ["protocol", "CONNECT isn't served."];
    if (!REQUEST_PATH.test(head.path)) return ["protocol", "The request's path has invalid characters."];
    return target === null ? ["unreachable", "This service doesn't run here."] : null;
  }

  #serve(
    port: StreamPort,
    target: ResolvedTarget,
    head: OpenHead,
    body: Uint8Array,
    end: boolean,
  ): TunnelStream {
    const { agent, headTimeoutMs } = this.#options;
    if (!head.webSocket) return new HttpStream({ port, target, agent, headTimeoutMs }, head, body, end);
    const options = { port, target, budget: this.#budget, headTimeoutMs };
    return this.#join === null
      ? new WebSocketStream(options, head)
      : new JoinedWebSocketStream({ ...options, join: this.#join }, head);
  }

  /** Was under way when its stream ended. */
  #discard(bytes: number): void {
    this.receiveCredit.receive(bytes);
    const grant = this.receiveCredit.consume(bytes);
    if (grant > 0) this.writer.window(0, grant);
  }
}

/** A body is a view into its whole message; a small one that is kept would keep all of it. */
function owned<T extends { body: Uint8Array }>(frame: T, message: Uint8Array): T {
  return frame.body.byteLength * 2 < message.byteLength ? { ...frame, body: frame.body.slice() } : frame;
}
