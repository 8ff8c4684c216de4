import type { IncomingMessage } from "node:http";
import type { AnswerHead, Frame } from "../../functions/protocol/frames.ts";

const EMPTY = new Uint8Array(0);

/**
 * A local server's answer as frames. It is read only when it is the stream's turn, so what waits, waits in the local
 * server and not here.
 */
export class Answer {
  readonly #head: AnswerHead;
  readonly #message: IncomingMessage;
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
    message.on("readable", wake);
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
    const end = this.#message.complete && this.#message.readableLength === 0;
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

  #take(maxBytes: number): Uint8Array {
    const bytes = Math.min(maxBytes, this.#message.readableLength);
    const chunk: unknown = bytes > 0 ? this.#message.read(bytes) : null;
    return chunk instanceof Uint8Array ? chunk : EMPTY;
  }
}
