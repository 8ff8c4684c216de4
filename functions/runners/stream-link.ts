import type { WindowPool } from "../protocol/flow.ts";
import type { AnswerHead, Frame } from "../protocol/frames.ts";
import type { Turns } from "./turns.ts";

/** A client that may take its time. */
export interface Reader {
  /** Gives it up if it has taken nothing since then. */
  giveUpStalled(sinceMs: number): void;
}

/** A stream that has no answer's head yet. */
export interface WaitsForHead {
  /** It has been so for a while: looks for what only matters then. */
  stillWaits(now: number): void;
}

/** What a stream needs of the connection that it runs over. */
export interface StreamLink {
  send(frame: Frame): void;
  /** The connection's credit for what goes to the runner. */
  readonly turns: Turns;
  /** What the windows of all streams from the runner may grow by. */
  readonly windows: WindowPool;
  /** Bytes of a body from the runner were taken away, by a client or because nobody wants them any more. */
  consumed(bytes: number): void;
  /** Whether a client has yet to take bytes, which it may still have when its stream has ended. */
  untaken(reader: Reader, some: boolean): void;
  /** Whether a stream waits for an answer's head. */
  waits(stream: WaitsForHead, some: boolean): void;
  /** Makes a public WebSocket of a stream whose runner has answered 101. */
  upgrade(stream: number, head: AnswerHead): Response;
  /** Counts parts of messages that wait for their rest; false when there is no room for more. */
  holdParts(bytes: number): boolean;
  /** A stream has ended in both directions. */
  ended(stream: number): void;
}
