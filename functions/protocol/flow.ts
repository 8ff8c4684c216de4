import { ProtocolError } from "./frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  DELAY_MEMORY_MS,
  FRAME_BODY_BYTES,
  GRANT_STEP_BYTES,
  OWED_LIMIT_BYTES,
  STREAM_WINDOW_BYTES,
  WINDOW_GROWS_ABOVE_MS,
  WINDOW_GROWTH_BYTES,
} from "./limits.ts";

/**
 * Credit arithmetic, without any I/O. A sender may have as many bytes under way as its receiver has said there is room
 * for; a receiver gives room back as its consumer takes bytes away.
 */
export class SendCredit {
  readonly #app: AppFlow | null;
  readonly #initialBytes: number;
  #bytes: number;
  #mostBytes: number;
  #ended = false;

  /** With an app, what is under way counts as the app's. */
  constructor(initialBytes: number, app: AppFlow | null = null) {
    this.#app = app;
    this.#initialBytes = initialBytes;
    this.#bytes = initialBytes;
    this.#mostBytes = initialBytes;
  }

  /** Of all streams of its app. */
  get appBytesUnderWay(): number {
    return this.#app?.bytesUnderWay ?? 0;
  }

  /** At least so many: a receiver doesn't say how large its window is, but it was once as large as all that it granted. */
  get bytesUnderWay(): number {
    return this.#mostBytes - this.#bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes up to `wanted` bytes; returns how many were granted. */
  take(wanted: number): number {
    const granted = Math.min(wanted, this.#bytes);
    this.#bytes -= granted;
    if (this.#app !== null) this.#app.bytesUnderWay += granted;
    return granted;
  }

  /** The stream has ended: its receiver gives back to the connection what it had. */
  end(): void {
    if (this.#app !== null && !this.#ended) this.#app.bytesUnderWay -= this.#initialBytes - this.#bytes;
    this.#ended = true;
  }

  /** The receiver has room for more. Throws when it can't mean it. */
  grant(bytes: number): void {
    this.#bytes += bytes;
    if (this.#app !== null && !this.#ended) this.#app.bytesUnderWay -= bytes;
    this.#mostBytes = Math.max(this.#mostBytes, this.#bytes);
    if (this.#bytes > CREDIT_LIMIT_BYTES)
      throw new ProtocolError("A peer grants more credit than can be meant.");
  }
}

/** A stream whose receiver has consumed bytes without a word to the sender. */
export interface Owing {
  /** Tells the sender of all of them. */
  tell(bytes: number): void;
}

/** What the streams of one app share of a connection. */
export class AppFlow {
  /** Sent and not granted again. */
  bytesUnderWay = 0;
  readonly #owing = new Map<Owing, number>();
  #owedBytes = 0;

  /** A receiver consumed bytes and didn't grant them; when an app's streams have done so with many, all are told. */
  owe(stream: Owing, bytes: number): void {
    this.#owing.set(stream, (this.#owing.get(stream) ?? 0) + bytes);
    this.#owedBytes += bytes;
    if (this.#owedBytes < OWED_LIMIT_BYTES) return;
    for (const [one, owed] of this.#owing) one.tell(owed);
    this.#owing.clear();
    this.#owedBytes = 0;
  }

  /** The sender was told, or the stream has ended. */
  settle(stream: Owing): void {
    this.#owedBytes -= this.#owing.get(stream) ?? 0;
    this.#owing.delete(stream);
  }
}

export class AppFlows {
  readonly #flows = new Map<string, AppFlow>();

  /** As many as a runner has apps. */
  of(app: string): AppFlow {
    let flow = this.#flows.get(app);
    if (flow === undefined) this.#flows.set(app, (flow = new AppFlow()));
    return flow;
  }

  /** The app that has most under way. */
  fullest(): string | null {
    let fullest: string | null = null;
    let most = 0;
    for (const [app, { bytesUnderWay }] of this.#flows) {
      if (bytesUnderWay <= most) continue;
      fullest = app;
      most = bytesUnderWay;
    }
    return fullest;
  }
}

/** The app of a service `APP/ID`; its versions share what the app has. */
export function appOf(service: string): string {
  return service.split("/", 1)[0] ?? service;
}

/** Far above any window; a sum beyond it is a broken or hostile peer. */
const CREDIT_LIMIT_BYTES = 2 ** 31;

export class ReceiveCredit {
  #window: number;
  #room: number;
  #heldBytes = 0;

  /** `ungrantedBytes` is what {@link ungrantedBytes} said when everything received had been consumed. */
  constructor(windowBytes: number, ungrantedBytes = 0) {
    this.#window = windowBytes;
    this.#room = windowBytes - ungrantedBytes;
  }

  get windowBytes(): number {
    return this.#window;
  }

  /** What the sender still has, as far as the receiver can know. */
  get roomBytes(): number {
    return this.#room;
  }

  /** Received and not consumed yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Consumed and not granted again yet: all that there is to remember while nothing is under way. */
  get ungrantedBytes(): number {
    return this.#window - this.#room - this.#heldBytes;
  }

  /** Bytes have arrived. Throws when the sender had no credit for them. */
  receive(bytes: number): void {
    if (bytes > this.#room) throw new ProtocolError("A peer sent more than it had credit for.");
    this.#room -= bytes;
    this.#heldBytes += bytes;
  }

  /** The consumer took bytes away. Returns how much to grant now: in steps, so that grants are few. */
  consume(bytes: number): number {
    this.#heldBytes -= bytes;
    const grant = this.ungrantedBytes;
    if (grant < Math.min(GRANT_STEP_BYTES, this.#window / 2)) return 0;
    this.#room += grant;
    return grant;
  }

  /** Grants all that was consumed, however little it is. */
  flush(): number {
    const grant = Math.max(0, this.ungrantedBytes);
    this.#room += grant;
    return grant;
  }

  /** From now on this much may be under way; a smaller window is reached by granting less. */
  resize(windowBytes: number): void {
    this.#window = windowBytes;
  }
}

/** What the streams of one connection share when their windows grow: the growth, and what is known of the way's delay. */
export class WindowPool {
  readonly now: () => number;
  #growthBytes = WINDOW_GROWTH_BYTES;
  #shortestMs = Infinity;
  #formerlyShortestMs = Infinity;
  #since = 0;

  constructor(now: () => number) {
    this.now = now;
  }

  get growthLeftBytes(): number {
    return this.#growthBytes;
  }

  /** What the way takes there and back by itself, as far as anything has told. */
  get delayMs(): number {
    return Math.min(this.#shortestMs, this.#formerlyShortestMs);
  }

  /** Something that needs the way there and back has taken so long. */
  delay(ms: number): void {
    const now = this.now();
    if (now - this.#since > DELAY_MEMORY_MS) {
      this.#since = now;
      this.#formerlyShortestMs = this.#shortestMs;
      this.#shortestMs = Infinity;
    }
    this.#shortestMs = Math.min(this.#shortestMs, ms);
  }

  /** A stream's window grows by so much, or shrinks. */
  take(bytes: number): void {
    this.#growthBytes -= bytes;
  }
}

/** What the way takes by itself is the least; busy machines at both ends take as much again. */
const WINDOW_DELAYS = 3;

/**
 * The receiver's side of one stream's window. It grows to three times what arrives during the way there and back, for a
 * stream whose consumer keeps up, and shrinks again with the rate.
 */
export class StreamWindow {
  readonly #pool: WindowPool;
  readonly #credit = new ReceiveCredit(STREAM_WINDOW_BYTES);
  #receivedBytes = 0;
  /** All that the sender was ever allowed. */
  #allowedBytes = STREAM_WINDOW_BYTES;
  /** A grant that the sender has yet to make use of: when it does, the grant has gone there and bytes have come back. */
  #mark: { allowedBytes: number; receivedBytes: number; at: number } | null = null;

  constructor(pool: WindowPool) {
    this.#pool = pool;
  }

  get windowBytes(): number {
    return this.#credit.windowBytes;
  }

  receive(bytes: number): void {
    const heldBytes = this.#credit.heldBytes;
    this.#credit.receive(bytes);
    this.#receivedBytes += bytes;
    const mark = this.#mark;
    if (mark === null || this.#receivedBytes <= mark.allowedBytes) return;
    this.#mark = null;
    const ms = this.#pool.now() - mark.at;
    this.#pool.delay(ms);
    this.#adapt(this.#receivedBytes - mark.receivedBytes, ms, heldBytes <= this.windowBytes / 2);
  }

  /** As that of {@link ReceiveCredit}. */
  consume(bytes: number): number {
    return this.#granted(this.#credit.consume(bytes));
  }

  /** As that of {@link ReceiveCredit}. */
  flush(): number {
    return this.#granted(this.#credit.flush());
  }

  #granted(grant: number): number {
    if (grant === 0) return 0;
    this.#mark ??= {
      allowedBytes: this.#allowedBytes,
      receivedBytes: this.#receivedBytes,
      at: this.#pool.now(),
    };
    this.#allowedBytes += grant;
    return grant;
  }

  /** The stream has ended: others may grow by what it had. */
  end(): void {
    this.#resize(STREAM_WINDOW_BYTES);
  }

  #adapt(bytes: number, ms: number, keepsUp: boolean): void {
    const window = this.windowBytes;
    const wanted = ms < WINDOW_GROWS_ABOVE_MS ? 0 : (WINDOW_DELAYS * bytes * this.#pool.delayMs) / ms;
    if (keepsUp && wanted > window)
      this.#resize(Math.floor(Math.min(wanted, 2 * window, window + this.#pool.growthLeftBytes)));
    else if (wanted < window / 2) this.#resize(Math.max(STREAM_WINDOW_BYTES, Math.floor(window / 2)));
  }

  #resize(bytes: number): void {
    this.#pool.take(bytes - this.windowBytes);
    this.#credit.resize(bytes);
  }
}

/**
 * One app may have under way so many times what is left: one that takes nothing leaves a quarter of the window. Less would
 * let its own slow readers, sixty of them, stop its quick ones.
 */
const APP_SHARE = 3;

/**
 * How many bytes of a body a stream may send in its next frame. One that has a grant's worth under way gets more only
 * from the first half of the connection's window. The other half is for those that have less: so receivers that are
 * slow, a hundred of them, leave something for everyone else. Less than a grant's worth would never be granted back.
 * An app's streams together get three times as much as they leave, so that one that is hung leaves something for other apps.
 */
export function frameBudget(
  stream: SendCredit,
  connection: SendCredit,
  frameBytes = FRAME_BODY_BYTES,
): number {
  const ofFirstHalf = connection.bytes - CONNECTION_WINDOW_BYTES / 2;
  // Beyond the first window a receiver has said that it takes what it gets.
  const share = ofFirstHalf - Math.max(0, STREAM_WINDOW_BYTES - stream.bytes);
  const least = GRANT_STEP_BYTES - stream.bytesUnderWay;
  const appShare = Math.max(ofFirstHalf, APP_SHARE * connection.bytes - stream.appBytesUnderWay);
  return Math.max(0, Math.min(frameBytes, stream.bytes, connection.bytes, appShare, Math.max(share, least)));
}
