import { problemResponse, type Problem } from "../errors.ts";
import { SendCredit, StreamWindow, type AppFlow, type Owing } from "../protocol/flow.ts";
import type { AnswerHead, ResetCode } from "../protocol/frames.ts";
import {
  FRAME_BODY_BYTES,
  IDLE_STREAM_MS,
  STREAM_HEAD_TIMEOUT_MS,
  STREAM_WINDOW_BYTES,
  STUCK_BODY_MS,
} from "../protocol/limits.ts";
import { answerInit, bodyLength, hasNoBody } from "./answer.ts";
import type { Reader, StreamLink, WaitsForHead } from "./stream-link.ts";
import type { Holder } from "./shares.ts";
import { askedThrough, placeGiven, resetProblem } from "./stream-problems.ts";
import { isOfPage, type TunnelCall } from "./tunnel-call.ts";

const EMPTY = new Uint8Array(0);
/** Of a body that has yet to show that it moves: thousands that don't would fill the memory with room for their bytes. */
const FIRST_READ_BYTES = 4 * 1024;

/**
 * One proxied request. Both bodies are pipes with credit, so at most a window waits for the other side. An answer that
 * can't be finished breaks off; it never looks complete.
 */
export class HttpStream implements Reader, WaitsForHead, Holder, Owing {
  readonly number: number;
  readonly service: string;
  readonly app: string;
  readonly visitor: string | null;
  readonly webSocket: boolean;
  /** Resolves in any case: to the runner's answer, or to a problem. */
  readonly answered: Promise<Response>;
  readonly #request: Request;
  readonly #call: TunnelCall;
  readonly #link: StreamLink;
  readonly #settle: (response: Response) => void;
  readonly #flow: AppFlow;
  readonly #sendCredit: SendCredit;
  readonly #receiveWindow: StreamWindow;
  #writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #reader: ReadableStreamBYOBReader | null = null;
  #headReceived = false;
  #answerEnded = false;
  #uploadEnded = false;
  #over = false;
  readonly #openedAt = Date.now();
  #progressAt = this.#openedAt;
  /** When the runner last took bytes of the request. */
  #grantedAt = 0;
  /** Bytes that the client has yet to take, and when it last took some. */
  #untakenBytes = 0;
  #takenAt = 0;
  #listens = false;

  constructor(
    request: Request,
    link: StreamLink,
    given: { number: number; call: TunnelCall; app: string; visitor: string | null },
  ) {
    this.number = given.number;
    this.service = given.call.service;
    this.webSocket = given.call.webSocket;
    this.app = given.app;
    this.visitor = given.visitor;
    this.#call = given.call;
    this.#request = request;
    this.#link = link;
    this.#flow = link.apps.of(given.app);
    this.#sendCredit = new SendCredit(STREAM_WINDOW_BYTES, this.#flow);
    this.#receiveWindow = new StreamWindow(link.windows);
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.answered = promise;
    this.#settle = resolve;
    link.waits(this, true);
    if (request.body === null) this.#uploadEnded = true;
    else void this.#upload(request.body);
  }

