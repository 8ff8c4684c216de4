import { DEPLOYMENT_ID_PATTERN, SLUG_PATTERN } from "../protocol/limits.ts";

/** One deployment of an app, by the host that it has of its own. */
export interface DeploymentHost {
  id: string;
  app: string;
}

/**
 * `ID--NAME` below the apps' domain. The first two hyphens end the id, so an app's name may have two in it; an id that
 * has two, or ends in one, has no host. An app that is itself called `ID--NAME` is looked for before.
 */
export function deploymentHostOf(label: string): DeploymentHost | null {
  const at = label.indexOf("--");
  const id = label.slice(0, Math.max(at, 0));
  const app = label.slice(at + 2);
  return DEPLOYMENT_ID_PATTERN.test(id) && SLUG_PATTERN.test(app) ? { id, app } : null;
}

/** Stands for a host in the tables, where the app's own hosts don't matter. No app can list it. */
export function tableKeyOf({ app }: DeploymentHost): string {
  return `--.${app}`;
}
