import type { AppDocument, Deployment, Target } from "../deployments/app-document.ts";

/**
 * Where deployments run. Every step is idempotent and returns at once: `wait` is asked again, `failed` is final.
 * A step that was interrupted is simply run again and finds what the first run made.
 */
export interface Provider {
  /** Refuses a target that can never work, before anything is written. Throws a `Problem` that names the field. */
  check(target: Target, app: AppDocument): void;
  /** Makes the backend exist and says where it answers. */
  provision(deployment: Deployment, app: AppDocument): Promise<Step<Provisioned>>;
  /** Builds the same deployment again, in place. */
  redeploy(deployment: Deployment, app: AppDocument): Promise<Step<Provisioned>>;
  /** Takes away what `provision` made, and only that. */
  remove(deployment: Deployment, app: AppDocument): Promise<Step<null>>;
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
