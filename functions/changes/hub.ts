import { DurableObject } from "cloudflare:workers";

/** Proxies close what is silent for longer, and a reader that has left is noticed by a write that fails. */
const KEEP_ALIVE_MS = 15_000;

/**
 * Tells whoever looks at the dashboard what has changed; one object for an installation. It keeps nothing: without a
 * reader a topic is told in vain and no timer runs, and a reader that comes back loads everything anew.
 */
export class ChangeHub extends DurableObject {
  readonly #readers = new Set<Reader>();

  /** `app:shop`, `runner:ID`, `project:SLUG`, `janitor`. */
  async tell(topic: string): Promise<void> {
    for (const reader of this.#readers) reader.tell(topic);
  }

  override async fetch(): Promise<Response> {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const reader = new Reader(writable.getWriter());
    this.#readers.add(reader);
    void reader.pump().finally(() => this.#readers.delete(reader));
    return new Response(readable, {
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
    });
  }
}

/** For a reader that is slower than the changes, many changes of one topic are one. */
class Reader {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #topics = new Set<string>();
  #wake: () => void = () => undefined;

  constructor(writer: WritableStreamDefaultWriter<Uint8Array>) {
    this.#writer = writer;
  }

  tell(topic: string): void {
    this.#topics.add(topic);
    this.#wake();
  }

  /** Ends when the reader has left. */
  async pump(): Promise<void> {
    const encoder = new TextEncoder();
    let text = "retry: 1000\n\n";
    try {
      for (;;) {
        await this.#writer.write(encoder.encode(text));
        if (this.#topics.size === 0) await this.#news();
        const changed = [...this.#topics].map(
          (topic) => `event: changed\ndata: ${JSON.stringify({ topic })}\n\n`,
        );
        text = changed.length === 0 ? ": still here\n\n" : changed.join("");
        this.#topics.clear();
      }
    } catch {
      // The reader has left: there is nobody to tell.
    }
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, KEEP_ALIVE_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
