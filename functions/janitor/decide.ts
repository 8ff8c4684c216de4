import type { AppDocument, Deployment } from "../apps/app-document.ts";
import type { SessionProbe } from "../apps/contract.ts";
import type { Decision } from "./report.ts";

/**
 * What the janitor does about one draining deployment, and why. Only a backend's own clear word that nobody is
 * there ends a drain before its deadline.
 */
export function decide(app: AppDocument, deployment: Deployment, probe: SessionProbe, now: number): Decision {
  const decision = (action: Decision["action"], reason: Decision["reason"], detail: string): Decision => ({
    app: app.name,
    deployment: deployment.id,
    action,
    reason,
    detail,
    ...(probe.kind === "known" ? { sessions: probe.sessions } : {}),
  });
  if (deployment.state !== "draining" || deployment.drainDeadline === null) {
    return decision("keep", "no_longer_draining", `it is ${deployment.state}`);
  }
  if (deployment.retirement) return decision("keep", "already_retiring", "its removal is under way");
  if (now >= deployment.drainDeadline) {
    return decision(
      "delete",
      "deadline_passed",
      `the drain ended at ${new Date(deployment.drainDeadline).toISOString()}`,
    );
  }
  if (app.previous?.id === deployment.id && now < app.previous.retainUntil) {
    return decision("keep", "kept_for_rollback", `until ${new Date(app.previous.retainUntil).toISOString()}`);
  }
  if (probe.kind === "unknown") return decision("keep", "sessions_unknown", probe.why);
  if (probe.sessions > 0) return decision("keep", "live_sessions", `${probe.sessions} live`);
  return decision("delete", "no_sessions", "the backend counts no live session");
}
