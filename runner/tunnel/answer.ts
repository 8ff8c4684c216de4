import type { IncomingMessage } from "node:http";
import type { AnswerHead, Frame } from "../../functions/protocol/frames.ts";

const EMPTY = new Uint8Array(0);
/** As much as Node reads from a connection at a time. */
const WAITING_LIMIT_BYTES = 64 * 1024;

/**
 * A local server's answer as frames. Reading pauses while a frame's worth waits for the stream's turn, so what waits,
 * waits in the local server and not here.
 */
export class Answer {
  readonly #head: AnswerHead;
  readonly #message: IncomingMessage;
  /** Read, and not yet handed out. */
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #headSent = false;
  #ended = false;

  constructor(
    message: IncomingMessage,
    head: AnswerHead,
    wake: () => void,
    broken: (reason: string) => void,
  ) {
    this.#message = message;
    this.#head = head;
    // Not by `read`, which copies whatever spans two chunks.
    message.on("data", (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.byteLength;
      if (this.#waitingBytes >= WAITING_LIMIT_BYTES) message.pause();
      wake();
    });
    message.on("end", wake);
    message.on("error", (error) => broken(error.message));
    message.on("close", () => {
      if (!message.complete) broken("the connection closed");
    });
    wake();
  }

  /** Whether all of it has been handed out. */
  get ended(): boolean {
    return this.#ended;
  }

  pull(stream: number, maxBodyBytes: number): Frame | null {
    if (this.#ended) return null;
    const body = this.#take(maxBodyBytes);
    const end = this.#message.complete && this.#waitingBytes === 0 && this.#message.readableLength === 0;
    if (end) {
      this.#ended = true;
      // Emits "end", which frees the connection for the next request.
      this.#message.read();
    }
    if (!this.#headSent) {
      this.#headSent = true;
      return { type: "head", stream, head: this.#head, body, end };
    }
    return body.byteLength === 0 && !end ? null : { type: "data", stream, body, end };
  }

  /** Large chunks as they are, small ones together. */
  #take(maxBytes: number): Uint8Array {
    const taken: Uint8Array[] = [];
    let bytes = 0;
    for (let [chunk] = this.#waiting; chunk !== undefined; [chunk] = this.#waiting) {
      if (bytes + chunk.byteLength > maxBytes) {
        if (bytes > 0 || maxBytes === 0) break;
        taken.push(chunk.subarray(0, maxBytes));
        bytes = maxBytes;
        this.#waiting[0] = chunk.subarray(maxBytes);
        break;
      }
      taken.push(chunk);
      bytes += chunk.byteLength;
      this.#waiting.shift();
    }
    this.#waitingBytes -= bytes;
    if (this.#waitingBytes < WAITING_LIMIT_BYTES && this.#message.isPaused()) this.#message.resume();
    const [first = EMPTY] = taken;
    return taken.length > 1 ? Buffer.concat(taken, bytes) : first;
  }
}
