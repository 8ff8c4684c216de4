import type { AppDocument, Deployment, Target } from "../deployments/app-document.ts";

/**
 * Where deployments run. Every step is idempotent and returns at once: `wait` is asked again, `failed` is final.
 * A step that was interrupted is simply run again and finds what the first run made.
 */
export interface Provider {
  /**
   * Settles everything about a target that must not change between two runs of a step, such as which machine it is.
   * Refuses one that can never work, before anything is written: throws a `Problem` that names the field.
   */
  place(target: Target, app: AppDocument): Promise<Target>;
  /** Makes the backend exist and says where it answers. */
  provision(deployment: Deployment, app: AppDocument, log: BuildLog): Promise<Step<Provisioned>>;
  /** Builds the same deployment again, in place. */
  redeploy(deployment: Deployment, app: AppDocument, log: BuildLog): Promise<Step<Provisioned>>;
  /** Takes away what `provision` made, and only that. */
  remove(deployment: Deployment, app: AppDocument): Promise<Step<null>>;
  /** Requests under way to the backend, as far as the provider can see them; null: it can't. */
  openStreams(deployment: Deployment): Promise<number | null>;
}

/** One provider for each kind of target; a new kind doesn't compile until it is everywhere. */
export type Providers = Record<Target["kind"], Provider>;

/** Where a provider left off reading a build's output, and where it puts what came since. */
export interface BuildLog {
  cursor: number;
  /** Adds lines, and moves the cursor with them. */
  append(lines: readonly string[], cursor: number): void;
}

export interface Provisioned {
  /** Origin of the backend. */
  url: string;
  /** What finds the resources again. */
  resources: Record<string, string>;
}

export type Step<T> =
  | { status: "done"; value: T }
  | { status: "wait"; untilMs: number; detail: string }
  | { status: "failed"; reason: string };
