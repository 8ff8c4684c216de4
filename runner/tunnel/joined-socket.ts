import type { Socket } from "node:net";
import {
  MESSAGE_COST_BYTES,
  SOCKET_BURST_BYTES,
  SOCKET_BYTES_PER_SECOND,
  VISITOR_MESSAGES_BURST,
  VISITOR_MESSAGES_PER_SECOND,
  WEBSOCKET_MESSAGE_LIMIT_BYTES,
} from "../../functions/protocol/limits.ts";
import { FrameSplice } from "./frame-splice.ts";

/** Source: RFC 6455, 7.4.1, and the registry of close codes. */
const closeCodes = { abnormal: 1_006, internal: 1_011, tryAgainLater: 1_013 } as const;
/** For a peer to take in a close, and to answer it. */
const CLOSE_GRACE_MS = 10_000;
const FROM_VISITOR = { burst: VISITOR_MESSAGES_BURST, perSecond: VISITOR_MESSAGES_PER_SECOND };
const FROM_APP = {
  burst: SOCKET_BURST_BYTES / MESSAGE_COST_BYTES,
  perSecond: SOCKET_BYTES_PER_SECOND / MESSAGE_COST_BYTES,
};

export interface JoinedSocketOptions {
  /** The connection that the hub has joined to the visitor's. */
  visitor: Socket;
  app: Socket;
  /** Whether frames to the visitor need random keys. */
  masks: boolean;
  /** A visitor who takes nothing for so long, while there is something to take, is closed. */
  deafMs: number;
  ended(code: number, reason: string): void;
}

/** A visitor's WebSocket and its app's, joined: frames pass as bytes, and each holds the other back. */
export class JoinedSocket {
  readonly #options: JoinedSocketOptions;
  readonly #toVisitor: FrameSplice;
  readonly #toApp: FrameSplice;
  readonly #watch: NodeJS.Timeout;
  #takenAt = performance.now();
  #grace: NodeJS.Timeout | undefined;
  /** Why this side ended it. */
  #said: { code: number; reason: string } | null = null;
  #open = 2;

  constructor(options: JoinedSocketOptions) {
    this.#options = options;
    const { visitor, app, masks } = options;
    const messageLimitBytes = WEBSOCKET_MESSAGE_LIMIT_BYTES;
    this.#toVisitor = new FrameSplice({
      masks,
      messageLimitBytes,
      pace: FROM_APP,
      vanishedCode: closeCodes.internal,
    });
    this.#toApp = new FrameSplice({
      masks: false,
      messageLimitBytes,
      pace: FROM_VISITOR,
      vanishedCode: null,
    });
    this.#pass(app, this.#toVisitor, visitor);
    this.#pass(visitor, this.#toApp, app);
    visitor.on("drain", () => (this.#takenAt = performance.now()));
    this.#watch = setInterval(() => this.#look(), options.deafMs / 4);
  }

  /** Ends both sides. Who is in the middle of a message only sees the connection end. */
  end(code: number, reason: string): void {
    if (this.#said !== null) return;
    this.#said = { code, reason };
    for (const [splice, socket] of [
      [this.#toVisitor, this.#options.visitor],
      [this.#toApp, this.#options.app],
    ] as const)
      if (!splice.sayClose(code, reason)) this.#drop(splice, socket);
    this.#startGrace();
  }

  destroy(): void {
    this.#options.visitor.destroy();
    this.#options.app.destroy();
  }

  /** Whoever still speaks to it can, or they would never come to their own close. */
  #drop(splice: FrameSplice, to: Socket): void {
    to.destroy();
    splice.unpipe(to);
    splice.resume();
  }

  #pass(from: Socket, splice: FrameSplice, to: Socket): void {
    splice.on("closing", () => this.#startGrace());
    // One that doesn't speak WebSocket, or vanished within a message.
    splice.on("error", () => this.destroy());
    from.pipe(splice).pipe(to);
    from.on("close", () => {
      // Without an end before it, as after a reset.
      if (!splice.writableEnded) splice.end();
      this.#startGrace();
      this.#open -= 1;
      if (this.#open === 0) this.#finish();
    });
  }

  #look(): void {
    const { visitor, deafMs } = this.#options;
    if (!visitor.writableNeedDrain) this.#takenAt = performance.now();
    else if (performance.now() - this.#takenAt >= deafMs) {
      this.end(closeCodes.tryAgainLater, "the visitor takes nothing");
      // It doesn't take that either.
      this.#drop(this.#toVisitor, visitor);
    }
  }

  #startGrace(): void {
    this.#grace ??= setTimeout(() => this.destroy(), CLOSE_GRACE_MS);
  }

  #finish(): void {
    clearInterval(this.#watch);
    clearTimeout(this.#grace);
    const { code, reason } = this.#said ??
      this.#toVisitor.peerClose ??
      this.#toApp.peerClose ?? { code: closeCodes.abnormal, reason: "" };
    this.#options.ended(code, reason);
  }
}
