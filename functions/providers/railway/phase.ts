import type { RailwayService, RailwayServiceState } from "../../railway/operations.ts";
import type { RolloutMemory } from "./memory.ts";

/** What the Railway project has of a deployment. */
export interface Found {
  mine: RailwayServiceState | null;
  /** What its service may be called: the spare name is for when the usual one is a sibling's. */
  names: { usual: string; spare: string };
  /** Which of these names other services have, and whose those are. */
  taken: Map<string, "sibling" | "foreign">;
  /** The service with the users' variables. */
  env: RailwayService | null;
  /** Something was deleted, so that what was seen is over. */
  changed: boolean;
}

/** What comes next for a deployment on Railway. */
export type Phase =
  /** A Railway deployment is being built or started. */
  | { kind: "follow"; service: string; railwayDeployment: string }
  /** All is set up, and the source has yet to come. */
  | { kind: "await-source"; service: string }
  /** Nothing is known: the project has to be read first. */
  | { kind: "look" }
  | { kind: "no-env-service" }
  /** An earlier deployment of the same id left a service, which is being deleted. */
  | { kind: "clear" }
  | { kind: "name-taken"; name: string }
  /** Its service was there a moment ago, and Railway's lists lag behind. */
  | { kind: "not-listed" }
  | { kind: "service-gone"; name: string }
  /** Its creation may have been carried out, though no answer came. */
  | { kind: "in-doubt" }
  | { kind: "create"; name: string; env: RailwayService }
  /** It has a service that nothing was deployed to yet. */
  | { kind: "set-up"; mine: RailwayServiceState; env: RailwayService };

/** After a lost answer, a change shows within this time, or it most likely never happened. */
const DOUBT_MS = 5_000;
/** A service that was just seen may be missing from a list for a moment. */
const LIST_LAG_MS = 10_000;

/** Where a rollout stands by what it remembers and what a look found; null: nobody has looked yet. */
export function phaseOf(found: Found | null, memory: RolloutMemory, now: number): Phase {
  const { service, railwayDeployment } = memory;
  if (service !== null && railwayDeployment !== null) return { kind: "follow", service, railwayDeployment };
  if (found === null) {
    return service !== null && memory.awaitsSource ? { kind: "await-source", service } : { kind: "look" };
  }
  const { mine, env, names } = found;
  if (env === null) return { kind: "no-env-service" };
  if (found.changed) return { kind: "clear" };
  if (mine !== null) {
    const latest = mine.serviceInstance.latestDeployment;
    return latest === null
      ? { kind: "set-up", mine, env }
      : { kind: "follow", service: mine.service.id, railwayDeployment: latest.id };
  }
  const name = found.taken.get(names.usual) === "sibling" ? names.spare : names.usual;
  if (found.taken.has(name)) return { kind: "name-taken", name };
  if (service !== null) {
    return now - memory.seenAt < LIST_LAG_MS
      ? { kind: "not-listed" }
      : { kind: "service-gone", name: names.usual };
  }
  if (memory.unansweredSince !== null && now - memory.unansweredSince < DOUBT_MS) return { kind: "in-doubt" };
  return { kind: "create", name, env };
}

/** What comes next for a redeploy on Railway. */
export type RedeployPhase =
  | { kind: "follow"; service: string; railwayDeployment: string; former: string | null }
  /** Its service has to be read first. */
  | { kind: "look"; service: string }
  | { kind: "no-service" }
  | { kind: "not-ours"; name: string }
  | { kind: "never-deployed"; name: string }
  | { kind: "begin"; service: string; former: string; variables: Record<string, string> };

/**
 * `former`: what the deployment ran before, as its document has it. `since`: a Railway deployment of that age or younger
 * is what this redeploy began, by Railway's clock: its answer was lost, or the Worker.
 */
export function redeployPhaseOf(
  found: { state: RailwayServiceState; isOurs: boolean } | null,
  memory: RolloutMemory,
  { service, former, since }: { service: string | undefined; former: string | undefined; since: number },
): RedeployPhase {
  if (memory.service !== null && memory.railwayDeployment !== null) {
    const { railwayDeployment } = memory;
    return { kind: "follow", service: memory.service, railwayDeployment, former: memory.former };
  }
  if (service === undefined) return { kind: "no-service" };
  if (found === null) return { kind: "look", service };
  const { name } = found.state.service;
  if (!found.isOurs) return { kind: "not-ours", name };
  const latest = found.state.serviceInstance.latestDeployment;
  const ran = former ?? latest?.id;
  if (ran === undefined) return { kind: "never-deployed", name };
  if (latest !== null && latest.id !== ran && Date.parse(latest.createdAt) >= since) {
    return { kind: "follow", service, railwayDeployment: latest.id, former: ran };
  }
  return { kind: "begin", service, former: ran, variables: found.state.variables };
}
