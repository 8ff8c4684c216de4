import type { AppDocument, Deployment } from "../../apps/app-document.ts";
import { LogFollower } from "./log.ts";

/**
 * What a rollout remembers of its last step. All of it can be read from Railway again if it is lost.
 */
export interface RolloutMemory {
  service: string | null;
  /** What that is called. */
  name: string | null;
  /** What is being built or started. */
  railwayDeployment: string | null;
  followedSince: number | null;
  log: LogFollower;
  /** When the service was last seen. */
  seenAt: number;
  /** All is set up, and the source has yet to come. */
  awaitsSource: boolean;
  /** Moving it into its group was tried. */
  grouped: boolean;
  /** What the service ran before a redeploy. */
  former: string | null;
  /** When a creation got no answer; null once one did. */
  unansweredSince: number | null;
  /** The last time that happened, never cleared: Railway may carry out both the creation and its repetition. */
  lastUnansweredAt: number | null;
  /** Steps in a row that Railway answered with an error. */
  failures: number;
  /** When to ask next whether Railway has given up what it had started, epoch milliseconds. */
  nextLookAt: number;
}

/** Rollouts. The oldest are forgotten first. */
const LIMIT = 500;

export class RolloutMemories {
  readonly #memories = new Map<string, RolloutMemory>();

  /** `redeploy`: which one, since each is a rollout of its own. */
  of(app: AppDocument, deployment: Deployment, redeploy: number | null = null): RolloutMemory {
    const key = keyOf(app, deployment, redeploy);
    let memory = this.#memories.get(key);
    if (!memory) {
      memory = {
        service: null,
        name: null,
        railwayDeployment: null,
        followedSince: null,
        log: new LogFollower(),
        seenAt: 0,
        awaitsSource: false,
        grouped: false,
        former: null,
        unansweredSince: null,
        lastUnansweredAt: null,
        failures: 0,
        nextLookAt: 0,
      };
      this.#memories.set(key, memory);
      const [oldest] = this.#memories.keys();
      if (this.#memories.size > LIMIT && oldest !== undefined) this.#memories.delete(oldest);
    }
    return memory;
  }

  forget(app: AppDocument, deployment: Deployment, redeploy: number | null = null): void {
    this.#memories.delete(keyOf(app, deployment, redeploy));
  }
}

function keyOf(app: AppDocument, { id, createdAt }: Deployment, redeploy: number | null): string {
  return JSON.stringify([app.name, id, createdAt, redeploy]);
}
