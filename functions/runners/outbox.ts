import { encodeFrame, frameSize, joinFrames, type EncodedFrame, type Frame } from "../protocol/frames.ts";
import { BATCH_BYTES } from "../protocol/limits.ts";

/** Frames that come up in one turn of the event loop leave as one message, since a message costs more than a frame. */
export class Outbox {
  readonly #send: (message: Uint8Array) => void;
  #frames: EncodedFrame[] = [];
  #bytes = 0;
  #scheduled = false;

  constructor(send: (message: Uint8Array) => void) {
    this.#send = send;
  }

  /** Throws `ProtocolError` for a frame that the wire can't hold. */
  push(frame: Frame): void {
    const encoded = encodeFrame(frame);
    const size = frameSize(encoded);
    if (this.#bytes + size > BATCH_BYTES) this.flush();
    this.#frames.push(encoded);
    this.#bytes += size;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#frames.length === 0) return;
    const message = joinFrames(this.#frames);
    this.#frames = [];
    this.#bytes = 0;
    this.#send(message);
  }
}
