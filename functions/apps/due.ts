import { STORE_OUTAGE_MS, STORE_TIMEOUT_MS } from "../protocol/limits.ts";
import { contractOf, type AppDocument, type Deployment } from "./app-document.ts";

/** How old what edge locations know can be. */
export interface Freshness {
  /** See {@link tableAgeLimitMs}. */
  tableAgeLimitMs: number;
  /** When the store came back from its last outage, epoch milliseconds; 0 where it had none. */
  storeBackAt: number;
}

/**
 * How long some edge location may go on serving a table after a newer one was committed: it serves it for up to twice its
 * time to live, and the read that brought it may have taken as long as the store is given.
 */
export function tableAgeLimitMs(routeTtlMs: number): number {
  return 2 * routeTtlMs + STORE_TIMEOUT_MS;
}

/** After an outage edge locations go on serving their last good tables until they have found out that it is over. */
const OUTAGE_ENDS_MS = STORE_OUTAGE_MS + 2 * STORE_TIMEOUT_MS;

/** When the next step of a deployment is due, epoch milliseconds; Infinity where nothing is. */
export function dueTime(app: AppDocument, deployment: Deployment, freshness: Freshness): number {
  const { retirement } = deployment;
  const { tableAgeLimitMs, storeBackAt } = freshness;
  switch (deployment.state) {
    case "pending":
    case "failed":
      return 0;
    case "ready":
      if (deployment.promoteWhenReady || deployment.redeploy) return 0;
      // The canary is in use, however old it is.
      return app.canary?.id === deployment.id ? Infinity : (deployment.deadline ?? 0);
    case "active":
      return deployment.redeploy ? 0 : Infinity;
    case "draining":
      if (!retirement) return deployment.redeploy ? 0 : (deployment.drainDeadline ?? 0);
      if (!retirement.reload) return 0;
      if (retirement.unroutedAt === null) {
        // An old table may have sent a visitor here a moment ago, whose page has no socket to be told through yet.
        const lastVisitorAt = deployment.stateSince + tableAgeLimitMs;
        return Math.max(graceEnd(app, deployment, retirement.reload), lastVisitorAt);
      }
      return Math.max(
        retirement.unroutedAt + tableAgeLimitMs,
        storeBackAt === 0 ? 0 : storeBackAt + OUTAGE_ENDS_MS,
      );
    case "removed":
      return Infinity;
  }
}

/** Where nobody was told, nobody needs time to leave; a lost answer may have been told all the same. */
function graceEnd(
  app: AppDocument,
  deployment: Deployment,
  reload: { at: number; sockets: number | null },
): number {
  const nobody = reload.sockets === 0 || contractOf(app, deployment) === "none";
  return nobody ? reload.at : reload.at + app.config.reloadGraceSeconds * 1_000;
}
