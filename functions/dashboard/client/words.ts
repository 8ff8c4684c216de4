import type { App, Deployment, Target } from "./api-types.ts";
import { duration } from "./parts/since.tsx";

/** Sentences about apps that several views say. */

export function whereOf(target: Target): string {
  switch (target.kind) {
    case "url":
      return target.url;
    case "runner":
      return `runner ${target.runnerId ?? "not chosen yet"}`;
    case "railway":
      return `Railway: ${target.image ?? target.repo?.repo ?? "an upload"}`;
  }
}

export function liveDeployments(app: App): Deployment[] {
  return app.deployments.filter(({ state }) => state !== "failed" && state !== "removed");
}

export function seconds(count: number): string {
  return duration(count * 1_000);
}

export function promoteSays(app: App, id: string): string {
  if (app.active === null) return `New visitors get ${id} from now on.`;
  return (
    `New visitors get ${id} from now on. Pages that are open stay on ${app.active}, which drains: it is deleted once nobody ` +
    `is on it, at the latest in ${seconds(app.drainTtlSeconds)}, and until then you can roll back to it.`
  );
}

export function rollbackSays(app: App, id: string): string {
  return `New visitors get ${id} again, at once. Pages that are open on ${app.active ?? "the active one"} stay there while it drains.`;
}

export function deleteSays(app: App, { id, state }: Deployment): string {
  if (state === "pending") return `The rollout of ${id} ends, and what it has made so far is deleted.`;
  if (state === "failed") return `${id} leaves the list. What it made is deleted already, or will be.`;
  return (
    `Pages that are open on ${id} are told to reload and get another version. ${seconds(app.reloadGraceSeconds)} later ` +
    `${id} takes no more requests, and its backend is deleted. That can't be undone.`
  );
}

export function redeploySays(id: string): string {
  return `Builds ${id} again under the same id. Visitors stay on it: they are served by the new build once it is up.`;
}

export function minimumSays(id: string): string {
  return `Every version older than ${id} is cut off at once, whatever its state: its pages are told to reload. Use it for a security fix.`;
}
