import {
  hasWork,
  isFinished,
  parseAppDocument,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import { commitDocument } from "../apps/commit.ts";
import { logAppDeleted } from "../apps/decision-log.ts";
import { dueTime } from "../apps/due.ts";
import { STORE_RETRY_MS } from "../protocol/limits.ts";
import { StoreUnavailable } from "../state/store.ts";
import { StoreHealth } from "../state/store-health.ts";
import { LONGEST_WAIT_MS, takeStep, type StepParts } from "./steps.ts";
import { Waits } from "./waits.ts";

/** What a driver works with; the controller brings the real parts. */
export interface DriverParts extends StepParts {
  /** See `tableAgeLimitMs` in `apps/due.ts`. */
  tableAgeLimitMs: number;
  /** Resolves after `ms`, or at once when aborted. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Told what nobody expected; that the store is away is. */
  failed?: (error: unknown) => void;
  /** Schedules a call of `reconcile`, which survives this process; null: none. */
  wakeAt: (time: number | null) => Promise<void>;
}

/** A Worker waits for six answers' headers at a time. Two are left to the store: a queued call would time out unsent. */
const STEPS_AT_ONCE = 4;
/** Longer than two contract calls and the store's worst day; what takes longer hangs, and is asked again. */
const STEP_LIMIT_MS = 60_000;
/** Passes without a step to take come soon; this many in a row means that two steps undo each other. */
const PASSES_LIMIT = 1_000;
/** While the store is down each app tries it, after a second at first, then less and less often. */
const RETRY_LIMIT_MS = 15_000;

/**
 * Drives one app: takes every step that is due, one committed step at a time for each deployment. It owns the waits, the
 * steps that are running and what it saw of the store's health. All that matters is in the document, so a new driver
 * resumes what another left. A deployment whose step fails, hangs or is slow holds up no other.
 */
export class RolloutDriver {
  readonly app: string;
  readonly #parts: DriverParts;
  readonly #waits = new Waits();
  readonly #storeHealth = new StoreHealth();
  /** Steps under way, by deployment. */
  readonly #steps = new Map<string, Promise<void>>();
  #running: Promise<void> | null = null;
  /** Rounds in a row that failed. */
  #failures = 0;
  /** Whether the app may have changed since the last read began, and what tells the round under way. */
  #isOutdated = false;
  #onOutdated = (): void => {};

  constructor(app: string, parts: DriverParts) {
    this.app = app;
    this.#parts = parts;
  }

  /** Does what is due. A round that is under way reads the app again at once. */
  reconcile(): Promise<void> {
    this.#isOutdated = true;
    this.#onOutdated();
    this.#running ??= this.#run();
    return this.#running;
  }

  /** Takes a deployment's next step now, whatever it was put off for. */
  hurry(deployment: string): Promise<void> {
    this.#waits.end(deployment);
    return this.reconcile();
  }

  /** Takes all steps until none is due, and returns when the next one is (null: none, unless something changes). */
  async round(): Promise<number | null> {
    try {
      for (let pass = 0; pass < PASSES_LIMIT; pass++) {
        // Before the read, so that no change falls between the two.
        const outdated = this.#untilOutdated();
        const busy = [...this.#steps.keys()];
        const stored = await this.#parts.store.readApp(this.app);
        this.#storeHealth.answered(this.#parts.now());
        if (stored === null) return null;
        // A step that ended meanwhile may have committed after this read.
        if (busy.some((id) => !this.#steps.has(id))) continue;
        const app = parseAppDocument(stored.body);
        this.#parts.progress.observe(app);
        this.#waits.keep(app.deployments);
        if (app.deletingSince !== null && Object.values(app.deployments).every(isFinished)) {
          await this.#deleteDocument(app);
          continue;
        }
        const idle = this.#idle(app);
        const now = this.#parts.now();
        const due = idle.filter(({ at }) => at <= now).slice(0, STEPS_AT_ONCE - this.#steps.size);
        for (const { deployment } of due) this.#begin(app, deployment);
        if (this.#steps.size === 0) return idle[0]?.at ?? null;
        const next = idle.find(({ at }) => at > now)?.at ?? Infinity;
        await this.#firstOf([...this.#steps.values(), outdated], next);
      }
      return this.#parts.now() + STORE_RETRY_MS;
    } catch (error) {
      this.#storeHealth.failed(error, this.#parts.now());
      throw error;
    } finally {
      // The next round must find no step of this one still at work.
      await Promise.all(this.#steps.values());
    }
  }

  async #run(): Promise<void> {
    try {
      do {
        // Should this process die midway, its successor takes the work up.
        await this.#parts.wakeAt(this.#parts.now() + STORE_RETRY_MS);
        const next = await this.#roundOrRetry();
        await this.#parts.wakeAt(next === Infinity ? null : next);
      } while (this.#isOutdated);
    } finally {
      this.#running = null;
    }
  }

  /** The store is down or the code is wrong: either way the work is still there later. */
  async #roundOrRetry(): Promise<number | null> {
    try {
      const next = await this.round();
      this.#failures = 0;
      return next;
    } catch (error) {
      console.error(`Reconciling ${this.app} failed: ${messageOf(error)}`);
      if (!(error instanceof StoreUnavailable)) this.#parts.failed?.(error);
      const delayMs = Math.min(RETRY_LIMIT_MS, STORE_RETRY_MS * 2 ** this.#failures);
      this.#failures += 1;
      // Jittered: a store that comes back must not meet every app at once.
      return this.#parts.now() + delayMs * (0.75 + Math.random() / 2);
    }
  }

  #untilOutdated(): Promise<void> {
    this.#isOutdated = false;
    return new Promise((resolve) => {
      this.#onOutdated = resolve;
    });
  }

  /** Deployments with work and no step under way, and when each one's next step may be taken: the first one first. */
  #idle(app: AppDocument): { deployment: Deployment; at: number }[] {
    const freshness = {
      tableAgeLimitMs: this.#parts.tableAgeLimitMs,
      storeBackAt: this.#storeHealth.backAt,
    };
    return (
      Object.values(app.deployments)
        .filter((deployment) => hasWork(deployment) && !this.#steps.has(deployment.id))
        .map((deployment) => ({
          deployment,
          at: Math.max(dueTime(app, deployment, freshness), this.#waits.until(deployment)),
        }))
        // Of two that are due the newer goes first: the older has most likely been tried before.
        .sort((one, other) => one.at - other.at || other.deployment.sequence - one.deployment.sequence)
    );
  }

  #begin(app: AppDocument, deployment: Deployment): void {
    const { id } = deployment;
    this.#steps.set(
      id,
      this.#attempt(app, deployment).finally(() => this.#steps.delete(id)),
    );
  }

  /** Takes the one step that is due for a deployment. Never throws and never hangs: a step that does backs off. */
  async #attempt(app: AppDocument, deployment: Deployment): Promise<void> {
    let isOver = false;
    const putOff = (why: string): void => {
      console.error(`A step of deployment ${deployment.id} of app ${app.name} is put off: ${why}`);
      this.#waits.backOff(deployment, this.#parts.now(), STORE_RETRY_MS, LONGEST_WAIT_MS);
    };
    const step = takeStep(app, deployment, { ...this.#parts, waits: this.#waits })
      .catch((error: unknown) => {
        this.#storeHealth.failed(error, this.#parts.now());
        putOff(messageOf(error));
      })
      .finally(() => {
        isOver = true;
      });
    await this.#firstOf([step], this.#parts.now() + STEP_LIMIT_MS);
    if (!isOver) putOff("it hangs");
  }

  /** The last step of an app's deletion. Where somebody else wrote meanwhile, the next pass looks again. */
  async #deleteDocument(app: AppDocument): Promise<void> {
    const author = { actor: "controller", action: "app.deleted" };
    const options = { author, details: {}, isDefault: false, deletes: true };
    const next = { ...app, updatedAt: this.#parts.now() };
    const { outcome } = await commitDocument(this.#parts.store, next, app.version, options);
    if (outcome === "committed") logAppDeleted(app, author);
  }

  /** Resolves when the first of them does, or at a time, and leaves no timer behind. */
  async #firstOf(happenings: Promise<unknown>[], time: number): Promise<void> {
    const done = new AbortController();
    const ms = Math.min(time - this.#parts.now(), LONGEST_WAIT_MS);
    const timer = time === Infinity ? [] : [this.#parts.sleep(ms, done.signal)];
    try {
      await Promise.race([...happenings, ...timer]);
    } finally {
      done.abort();
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown error";
}
