import { Problem } from "../errors.ts";
import type { JoinedStream } from "./joined-stream.ts";

/** Less than the ten idle seconds after which a hub hibernates. */
const AWAKE_MS = 5_000;

/** The WebSockets of a connection that its runner has joined, or is about to. */
export class Joins {
  /** The visitors' ends of those whose app hasn't agreed yet. */
  readonly #waiting = new Map<number, WebSocket>();
  readonly #open = new Set<JoinedStream>();
  #awake: ReturnType<typeof setInterval> | null = null;

  /** Answers the runner's connection for a stream that waits for its app. */
  join(stream: number): Response {
    if (this.#waiting.has(stream)) throw new Problem("not_found", "This stream is joined already.");
    const { 0: visitor, 1: runner } = new WebSocketPair();
    this.#waiting.set(stream, visitor);
    return new Response(null, { status: 101, webSocket: runner });
  }

  /** The visitor's end, if the runner has joined this stream. */
  take(stream: number): WebSocket | null {
    const visitor = this.#waiting.get(stream) ?? null;
    this.#waiting.delete(stream);
    return visitor;
  }

  /** What is joined isn't in any attachment: a hub that hibernated would forget that it is open. */
  add(stream: JoinedStream): void {
    this.#open.add(stream);
    this.#awake ??= setInterval(() => undefined, AWAKE_MS);
  }

  remove(stream: JoinedStream): void {
    this.#open.delete(stream);
    if (this.#open.size === 0) this.end();
  }

  end(): void {
    if (this.#awake !== null) clearInterval(this.#awake);
    this.#awake = null;
  }
}
