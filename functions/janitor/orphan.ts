import { deploymentOf, isFinished, type AppDocument } from "../apps/app-document.ts";
import { FINISHED_DEPLOYMENTS_KEPT } from "../protocol/limits.ts";
import { createdMark, type ServiceMark } from "../providers/railway/service.ts";

/** An app's document, or when the app of that name was deleted last; null: nobody knows of it. */
export type Known = { app: AppDocument } | { app: null; deletedAt: number | null };

/** `isProven`: it was seen to be over, and isn't just missing, as from a store that was brought back from a copy. */
export interface Orphan {
  why: string;
  isProven: boolean;
}

/**
 * Why a service that bears our mark is nobody's any more; null: it is somebody's, or its app's own reconcile is about
 * to take it away. What is over stays over: no deployment comes back from being finished, and none is made again with
 * the same time of creation.
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
  // Its creation was repeated after an answer was lost, and both came true.
  return deployment.resources["service"] === undefined ? null : proven("its deployment has another service");
}

/** Whether the document may have dropped one that was created then: it does so only with those that ended first. */
function isForgotten(app: AppDocument, created: number): boolean {
  const ends = Object.values(app.deployments)
    .filter(isFinished)
    .map(({ stateSince }) => stateSince);
  return ends.length >= FINISHED_DEPLOYMENTS_KEPT && created <= Math.min(...ends);
}
