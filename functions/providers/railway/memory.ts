import type { AppDocument, Deployment } from "../../apps/app-document.ts";
import { LogFollower } from "./log.ts";

/**
 * What a rollout knows from its last step, so that it needn't look again. Lost with the process, which only costs
 * a look: everything in it can be found on Railway.
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
  /** Everything is set, and the source has yet to come. */
  awaitsSource: boolean;
  /** It was moved into its group, as far as that could be done. */
  grouped: boolean;
  /** What the service ran before a redeploy. */
  former: string | null;
  /** When the creation of the service was sent without an answer, until an answer comes. */
  doubtSince: number | null;
  /** The same, and never forgotten: what was repeated may come true twice. */
  doubtedAt: number | null;
  /** Steps in a row that Railway answered with an error. */
  failures: number;
}

/** Rollouts that are remembered; the oldest are forgotten first. */
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
        doubtSince: null,
        doubtedAt: null,
        failures: 0,
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
