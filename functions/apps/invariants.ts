import { deploymentOf, isRoutable, type AppDocument } from "./app-document.ts";

/** What must hold of every document; the text of each violation. Checked before each write. */
export function violations(app: AppDocument): string[] {
  const found: string[] = [];
  const all = Object.values(app.deployments);
  const active = all.filter((deployment) => deployment.state === "active");
  if (active.length > 1) found.push(`${active.length} deployments are active`);
  if ((active[0]?.id ?? null) !== app.active) {
    found.push(`active is ${app.active} but ${active[0]?.id ?? "none"} is`);
  }
  if (app.canary && deploymentOf(app, app.canary.id)?.state !== "ready") found.push("the canary isn't ready");
  const previous = deploymentOf(app, app.previous?.id);
  if (app.previous && !(previous && isRoutable(previous)))
    found.push("the previous deployment isn't routable");
  if (app.previous && app.previous.id === app.active) found.push("the previous deployment is the active one");
  if (app.minimum && app.active) {
    const sequence = deploymentOf(app, app.active)?.sequence ?? 0;
    if (sequence < app.minimum.sequence) found.push("the active deployment is older than the minimum");
  }
  for (const [id, deployment] of Object.entries(app.deployments)) {
    if (id !== deployment.id) found.push(`${id} is filed under another id`);
    if (deployment.state === "active" && deployment.retirement) found.push(`${id} is active and retiring`);
    if ((deployment.state === "draining") !== (deployment.drainDeadline !== null)) {
      found.push(`${id} is ${deployment.state} with drain deadline ${deployment.drainDeadline}`);
    }
    const aging = deployment.state === "pending" || deployment.state === "ready";
    if (aging && deployment.deadline === null) found.push(`${id} is ${deployment.state} without a deadline`);
    if (deployment.state === "failed" && !deployment.failure) found.push(`${id} failed without a reason`);
    if (deployment.sequence >= app.nextSequence) found.push(`${id} has a sequence from the future`);
  }
  return found;
}
