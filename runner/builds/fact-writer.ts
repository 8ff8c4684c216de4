import type { BuildFact } from "../../functions/protocol/builds.ts";

/** Deltas that come within this time are one event: a token each would be a hundred a second. */
const COALESCE_MS = 100;
const COALESCE_LIMIT = 4_096;

type Text = Extract<BuildFact, { type: "message" | "thought" }>;

/** Joins text deltas on their way into a build's events, and keeps everything in order. */
export class FactWriter {
  readonly #add: (fact: BuildFact) => void;
  #open: Text | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(add: (fact: BuildFact) => void) {
    this.#add = add;
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
    if ((this.#open?.text.length ?? 0) >= COALESCE_LIMIT) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), COALESCE_MS);
  }

  /** Writes what waits for more of its kind. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#open !== null) this.#add(this.#open);
    this.#open = null;
  }
}

function isSameVoice(one: Text, other: Text): boolean {
  return (
    one.type === other.type && (one.type === "thought" || other.type === "thought" || one.from === other.from)
  );
}
