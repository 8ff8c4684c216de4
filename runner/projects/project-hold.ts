import { setTimeout as sleep } from "node:timers/promises";
import { RunnerError } from "../runner-error.ts";

/** Longer than a move takes. One that broke off lets go after this. */
const HELD_MS = 12 * 60_000;
/** The hub waits 30 s for a hold. */
const WAIT_MS = 20_000;

/** Lets changes of a project run until it is held, and holds it only once none runs. */
export class ProjectHold {
  readonly #project: string;
  readonly #waitMs: number;
  readonly #running = new Set<Promise<unknown>>();
  #until = -Infinity;

  constructor(project: string, waitMs = WAIT_MS) {
    this.#project = project;
    this.#waitMs = waitMs;
  }

  /** What keeps others from deleting anything of it; null: nothing. */
  get reason(): string | null {
    if (performance.now() < this.#until) return "it is being moved or renamed";
    return this.#running.size > 0 ? "it is being changed" : null;
  }

  /** Errors: `project_busy` while it is held. */
  refuse(): void {
    if (performance.now() >= this.#until) return;
    throw new RunnerError("project_busy", `Project ${this.#project} is being moved, renamed or cleaned up.`);
  }

  /** Errors: those of {@link refuse}. */
  async change<T>(work: () => Promise<T>): Promise<T> {
    this.refuse();
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Refuses further changes at once; resolves when none runs. Errors: `project_busy`, and then it isn't held. */
  async hold(): Promise<void> {
    this.#until = performance.now() + HELD_MS;
    const waited = new AbortController();
    const late = sleep(this.#waitMs, true, { signal: waited.signal }).catch(() => false);
    const isLate = await Promise.race([Promise.allSettled(this.#running).then(() => false), late]);
    waited.abort();
    if (!isLate) return;
    this.release();
    throw new RunnerError(
      "project_busy",
      `Project ${this.#project} is being changed, by git for example: try again when that has ended.`,
    );
  }

  release(): void {
    this.#until = -Infinity;
  }
}