  get isOfPage(): boolean {
    return isOfPage(this.#call);
  }

  head(head: AnswerHead, body: Uint8Array, end: boolean): void {
    if (this.#headReceived) return this.#breakOff("protocol", "a second head");
    this.#headReceived = true;
    this.#progressAt = Date.now();
    this.#link.windows.delay(this.#progressAt - this.#openedAt);
    this.#link.waits(this, false);
    this.#receiveWindow.receive(body.byteLength);
    try {
      this.#answer(head, body, end);
    } catch {
      // What the platform can't send: a status below 200, a name or text that HTTP doesn't know.
      this.#link.consumed(body.byteLength);
      this.#breakOff("protocol", "an answer that can't be sent");
    }
  }

  data(body: Uint8Array, end: boolean): void {
    if (!this.#headReceived || this.#answerEnded) {
      this.#link.consumed(body.byteLength);
      return this.#breakOff("protocol", "data out of place");
    }
    this.#receiveWindow.receive(body.byteLength);
    void this.#write(body);
    if (end) this.#endAnswer();
  }

  window(bytes: number): void {
    this.#grantedAt = Date.now();
    this.#sendCredit.grant(bytes);
    this.#link.turns.look();
  }

  /** Text, binary or close on a stream that is no WebSocket. */
  misplaced(): void {
    this.#breakOff("protocol", "a message on a stream that isn't a WebSocket");
  }

  reset(code: ResetCode): void {
    this.#end(resetProblem(code));
  }

  /** Gives up a client that takes nothing while others wait for the room. */
  giveUpStalled(sinceMs: number): void {
    if (this.#untakenBytes === 0 || this.#takenAt > sinceMs) return;
    this.#breakOff("overflow", "the client takes nothing");
    // The runner may be done: what the client hasn't read still takes up room.
    this.#writer?.abort(new Error("The client takes nothing.")).catch(() => undefined);
  }

  /** Gives up an upload that its app takes nothing of while others wait for the room. Returns what it held. */
  giveUpStuck(sinceMs: number): number {
    const held = this.#sendCredit.bytesUnderWay;
    if (this.#over || held === 0 || Math.max(this.#progressAt, this.#grantedAt) > sinceMs) return 0;
    this.giveWay();
    return held;
  }

  get movedAt(): number {
    return Math.max(this.#progressAt, this.#takenAt);
  }

  get idleAfterMs(): number {
    return this.#uploadEnded && this.#untakenBytes === 0 ? IDLE_STREAM_MS : STUCK_BODY_MS;
  }

  giveWay(): void {
    const reason = "others wait for its place";
    this.#link.send({ type: "reset", stream: this.number, code: "overflow", reason });
    this.#end(placeGiven(this.app));
  }

  /** The connection has ended. */
  fail(problem: Problem): void {
    this.#end(problem);
  }

  #answer(head: AnswerHead, body: Uint8Array, end: boolean): void {
    if (head.status === 101 && this.#call.webSocket) {
      const response = this.#link.upgrade(this.number, head);
      // From here on the stream is the public WebSocket's.
      this.#over = true;
      this.#settle(response);
      return;
    }
    const init = answerInit(head);
    if (hasNoBody(this.#request.method, head.status)) {
      this.#settle(new Response(null, init));
    } else {
      const length = bodyLength(head.headers);
      if (end && (length === null || length === body.byteLength)) {
        this.#settle(new Response(body, init));
        this.#link.consumed(body.byteLength);
        this.#finishAnswer();
        return;
      }
      this.#listen();
      const pipe = length === null ? new IdentityTransformStream() : new FixedLengthStream(length);
      this.#writer = pipe.writable.getWriter();
      this.#writer.closed.catch(() => this.#breakOff("cancelled", "the client has left"));
      this.#settle(new Response(pipe.readable, init));
    }
    void this.#write(body);
    if (end) this.#endAnswer();
  }

  /** Gives room back once a client has taken the bytes away. */
  async #write(body: Uint8Array): Promise<void> {
    const bytes = body.byteLength;
    if (bytes === 0) return;
    if (this.#untakenBytes === 0) {
      this.#takenAt = Date.now();
      this.#link.untaken(this, true);
    }
    this.#untakenBytes += bytes;
    try {
      await this.#writer?.write(body);
    } catch {
      this.#breakOff("cancelled", "the client has left");
    } finally {
      this.#untakenBytes -= bytes;
      this.#takenAt = Date.now();
      if (this.#untakenBytes === 0) this.#link.untaken(this, false);
      this.#link.consumed(bytes);
    }
    const grant = this.#receiveWindow.consume(bytes);
    if (this.#over || this.#answerEnded) return;
    if (grant === 0) return this.#flow.owe(this, bytes);
    this.#flow.settle(this);
    this.#link.send({ type: "window", stream: this.number, bytes: grant });
  }

  tell(): void {
    const grant = this.#receiveWindow.flush();
    if (grant > 0) this.#link.send({ type: "window", stream: this.number, bytes: grant });
  }

  #endAnswer(): void {
    // Too short a body for its content-length rejects here, and its client sees it broken off.
    this.#writer?.close().catch(() => undefined);
    this.#finishAnswer();
  }

  #finishAnswer(): void {
    this.#answerEnded = true;
    this.#flow.settle(this);
    if (this.#uploadEnded) this.#finish();
    // The answer is complete: the rest of the request's body is useless.
    else this.#breakOff("cancelled", "answered before the body had ended");
  }

  async #upload(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.getReader({ mode: "byob" });
    this.#reader = reader;
    let roomBytes = FIRST_READ_BYTES;
    try {
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(roomBytes));
        if (this.#over) return;
        if (done) break;
        roomBytes = value.byteLength < FIRST_READ_BYTES ? FIRST_READ_BYTES : FRAME_BODY_BYTES;
        for (let rest: Uint8Array = value; rest.byteLength > 0;) {
          const granted = await this.#link.turns.take(this.#sendCredit, rest.byteLength);
          if (this.#over) {
            // Nothing was sent for it: the next one may have it.
            if (granted > 0) this.#link.turns.grant(granted);
            return;
          }
          // The connection has ended, and ends every stream.
          if (granted === 0) return;
          this.#progressAt = Date.now();
          const part = rest.subarray(0, granted);
          this.#link.send({ type: "data", stream: this.number, body: part, end: false });
          rest = rest.subarray(granted);
        }
      }
    } catch {
      return this.#breakOff("cancelled", "the client broke its body off");
    }
    this.#progressAt = Date.now();
    this.#uploadEnded = true;
    this.#link.send({ type: "data", stream: this.number, body: EMPTY, end: true });
    if (this.#answerEnded) this.#finish();
  }

  /** Counted from the last byte of the request's body, since a large one may take longer than any answer. */
  stillWaits(now: number): void {
    this.#listen();
    if (now - this.#progressAt >= STREAM_HEAD_TIMEOUT_MS) this.#breakOff("timeout", "no answer in time");
  }

  /** For the client's leaving. */
  #listen(): void {
    if (this.#listens || this.#over) return;
    this.#listens = true;
    const { signal } = this.#request;
    const left = (): void => this.#breakOff("cancelled", "the client has left");
    if (signal.aborted) left();
    else signal.addEventListener("abort", left);
  }

  /** Ends the stream from this side. */
  #breakOff(code: ResetCode, reason: string): void {
    if (this.#over) return;
    this.#link.send({ type: "reset", stream: this.number, code, reason });
    this.#end(resetProblem(code));
  }

  #end(problem: Problem): void {
    if (this.#over) return;
    if (!this.#answerEnded) this.#writer?.abort(new Error(problem.message)).catch(() => undefined);
    // Means nothing to a client that has had an answer's head.
    this.#settle(problemResponse(problem, askedThrough(this.#request, this.#call)));
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#link.waits(this, false);
    this.#receiveWindow.end();
    this.#flow.settle(this);
    this.#sendCredit.end();
    this.#link.turns.leave(this.#sendCredit);
    if (!this.#uploadEnded) this.#reader?.cancel().catch(() => undefined); // its client has broken it off
    this.#link.ended(this.number);
  }
}
