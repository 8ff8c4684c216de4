import {
  MESSAGE_COST_BYTES,
  MESSAGES_UNDER_WAY_BYTES,
  SOCKET_BURST_BYTES,
  SOCKET_BYTES_PER_SECOND,
} from "../../functions/protocol/limits.ts";

/** A WebSocket that has something to send. */
interface Waiting {
  wake(): void;
}

/** What a message, or a part of one, counts as: an empty one is work, too. */
export function messageCost(bytes: number): number {
  return Math.max(bytes, MESSAGE_COST_BYTES);
}

/**
 * How many WebSocket messages of all streams are on their way to the hub. They have no credit, so without this a flood of
 * them would lie in the sockets' buffers, and whatever comes next would wait behind it for seconds.
 */
export class MessageFlow {
  readonly #confirm: (done: () => void) => void;
  #underWay = 0;
  #unasked = 0;
  #asking = false;
  readonly #waiting = new Set<Waiting>();

  /** `confirm` tells when the hub has taken in all that was sent before. */
  constructor(confirm: (done: () => void) => void) {
    this.#confirm = confirm;
  }

  /** Whether a message may be sent now; if not, the stream is woken when it may. */
  take(bytes: number, stream: Waiting): boolean {
    if (this.#underWay >= MESSAGES_UNDER_WAY_BYTES) {
      this.#waiting.add(stream);
      return false;
    }
    const cost = messageCost(bytes);
    this.#underWay += cost;
    this.#unasked += cost;
    if (this.#unasked >= MESSAGES_UNDER_WAY_BYTES / 4 && !this.#asking) {
      this.#asking = true;
      // The frame itself is sent first.
      queueMicrotask(() => this.#ask());
    }
    return true;
  }

  forget(stream: Waiting): void {
    this.#waiting.delete(stream);
  }

  #ask(): void {
    this.#asking = false;
    const asked = this.#unasked;
    this.#unasked = 0;
    this.#confirm(() => {
      this.#underWay -= asked;
      const waiting = [...this.#waiting];
      this.#waiting.clear();
      for (const stream of waiting) stream.wake();
    });
  }
}

/**
 * What one WebSocket may send. The hub can't see whether its visitor reads (workerd has no `bufferedAmount`), so all that
 * bounds what piles up there for one who doesn't is the rate.
 */
export class MessagePace {
  readonly #now: () => number;
  #bytes = 0;
  #at: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#at = now();
  }

  /** Whether it may send now; if not, the stream is woken when it may. */
  allows(stream: Waiting): boolean {
    const now = this.#now();
    this.#bytes = Math.max(0, this.#bytes - ((now - this.#at) / 1_000) * SOCKET_BYTES_PER_SECOND);
    this.#at = now;
    const over = this.#bytes - SOCKET_BURST_BYTES;
    if (over < 0) return true;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        stream.wake();
      },
      Math.max(10, (over / SOCKET_BYTES_PER_SECOND) * 1_000),
    );
    return false;
  }

  sent(bytes: number): void {
    this.#bytes += messageCost(bytes);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
