import type { AppFlows, WindowPool } from "../protocol/flow.ts";
import type { AnswerHead, Frame } from "../protocol/frames.ts";
import type { Turns } from "./turns.ts";

/** A client that may take its time. */
export interface Reader {
  /** Gives it up if it has taken nothing since then. */
  giveUpStalled(sinceMs: number): void;
}

/** A stream that has no answer's head yet. */
export interface WaitsForHead {
  /** Called once the answer is slow: starts what only slow answers need. */
  stillWaits(now: number): void;
}

/** What a stream needs of the connection that it runs over. */
export interface StreamLink {
  send(frame: Frame): void;
  /** The connection's credit for what goes to the runner. */
  readonly turns: Turns;
  /** What the windows of all streams from the runner may grow by. */
  readonly windows: WindowPool;
  readonly apps: AppFlows;
  /** Bytes of a body from the runner left the buffer: a client took them, or the stream is over. */
  consumed(bytes: number): void;
  /** Whether a client still has bytes to take. It may, even after its stream has ended. */
  untaken(reader: Reader, some: boolean): void;
  /** Whether a stream waits for an answer's head. */
  waits(stream: WaitsForHead, some: boolean): void;
  /** Makes a public WebSocket of a stream whose runner has answered 101. */
  upgrade(stream: number, head: AnswerHead): Response;
  /** Counts parts of messages that wait for their rest; false when there is no room for more. */
  holdParts(bytes: number): boolean;
  /** Counts a message of an app's visitor; true when all of them have sent too many lately. */
  said(app: string, now: number): boolean;
  /** A stream has ended in both directions. */
  ended(stream: number): void;
}
