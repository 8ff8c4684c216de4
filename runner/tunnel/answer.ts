import type { IncomingMessage } from "node:http";
import type { AnswerHead, Frame } from "../../functions/protocol/frames.ts";
import type { StreamPort } from "./stream-port.ts";

const EMPTY = new Uint8Array(0);
/** As much as Node reads from a connection at a time. */
const CHUNK_BYTES = 64 * 1024;

/** What an answer needs of its stream. */
type Port = Pick<StreamPort, "wake" | "frameBytes" | "readAhead">;

/**
 * A local server's answer as frames. Reading pauses while a frame's worth waits for the stream's turn, so what waits,
 * waits in the local server and not here. Beyond one chunk that needs room in a budget that all answers share.
 */
export class Answer {
  readonly #head: AnswerHead;
  readonly #message: IncomingMessage;
  /** Read, and not yet handed out. */
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #reservedBytes = 0;
  readonly #port: Port;
  #headSent = false;
  #ended = false;

  constructor(message: IncomingMessage, head: AnswerHead, port: Port, broken: (reason: string) => void) {
    this.#message = message;
    this.#port = port;
    this.#head = head;
    // Not by `read`, which copies whatever spans two chunks.
    message.on("data", (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.byteLength;
      if (!this.#mayReadOn()) message.pause();
      port.wake();
    });
    message.on("end", () => port.wake());
    message.on("error", (error) => broken(error.message));
    message.on("close", () => {
      if (!message.complete) broken("the connection closed");
    });
    port.wake();
  }

  /** Whether all of it has been handed out. */
  get ended(): boolean {
    return this.#ended;
  }

  pull(stream: number, maxBodyBytes: number): Frame | null {
    if (this.#ended) return null;
    const [body = EMPTY, ...rest] = this.#take(maxBodyBytes);
    const end = this.#message.complete && this.#waitingBytes === 0 && this.#message.readableLength === 0;
    if (end) {
      this.#ended = true;
      // Emits "end", which frees the connection for the next request.
      this.#message.read();
    }
    if (!this.#headSent) {
      this.#headSent = true;
      return { type: "head", stream, head: this.#head, body, rest, end };
    }
    return body.byteLength === 0 && !end ? null : { type: "data", stream, body, rest, end };
  }

  /** Nobody will pull any more. */
  release(): void {
    this.#reserve(0);
  }

  #take(maxBytes: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    let left = maxBytes;
    while (left > 0) {
      const [chunk] = this.#waiting;
      if (chunk === undefined) break;
      if (chunk.byteLength > left) {
        // The rest of a large chunk is the next frame, so that its parts aren't scattered.
        if (taken.length > 0) break;
        taken.push(chunk.subarray(0, left));
        this.#waiting[0] = chunk.subarray(left);
        left = 0;
      } else {
        taken.push(chunk);
        left -= chunk.byteLength;
        this.#waiting.shift();
      }
    }
    this.#waitingBytes -= maxBytes - left;
    const mayReadOn = this.#mayReadOn();
    if (mayReadOn && this.#message.isPaused()) this.#message.resume();
    return taken;
  }

  #mayReadOn(): boolean {
    if (this.#waitingBytes >= this.#port.frameBytes) return false;
    // The next chunk comes on top of what waits, and one needs no room.
    return this.#reserve(this.#waitingBytes);
  }

  /** Changes what this answer holds of the shared budget; false when there isn't enough. */
  #reserve(bytes: number): boolean {
    const whole = Math.ceil(bytes / CHUNK_BYTES) * CHUNK_BYTES;
    const more = whole - this.#reservedBytes;
    if (more > 0 && !this.#port.readAhead.take(more)) return false;
    if (more < 0) this.#port.readAhead.give(-more);
    this.#reservedBytes = whole;
    return true;
  }
}
