import type { ClientRequest, IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import type { Frame, OpenHead } from "../../functions/protocol/frames.ts";
import { FRAME_BODY_BYTES, WEBSOCKET_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { messageBytes, openWebSocket } from "../web-socket.ts";
import { Answer } from "./answer.ts";
import { answerHead, upgradeHeaders } from "./headers.ts";
import type { Debtor, MessageBudget } from "./message-budget.ts";
import { messageCost, MessagePace } from "./message-flow.ts";
import { dial, type ResolvedTarget } from "./services.ts";
import type { StreamPort, TunnelStream } from "./stream-port.ts";

/** Messages that wait for their turn. The local server is held back beyond this. */
const WAITING_LIMIT_BYTES = 1024 * 1024;

/** Source: RFC 6455, 7.4.1, and the registry of close codes. */
const closeCodes = { none: 1_005, abnormal: 1_006, tooBig: 1_009, tryAgainLater: 1_013 } as const;
const EMPTY = new Uint8Array(0);

export interface WebSocketStreamOptions {
  port: StreamPort;
  target: ResolvedTarget;
  /** Messages on their way to local servers, of all streams together. */
  budget: MessageBudget;
  headTimeoutMs: number;
}

interface Outgoing {
  type: "text" | "binary";
  bytes: Buffer;
}

/** One proxied WebSocket. */
export class WebSocketStream implements TunnelStream, Debtor {
  readonly app: string;
  readonly #port: StreamPort;
  readonly #target: ResolvedTarget;
  readonly #head: OpenHead;
  readonly #budget: MessageBudget;
  readonly #pace = new MessagePace();
  readonly #socket: WebSocket;
  readonly #headTimeout: NodeJS.Timeout;
  /** The answer of a service that refused the upgrade. */
  #refusal: Answer | undefined;
  #upgrade: Frame | undefined;
  readonly #outgoing: Outgoing[] = [];
  /** By what they count as. */
  #outgoingBytes = 0;
  /** How much of the first waiting message has been sent. */
  #sentBytes = 0;
  #incoming: { type: "text" | "binary"; parts: Uint8Array[]; bytes: number } | undefined;
  #last: Frame | undefined;
  #released = false;

  constructor({ port, target, budget, headTimeoutMs }: WebSocketStreamOptions, head: OpenHead) {
    this.#port = port;
    this.app = port.app;
    this.#target = target;
    this.#head = head;
    this.#budget = budget;
    const { address } = target;
    this.#socket = openWebSocket({
      url: new URL("port" in address ? `ws://localhost:${address.port}` : "ws://localhost"),
      path: head.path,
      headers: upgradeHeaders(head, target),
      messageLimitBytes: WEBSOCKET_MESSAGE_LIMIT_BYTES,
      dial: () => dial(address),
      agreed: (answer) => this.#agreed(answer),
    });
    this.#headTimeout = setTimeout(
      () => port.reset("timeout", "The service didn't answer in time."),
      headTimeoutMs,
    );
    this.#listen();
  }

  data(body: Uint8Array, end: boolean): void {
    // The end of a request's body that has none.
    if (body.byteLength > 0 || !end) this.#port.reset("protocol", "A body on a WebSocket.");
  }

  message(type: "text" | "binary", body: Uint8Array, end: boolean): void {
    if (this.#socket.readyState !== WebSocket.OPEN) {
      if (this.#socket.readyState === WebSocket.CONNECTING)
        this.#port.reset("protocol", "A message before the service agreed to the WebSocket.");
      return;
    }
    const message = (this.#incoming ??= { type, parts: [], bytes: 0 });
    if (message.type !== type) {
      this.#port.reset("protocol", "A message changed its type.");
      return;
    }
    const bytes = message.bytes + body.byteLength;
    if (bytes > WEBSOCKET_MESSAGE_LIMIT_BYTES) return this.#giveUp(closeCodes.tooBig, "message too big");
    if (!this.#budget.take(this, body.byteLength)) return this.tooSlow();
    message.bytes = bytes;
    message.parts.push(body);
    if (!end) return;
    this.#incoming = undefined;
    const { parts } = message;
    this.#socket.send(Buffer.concat(parts), { binary: type === "binary" }, () => {
      for (const { byteLength } of parts) this.#budget.give(this, byteLength);
    });
  }

  closing(code: number, reason: string): void {
    if (code === closeCodes.none) this.#socket.close();
    else if (canBeSent(code)) this.#socket.close(code, cut(reason));
    else this.#socket.terminate();
  }

  pull(maxBodyBytes: number): Frame | null {
    if (this.#refusal !== undefined) return this.#refusal.pull(this.#port.id, maxBodyBytes);
    if (this.#upgrade !== undefined) {
      const frame = this.#upgrade;
      this.#upgrade = undefined;
      return frame;
    }
    const [message] = this.#outgoing;
    if (message === undefined) return this.#last ?? null;
    const body = message.bytes.subarray(this.#sentBytes, this.#sentBytes + FRAME_BODY_BYTES);
    if (!this.#pace.allows(this.#port) || !this.#port.mayTell(body.byteLength)) return null;
    this.#pace.sent(body.byteLength);
    this.#sentBytes += body.byteLength;
    const end = this.#sentBytes === message.bytes.byteLength;
    if (end) {
      this.#outgoing.shift();
      this.#outgoingBytes -= messageCost(message.bytes.byteLength);
      this.#sentBytes = 0;
    }
    if (this.#socket.isPaused && this.#outgoingBytes < WAITING_LIMIT_BYTES / 2) this.#socket.resume();
    return { type: message.type, stream: this.#port.id, body, end };
  }

  release(): void {
    this.#released = true;
    clearTimeout(this.#headTimeout);
    this.#refusal?.release();
    this.#pace.end();
    this.#budget.release(this);
    this.#incoming = undefined;
    this.#outgoing.length = 0;
    this.#socket.terminate();
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("message", (data, isBinary) => {
      const bytes = messageBytes(data);
      this.#outgoing.push({ type: isBinary ? "binary" : "text", bytes });
      this.#outgoingBytes += messageCost(bytes.byteLength);
      if (this.#outgoingBytes > WAITING_LIMIT_BYTES) socket.pause();
      this.#port.wake();
    });
    socket.on("unexpected-response", (request, answer) => this.#refused(request, answer));
    socket.on("error", (error) => {
      if ("code" in error && error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH")
        this.#finish({ code: closeCodes.tooBig, reason: "message too big" });
    });
    socket.on("close", (code, reason) => this.#finish({ code, reason: reason.toString() }));
  }

  #agreed(answer: IncomingMessage): void {
    clearTimeout(this.#headTimeout);
    const head = answerHead(answer, this.#head, this.#target);
    if (head === null) {
      this.#port.reset("protocol", "The service's answer isn't valid HTTP.");
      return;
    }
    this.#socket.once("open", () => {
      this.#upgrade = { type: "head", stream: this.#port.id, head, body: EMPTY, end: false };
      this.#port.wake();
    });
  }

  #refused(request: ClientRequest, answer: IncomingMessage): void {
    clearTimeout(this.#headTimeout);
    const head = answerHead(answer, this.#head, this.#target);
    if (head === null || head.status === 101) {
      request.destroy();
      this.#port.reset("protocol", "The service's answer isn't valid HTTP.");
      return;
    }
    this.#refusal = new Answer(answer, head, this.#port, (reason) =>
      this.#port.reset("unreachable", `The service broke off its answer: ${reason}`),
    );
  }

  /** The local half is over; what it said before is sent first. */
  #finish({ code, reason }: { code: number; reason: string }): void {
    if (this.#released || this.#refusal !== undefined || this.#last !== undefined) return;
    const stream = this.#port.id;
    this.#last =
      code === closeCodes.abnormal
        ? { type: "reset", stream, code: "unreachable", reason: "The service can't be reached or hung up." }
        : { type: "close", stream, code, reason };
    this.#port.wake();
  }

  /** The service takes nothing of what visitors say. What waits for it is dropped. */
  tooSlow(): void {
    this.#giveUp(closeCodes.tryAgainLater, "too slow");
    this.#socket.terminate();
  }

  #giveUp(code: number, reason: string): void {
    this.#budget.release(this);
    this.#incoming = undefined;
    this.#finish({ code, reason });
    this.#socket.close(code, reason);
  }
}

/** Codes that are only ever reported can't be sent. Source: RFC 6455, 7.4. */
function canBeSent(code: number): boolean {
  const registered = code >= 1_000 && code <= 1_014 && ![1_004, 1_005, 1_006].includes(code);
  return registered || (code >= 3_000 && code <= 4_999);
}

/** A close's reason has at most 123 bytes. */
function cut(reason: string): string {
  return Buffer.from(reason)
    .subarray(0, 123)
    .toString()
    .replace(/\ufffd$/, "");
}
