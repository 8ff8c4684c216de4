import type { ResetCode } from "../protocol/frames.ts";
import { IDLE_STREAM_MS } from "../protocol/limits.ts";
import type { Holder } from "./shares.ts";
import type { StreamLink } from "./stream-link.ts";

/**
 * A public WebSocket whose messages don't pass the hub: the platform joins the visitor's connection with one of the
 * runner's, and each holds the other back. The stream says that it is open, and ends it.
 */
export class JoinedStream implements Holder {
  readonly number: number;
  readonly service: string;
  readonly app: string;
  readonly visitor: string | null;
  readonly idleAfterMs = IDLE_STREAM_MS;
  readonly isOfPage = false;
  /** Nobody sees its messages: once it is older than a minute, it counts as idle. */
  readonly movedAt = Date.now();
  readonly #link: StreamLink;
  #over = false;

  constructor(
    link: StreamLink,
    given: { number: number; service: string; app: string; visitor: string | null },
  ) {
    this.number = given.number;
    this.service = given.service;
    this.app = given.app;
    this.visitor = given.visitor;
    this.#link = link;
  }

  giveWay(): void {
    const reason = "others wait for its place";
    this.#link.send({ type: "close", stream: this.number, code: 1_013, reason });
    this.#finish();
  }

  /** Messages have another way. */
  part(): void {
    this.misplaced();
  }

  misplaced(): void {
    if (this.#over) return;
    this.#link.send({
      type: "reset",
      stream: this.number,
      code: "protocol",
      reason: "a body on a joined WebSocket",
    });
    this.#finish();
  }

  window(): void {
    this.misplaced();
  }

  /** The runner has seen the end of both connections. */
  closedByRunner(): void {
    this.#finish();
  }

  reset(_code: ResetCode): void {
    this.#finish();
  }

  /** The runner ends its side of what it had joined as soon as it notices. */
  fail(): void {
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#link.ended(this.number);
  }
}
