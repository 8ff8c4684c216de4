import {
  encodeFrame,
  FRAME_HEADER_BYTES,
  frameSize,
  joinFrames,
  type EncodedFrame,
} from "../../functions/protocol/frames.ts";
import {
  BATCH_BYTES,
  FRAME_BODY_BYTES,
  FRAME_BODY_LIMIT_BYTES,
  FRAME_GROWS_BELOW_MS,
  FRAME_SHRINKS_ABOVE_MS,
} from "../../functions/protocol/limits.ts";

/** Something that takes turns with others in writing frames. */
export interface FrameSource {
  /** Its next frame, with a body of at most so many bytes, or null when it has none now; then it calls `wake` when it has. */
  pull(maxBodyBytes: number): EncodedFrame | null;
}

/** Messages beyond this are joined in spaces that are used again: of one size for batches, of another for large frames. */
const LARGE_MESSAGE_BYTES = BATCH_BYTES / 2;
/** A message with the largest frame, and what control frames it usually has with it. */
const LARGEST_SPACE_BYTES = FRAME_BODY_LIMIT_BYTES + 4 * 1024;
/** Resets and windows of all streams together take a tenth of this; a peer that lets more pile up doesn't read. */
const CONTROL_LIMIT_BYTES = 1024 * 1024;
/** Smaller chunks aren't worth giving back by hand. */
const LARGE_CHUNK_BYTES = 16 * 1024;

/** Joins the frames of all streams into messages: control frames first, then one frame of each stream in turn. */
export class FrameWriter {
  readonly #send: (message: Uint8Array, written: () => void) => void;
  readonly #overflow: () => void;
  readonly #now: () => number;
  #control: EncodedFrame[] = [];
  #controlBytes = 0;
  /** Grants by stream: those of one turn leave as one frame. */
  readonly #windows = new Map<number, number>();
  /** Body of a frame of a stream that is alone: as much as leaves quickly, so that the next one doesn't wait long. */
  #frameBytes = FRAME_BODY_BYTES;
  /** In the order of their turns. */
  readonly #ready = new Set<FrameSource>();
  #inFlightBytes = 0;
  /** Where large messages were joined that have been written since. */
  readonly #spaces: Uint8Array[] = [];
  readonly #largestSpaces: Uint8Array[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(
    send: (message: Uint8Array, written: () => void) => void,
    overflow: () => void,
    now: () => number = () => performance.now(),
  ) {
    this.#send = send;
    this.#overflow = overflow;
    this.#now = now;
  }

  /** What a stream that is alone may put into one frame at present. */
  get frameBytes(): number {
    return this.#frameBytes;
  }

  /** Sends a frame before all bodies. */
  control(frame: EncodedFrame): void {
    if (this.#closed) return;
    this.#control.push(frame);
    this.#controlBytes += frameSize(frame);
    if (this.#controlBytes > CONTROL_LIMIT_BYTES) this.#overflow();
    this.#schedule();
  }

  /** Lets the peer send more: on a stream, or with 0 on the connection. */
  window(stream: number, bytes: number): void {
    if (this.#closed) return;
    this.#windows.set(stream, (this.#windows.get(stream) ?? 0) + bytes);
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
    this.#windows.clear();
    this.#ready.clear();
  }

  /** A turn of the event loop later, whatever else arrived in this one goes into the same message. */
  #schedule(): void {
    if (this.#isFull) return;
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#flush();
    });
  }

  /** One message is on its way into the kernel while the next is filled; what is more waits where it can still be fair. */
  get #isFull(): boolean {
    return this.#inFlightBytes >= 2 * Math.max(BATCH_BYTES, this.#frameBytes);
  }

  #flush(): void {
    while (!this.#closed && !this.#isFull) {
      const frames = this.#batch();
      if (frames.length === 0) return;
      const bytes = frames.reduce((sum, frame) => sum + frameSize(frame), 0);
      const spaces = bytes > BATCH_BYTES ? this.#largestSpaces : this.#spaces;
      const space = bytes > LARGE_MESSAGE_BYTES ? (spaces.pop() ?? spaceFor(bytes)) : undefined;
      const message = joinFrames(frames, space);
      for (const frame of frames) giveBack(frame);
      this.#inFlightBytes += bytes;
      const sentAt = this.#now();
      this.#send(message, () => {
        this.#inFlightBytes -= bytes;
        if (space !== undefined) spaces.push(space);
        this.#adapt(bytes, this.#now() - sentAt);
        if (!this.#closed && this.#hasMore) this.#schedule();
      });
    }
  }

  get #hasMore(): boolean {
    return this.#control.length > 0 || this.#windows.size > 0 || this.#ready.size > 0;
  }

  #batch(): EncodedFrame[] {
    const frames = this.#control;
    let bytes = this.#controlBytes;
    for (const [stream, granted] of this.#windows) {
      const frame = encodeFrame({ type: "window", stream, bytes: granted });
      frames.push(frame);
      bytes += frameSize(frame);
    }
    this.#windows.clear();
    this.#control = [];
    this.#controlBytes = 0;
    let bodies = 0;
    for (;;) {
      const [source] = this.#ready;
      if (source === undefined) break;
      const maxBodyBytes = this.#ready.size === 1 ? this.#frameBytes : FRAME_BODY_BYTES;
      if (bodies > 0 && bytes + FRAME_HEADER_BYTES + maxBodyBytes > BATCH_BYTES) break;
      this.#ready.delete(source);
      const frame = source.pull(maxBodyBytes);
      if (frame === null) continue;
      frames.push(frame);
      bodies += 1;
      bytes += frameSize(frame);
      this.#ready.add(source);
    }
    return frames;
  }

  #adapt(bytes: number, ms: number): void {
    if (ms > FRAME_SHRINKS_ABOVE_MS) this.#frameBytes = Math.max(FRAME_BODY_BYTES, this.#frameBytes / 2);
    else if (ms < FRAME_GROWS_BELOW_MS && bytes >= this.#frameBytes)
      this.#frameBytes = Math.min(FRAME_BODY_LIMIT_BYTES, this.#frameBytes * 2);
  }
}

function spaceFor(bytes: number): Uint8Array {
  return new Uint8Array(bytes > BATCH_BYTES ? LARGEST_SPACE_BYTES : BATCH_BYTES);
}

/** Chunks that have been copied are freed now and not when the collector comes to it. Views of something larger stay. */
function giveBack({ body, rest = [] }: EncodedFrame): void {
  for (const { buffer, byteLength } of [body, ...rest])
    if (byteLength >= LARGE_CHUNK_BYTES && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer)
      buffer.transfer(0);
}
