import {
  FRAME_HEADER_BYTES,
  frameSize,
  joinFrames,
  type EncodedFrame,
} from "../../functions/protocol/frames.ts";
import { BATCH_BYTES, FRAME_BODY_BYTES } from "../../functions/protocol/limits.ts";

/** Something that takes turns with others in writing frames. */
export interface FrameSource {
  /** Its next frame, or null when it has none now; then it calls `wake` when it has. */
  pull(): EncodedFrame | null;
}

/** One message on its way into the kernel while the next is filled; what is more waits where it can still be fair. */
const IN_FLIGHT_LIMIT_BYTES = 2 * BATCH_BYTES;
/** Messages beyond this share spaces, of which there are then at most eight. */
const LARGE_MESSAGE_BYTES = BATCH_BYTES / 4;
/** Resets and windows of all streams together take a tenth of this; a peer that lets more pile up doesn't read. */
const CONTROL_LIMIT_BYTES = 1024 * 1024;
const LARGEST_DATA_FRAME_BYTES = FRAME_HEADER_BYTES + FRAME_BODY_BYTES;

/** Joins the frames of all streams into messages: control frames first, then one frame of each stream in turn. */
export class FrameWriter {
  readonly #send: (message: Uint8Array, written: () => void) => void;
  readonly #overflow: () => void;
  #control: EncodedFrame[] = [];
  #controlBytes = 0;
  /** In the order of their turns. */
  readonly #ready = new Set<FrameSource>();
  #inFlightBytes = 0;
  /** Where large messages were joined that have been written since. */
  readonly #spaces: Uint8Array[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(send: (message: Uint8Array, written: () => void) => void, overflow: () => void) {
    this.#send = send;
    this.#overflow = overflow;
  }

  /** Sends a frame before all bodies. */
  control(frame: EncodedFrame): void {
    if (this.#closed) return;
    this.#control.push(frame);
    this.#controlBytes += frameSize(frame);
    if (this.#controlBytes > CONTROL_LIMIT_BYTES) this.#overflow();
    this.#schedule();
  }

  wake(source: FrameSource): void {
    if (this.#closed) return;
    this.#ready.add(source);
    this.#schedule();
  }

  forget(source: FrameSource): void {
    this.#ready.delete(source);
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#scheduled);
    this.#control = [];
    this.#ready.clear();
  }

  /** A turn of the event loop later, whatever else arrived in this one goes into the same message. */
  #schedule(): void {
    if (this.#inFlightBytes >= IN_FLIGHT_LIMIT_BYTES) return;
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    while (!this.#closed && this.#inFlightBytes < IN_FLIGHT_LIMIT_BYTES) {
      const frames = this.#batch();
      if (frames.length === 0) return;
      const isLarge = frames.reduce((sum, frame) => sum + frameSize(frame), 0) > LARGE_MESSAGE_BYTES;
      const space = isLarge ? (this.#spaces.pop() ?? new Uint8Array(BATCH_BYTES)) : undefined;
      const message = joinFrames(frames, space);
      this.#inFlightBytes += message.byteLength;
      this.#send(message, () => {
        this.#inFlightBytes -= message.byteLength;
        if (space !== undefined) this.#spaces.push(space);
        if (!this.#closed && (this.#control.length > 0 || this.#ready.size > 0)) this.#schedule();
      });
    }
  }

  #batch(): EncodedFrame[] {
    const frames = this.#control;
    let bytes = this.#controlBytes;
    this.#control = [];
    this.#controlBytes = 0;
    while (bytes + LARGEST_DATA_FRAME_BYTES <= BATCH_BYTES || frames.length === 0) {
      const [source] = this.#ready;
      if (source === undefined) break;
      this.#ready.delete(source);
      const frame = source.pull();
      if (frame === null) continue;
      frames.push(frame);
      bytes += frameSize(frame);
      this.#ready.add(source);
    }
    return frames;
  }
}
