import type { OpenStreams } from "../runners/tunnel-call.ts";
import type { AppDocument, Deployment, Target } from "../apps/app-document.ts";

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
  provision(deployment: Deployment, app: AppDocument, log: BuildLog): Promise<StepOutcome<Provisioned>>;
  /** Builds the same deployment again, in place. */
  redeploy(deployment: Deployment, app: AppDocument, log: BuildLog): Promise<StepOutcome<Provisioned>>;
  /** Deletes what `provision` made, and nothing else. */
  remove(deployment: Deployment, app: AppDocument): Promise<StepOutcome<null>>;
  /** Why a backend that was provisioned will never answer; null where the provider can't tell, or not just now. */
  givenUp(deployment: Deployment, app: AppDocument): Promise<string | null>;
  /** Requests under way to the backend; null: the provider can't see them. */
  openStreams(deployment: Deployment): Promise<OpenStreams | null>;
  /**
   * What the build and the app wrote, a page from a cursor on. Throws a `Problem`: `no_logs` where there can be none,
   * and one with a status of 500 or more where they can't be read just now.
   */
  logs(deployment: Deployment, app: AppDocument, query: LogQuery): Promise<LogPage>;
}

/** One provider for each kind of target; a new kind doesn't compile until it is everywhere. */
export type Providers = Record<Target["kind"], Provider>;

/** Where a provider left off reading a build's output, and where it puts what came since. */
export interface BuildLog {
  cursor: number;
  /** Adds lines, and moves the cursor with them. */
  append(lines: readonly string[], cursor: number): void;
}

export interface LogQuery {
  /** Where the last page ended; 0 is the beginning. */
  cursor: number;
  limit: number;
  /** How long to wait for the first line. A provider that can't wait answers at once. */
  waitMs: number;
  /** Aborts when nobody wants the answer any more. */
  signal: AbortSignal;
}

export interface LogPage {
  lines: {
    /** RFC 3339. */
    at: string;
    stream: "stdout" | "stderr" | "system";
    text: string;
    /** What wrote it: `install`, `build`, `start`. */
    step?: string | undefined;
  }[];
  /** Where to go on. It only rises, across restarts of the app and the store. */
  cursor: number;
  /** Lines between the asked cursor and these are gone: too old to be kept. */
  truncated: boolean;
  /** Nothing will ever follow. */
  complete: boolean;
  /** Why there is nothing, if that isn't obvious. */
  detail?: string | undefined;
}

export interface Provisioned {
  /** Origin of the backend. */
  url: string;
  /** What finds the resources again. */
  resources: Record<string, string>;
}

/** What one run of a step came to. `untilMs`: epoch milliseconds. */
export type StepOutcome<T> =
  | { status: "done"; value: T }
  | { status: "wait"; untilMs: number; detail: string }
  | { status: "failed"; reason: string };
