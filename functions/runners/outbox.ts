import { encodeFrame, frameSize, joinFrames, type EncodedFrame, type Frame } from "../protocol/frames.ts";
import { BATCH_BYTES } from "../protocol/limits.ts";

/** Open frames that wait for each other leave when there are so many. */
const OPENS_TOGETHER = 8;
/** They wait only where messages follow each other so closely: anywhere else it would cost latency and save nothing. */
const CLOSE_MS = 1;

/** Frames that come up in one turn of the event loop leave as one message, since a message costs more than a frame. */
export class Outbox {
  readonly #send: (message: Uint8Array) => void;
  readonly #now: () => number;
  #frames: EncodedFrame[] = [];
  #bytes = 0;
  #scheduled = false;
  #opens = 0;
  #opensTimer: ReturnType<typeof setTimeout> | null = null;
  #sentAt = -Infinity;

  constructor(send: (message: Uint8Array) => void, now: () => number = Date.now) {
    this.#send = send;
    this.#now = now;
  }

  /** Throws `ProtocolError` for a frame that the wire can't hold. */
  push(frame: Frame): void {
    this.#add(encodeFrame(frame));
    this.#schedule();
  }

  /**
   * An open frame, which may wait for others while there are `others` open: a message costs as much as ten frames. No
   * other frame may: a late window slows a stream down.
   */
  pushOpen(frame: EncodedFrame, others: boolean): void {
    this.#add(frame);
    if (this.#scheduled) return;
    if (!others || this.#now() - this.#sentAt > CLOSE_MS) return this.#schedule();
    this.#opens += 1;
    if (this.#opens >= OPENS_TOGETHER) this.flush();
    else this.#opensTimer ??= setTimeout(() => this.flush(), 0);
  }

  flush(): void {
    if (this.#opensTimer !== null) clearTimeout(this.#opensTimer);
    this.#opensTimer = null;
    this.#opens = 0;
    if (this.#frames.length === 0) return;
    const message = joinFrames(this.#frames);
    this.#frames = [];
    this.#bytes = 0;
    this.#sentAt = this.#now();
    this.#send(message);
  }

  #add(frame: EncodedFrame): void {
    const size = frameSize(frame);
    if (this.#bytes + size > BATCH_BYTES) this.flush();
    this.#frames.push(frame);
    this.#bytes += size;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
