import { deploymentOf, isFinished, type AppDocument } from "../apps/app-document.ts";
import { FINISHED_DEPLOYMENTS_KEPT } from "../protocol/limits.ts";
import { createdMark, type ServiceMark } from "../providers/railway/service.ts";

/** An app's document, or when the app of that name was deleted last; null: nobody knows of it. */
export type Known = { app: AppDocument } | { app: null; deletedAt: number | null };

/** `isProven`: its end is on record. Without that it may only be missing, as from a store restored from a backup. */
export interface Orphan {
  why: string;
  isProven: boolean;
}

/**
 * Why a service that bears our mark is an orphan; null: a deployment has it, or its app's driver is about to delete it.
 * A finished deployment never comes back, and no other one has its time of creation.
 */
export function orphanOf(known: Known, mark: ServiceMark, service: string): Orphan | null {
  const proven = (why: string): Orphan => ({ why, isProven: true });
  const unproven = (why: string): Orphan => ({ why, isProven: false });
  const created = Date.parse(mark.created);
  const { app } = known;
  if (app === null) {
    const { deletedAt } = known;
    return deletedAt !== null && deletedAt >= created
      ? proven("its app was deleted")
      : unproven("there is no such app, and no record that it was deleted");
  }
  const isUsed = Object.values(app.deployments).some(
    (deployment) => !isFinished(deployment) && deployment.resources["service"] === service,
  );
  if (isUsed) return null;
  const deployment = deploymentOf(app, mark.deployment);
  if (!deployment) {
    if (app.createdAt > created) return proven("it is an earlier app's of the same name");
    return isForgotten(app, created)
      ? proven("its deployment is forgotten")
      : unproven("its app knows no such deployment, and would if there had been one");
  }
  if (createdMark(deployment) !== mark.created) {
    return deployment.createdAt > created
      ? proven("it is an earlier deployment's of the same id")
      : unproven("its app knows only an older deployment of this id");
  }
  if (isFinished(deployment)) return proven(`its deployment is ${deployment.state}`);
  // Its creation was repeated after an answer was lost, and Railway carried out both.
  return deployment.resources["service"] === undefined ? null : proven("its deployment has another service");
}

/** Whether the document may have dropped a deployment of that age: it drops those that ended first. */
function isForgotten(app: AppDocument, created: number): boolean {
  const ends = Object.values(app.deployments)
    .filter(isFinished)
    .map(({ stateSince }) => stateSince);
  return ends.length >= FINISHED_DEPLOYMENTS_KEPT && created <= Math.min(...ends);
}
