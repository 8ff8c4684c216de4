import type { BuildFact } from "../../functions/protocol/builds.ts";
import type { Masking } from "../logs/log-file.ts";

/** Deltas that come within this time are one event: a token each would be a hundred a second. */
const COALESCE_MS = 100;
const COALESCE_LIMIT = 4_096;

type Text = Extract<BuildFact, { type: "message" | "thought" }>;

/** Joins text deltas on their way into a build's events, and keeps everything in order. */
export class FactWriter {
  readonly #add: (fact: BuildFact) => void;
  readonly #mask: Masking | null;
  #open: Text | null = null;
  #timer: NodeJS.Timeout | undefined;

  /** What may begin a secret of `mask` waits for what comes next. */
  constructor(add: (fact: BuildFact) => void, mask: Masking | null = null) {
    this.#add = add;
    this.#mask = mask;
  }

  write(fact: BuildFact): void {
    if (fact.type !== "message" && fact.type !== "thought") {
      this.flush();
      this.#add(fact);
      return;
    }
    const open = this.#open;
    if (open !== null && isSameVoice(open, fact)) this.#open = { ...open, text: open.text + fact.text };
    else {
      this.flush();
      this.#open = fact;
    }
    if ((this.#open?.text.length ?? 0) >= COALESCE_LIMIT) this.#flushSafely();
    else this.#timer ??= setTimeout(() => this.#flushSafely(), COALESCE_MS);
  }

  /** Writes what waits for more of its kind. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#open !== null) this.#add(this.#open);
    this.#open = null;
  }

  #flushSafely(): void {
    const open = this.#open;
    if (open === null || this.#mask === null) return this.flush();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const text = this.#mask.text(open.text);
    const end = text.length - this.#mask.held(text);
    if (end > 0) this.#add({ ...open, text: text.slice(0, end) });
    this.#open = end < text.length ? { ...open, text: text.slice(end) } : null;
  }
}

function isSameVoice(one: Text, other: Text): boolean {
  return (
    one.type === other.type && (one.type === "thought" || other.type === "thought" || one.from === other.from)
  );
}
