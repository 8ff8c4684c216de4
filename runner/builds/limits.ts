import type { BuildFact } from "../../functions/protocol/builds.ts";

/** What one build may take; null: no limit. */
export interface BuildLimits {
  /** Of running; waiting for a person isn't counted. */
  seconds: number | null;
  /** Between two updates of an agent at work. */
  silenceSeconds: number | null;
  /** Prompts, with those that ask for repairs. */
  turns: number | null;
  /** Of all that the agent says. */
  outputBytes: number | null;
  /** In the currency that the agent counts in. */
  cost: number | null;
}

/** Of one build, beside the runner's. */
export type OwnLimits = { [L in keyof BuildLimits]?: number | undefined };

export const buildLimits: BuildLimits = {
  seconds: 2 * 3_600,
  // A long command of an agent says nothing while it runs.
  silenceSeconds: 900,
  turns: 4,
  outputBytes: 64 * 1024 * 1024,
  cost: null,
};

/** The stricter one of each. */
export function stricter(runner: BuildLimits, build: OwnLimits): BuildLimits {
  const least = (one: number | null, other: number | null | undefined): number | null =>
    one === null ? (other ?? null) : Math.min(one, other ?? one);
  return {
    seconds: least(runner.seconds, build.seconds),
    silenceSeconds: least(runner.silenceSeconds, build.silenceSeconds),
    turns: least(runner.turns, build.turns),
    outputBytes: least(runner.outputBytes, build.outputBytes),
    cost: least(runner.cost, build.cost),
  };
}

const LOOK_MS = 250;

/** Watches one build, and says once which limit it reached. */
export class LimitWatch {
  readonly #limits: BuildLimits;
  readonly #reached: (reason: string) => void;
  readonly #timer: NodeJS.Timeout;
  /** What the agent's session had cost before this build. */
  readonly #costBefore: () => number;
  #ranMs = 0;
  #lookedAt = performance.now();
  #heardAt = performance.now();
  #isWaiting = false;
  #isAtWork = false;
  #turns = 0;
  #bytes = 0;
  #isOver = false;

  constructor(limits: BuildLimits, costBefore: () => number, reached: (reason: string) => void) {
    this.#limits = limits;
    this.#costBefore = costBefore;
    this.#reached = reached;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** Throws nothing: the build ends by `reached`. */
  turn(): void {
    this.#turns++;
    const { turns } = this.#limits;
    if (turns !== null && this.#turns > turns)
      this.#end(`its limit of ${turns} ${turns === 1 ? "turn" : "turns"}`);
  }

  /** An agent works from now on, or no longer. */
  set isAtWork(isAtWork: boolean) {
    this.#isAtWork = isAtWork;
    this.#heardAt = performance.now();
  }

  /** A person is asked from now on, or no longer. */
  set isWaiting(isWaiting: boolean) {
    this.#look();
    this.#isWaiting = isWaiting;
    this.#heardAt = performance.now();
  }

  /** The agent said something. */
  heard(bytes: number): void {
    this.#heardAt = performance.now();
    this.#bytes += bytes;
    const { outputBytes } = this.#limits;
    if (outputBytes !== null && this.#bytes > outputBytes)
      this.#end(`its limit of ${outputBytes} bytes of output`);
  }

  fact(fact: BuildFact): void {
    const { cost } = this.#limits;
    if (cost === null || fact.type !== "usage" || fact.cost === undefined) return;
    if (fact.cost.amount - this.#costBefore() > cost)
      this.#end(`its limit of cost, ${cost} ${fact.cost.currency}`);
  }

  close(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    if (!this.#isWaiting) this.#ranMs += now - this.#lookedAt;
    this.#lookedAt = now;
    const { seconds, silenceSeconds } = this.#limits;
    if (seconds !== null && this.#ranMs > seconds * 1_000) this.#end(`its limit of time, ${seconds} s`);
    const isSilent = this.#isAtWork && !this.#isWaiting;
    if (silenceSeconds !== null && isSilent && now - this.#heardAt > silenceSeconds * 1_000)
      this.#end(`its limit of silence: the agent said nothing for ${silenceSeconds} s`);
  }

  #end(reason: string): void {
    if (this.#isOver) return;
    this.close();
    this.#reached(reason);
  }
}
