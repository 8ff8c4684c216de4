import type { AnswerHead, Frame, OpenHead } from "../../functions/protocol/frames.ts";
import { JOIN_NAME } from "../../functions/protocol/joining.ts";
import type { JoinOffer } from "../connection/connection.ts";
import { needsNoMask } from "../web-socket.ts";
import { Answer } from "./answer.ts";
import { answerHead, MalformedRequest, upgradeHeaders } from "./headers.ts";
import { JoinedSocket } from "./joined-socket.ts";
import { dialWebSocket, type Dialling, type RawWebSocket } from "./raw-web-socket.ts";
import { dial } from "./services.ts";
import type { TunnelStream } from "./stream-port.ts";
import { WebSocketStream, type WebSocketStreamOptions } from "./web-socket-stream.ts";

export interface JoinedWebSocketStreamOptions extends WebSocketStreamOptions {
  join: JoinOffer;
}

const ABNORMAL = 1_006;
const RESTARTED = 1_012;
/** A hub on the other side of the world answers in a second. */
const JOIN_TIMEOUT_MS = 10_000;
const EMPTY = new Uint8Array(0);

/** One proxied WebSocket with a connection of its own. If that can't be had, its messages are frames of the stream. */
export class JoinedWebSocketStream implements TunnelStream {
  readonly #options: JoinedWebSocketStreamOptions;
  readonly #head: OpenHead;
  readonly #dialled: Dialling[] = [];
  #headTimeout: NodeJS.Timeout | undefined;
  #framed: WebSocketStream | undefined;
  #refusal: Answer | undefined;
  #joined: JoinedSocket | undefined;
  #upgrade: AnswerHead | undefined;
  #last: Frame | undefined;
  #isReleased = false;

  constructor(options: JoinedWebSocketStreamOptions, head: OpenHead) {
    this.#options = options;
    this.#head = head;
    void this.#open();
  }

  data(body: Uint8Array, end: boolean): void {
    if (body.byteLength > 0 || !end) this.#options.port.reset("protocol", "A body on a WebSocket.");
  }

  message(type: "text" | "binary", body: Uint8Array, end: boolean): void {
    if (this.#framed !== undefined) this.#framed.message(type, body, end);
    else this.#options.port.reset("protocol", "A message on a WebSocket that is joined or isn't open.");
  }

  closing(code: number, reason: string): void {
    if (this.#framed !== undefined) this.#framed.closing(code, reason);
    else if (this.#joined !== undefined) this.#joined.end(code, reason);
    else this.#options.port.reset("cancelled", "It was closed before it was open.");
  }

  leaving(code: number, reason: string): void {
    this.#joined?.end(code, reason);
  }

  pull(maxBodyBytes: number): Frame | null {
    if (this.#framed !== undefined) return this.#framed.pull(maxBodyBytes);
    const { id } = this.#options.port;
    if (this.#refusal !== undefined) return this.#refusal.pull(id, maxBodyBytes);
    if (this.#upgrade === undefined) return this.#last ?? null;
    const head = this.#upgrade;
    this.#upgrade = undefined;
    return { type: "head", stream: id, head, body: EMPTY, end: false };
  }

  release(): void {
    this.#isReleased = true;
    clearTimeout(this.#headTimeout);
    this.#framed?.release();
    this.#refusal?.release();
    if (this.#joined !== undefined) this.#joined.end(RESTARTED, "the runner's connection ended");
    else for (const one of this.#dialled) one.destroy();
  }

  async #open(): Promise<void> {
    const { port, target, headTimeoutMs } = this.#options;
    const visitor = await this.#joinHub();
    if (this.#isReleased) return;
    try {
      if (visitor === null) {
        this.#framed = new WebSocketStream(this.#options, this.#head);
        return;
      }
      const { address } = target;
      const dialling = dialWebSocket({
        url: new URL("port" in address ? `ws://localhost:${address.port}` : "ws://localhost"),
        path: this.#head.path,
        headers: upgradeHeaders(this.#head, target),
        dial: () => dial(address),
      });
      this.#dialled.push(dialling);
      this.#headTimeout = setTimeout(
        () => port.reset("timeout", "The service didn't answer in time."),
        headTimeoutMs,
      );
      await this.#agree(visitor, dialling);
    } catch (error) {
      if (!(error instanceof MalformedRequest || error instanceof TypeError)) throw error;
      port.reset("protocol", "The request has invalid characters.");
    }
  }

  /** Null: this hub can't, or not now. */
  async #joinHub(): Promise<(RawWebSocket & { kind: "open" }) | null> {
    const { join, port } = this.#options;
    const url = new URL(JOIN_NAME, join.url);
    url.searchParams.set("runnerId", join.runnerId);
    url.searchParams.set("stream", String(port.id));
    const dialling = dialWebSocket({ url, headers: [["authorization", `Bearer ${join.secret}`]] });
    this.#dialled.push(dialling);
    const timeout = setTimeout(() => dialling.destroy(), JOIN_TIMEOUT_MS);
    try {
      const answered = await dialling.answered;
      if (answered.kind === "open") return answered;
      dialling.destroy();
      return null;
    } catch {
      return null; // as without an offer
    } finally {
      clearTimeout(timeout);
    }
  }

  async #agree({ socket: visitor }: RawWebSocket & { kind: "open" }, dialling: Dialling): Promise<void> {
    const { port, target, join } = this.#options;
    let app: RawWebSocket;
    try {
      app = await dialling.answered;
    } catch {
      return this.#finish(ABNORMAL, "");
    } finally {
      clearTimeout(this.#headTimeout);
    }
    if (this.#isReleased) return;
    const head = answerHead(app.answer, this.#head, target);
    if (head === null || (app.kind === "refused" && head.status === 101))
      return port.reset("protocol", "The service's answer isn't valid HTTP.");
    if (app.kind === "refused") {
      visitor.destroy();
      this.#refusal = new Answer(app.answer, head, port, (reason) =>
        port.reset("unreachable", `The service broke off its answer: ${reason}`),
      );
      return;
    }
    this.#joined = new JoinedSocket({
      visitor,
      app: app.socket,
      masks: !needsNoMask(join.url),
      deafMs: join.deafVisitorMs,
      ended: (code, reason) => this.#finish(code, reason),
    });
    this.#upgrade = head;
    port.wake();
  }

  #finish(code: number, reason: string): void {
    if (this.#isReleased) return;
    const stream = this.#options.port.id;
    this.#last =
      code === ABNORMAL
        ? { type: "reset", stream, code: "unreachable", reason: "The service can't be reached or hung up." }
        : { type: "close", stream, code, reason };
    this.#options.port.wake();
  }
}
