import { deploymentOf, type AppDocument } from "./app-document.ts";
import { counters } from "../observability/counters.ts";
import type { AppCommand, Refusal } from "./command.ts";

/** Who wants something of an app or a runner. */
export interface Author {
  /** Who: `operator`, `controller` or `janitor`. */
  actor: string;
  /** What, as the audit shows it. */
  action: string;
}

/** Steps of a rollout or a removal, which its progress shows: they carry out what was decided before. */
const STEPS: ReadonlySet<AppCommand["type"]> = new Set([
  "provisioned",
  "verified",
  "cleaned-up",
  "redeploy-provisioned",
  "redeploy-finished",
  "reload-told",
  "unroute",
]);

/**
 * One line of the Worker's log for each decision and each refusal, as JSON: what was decided about which deployment of
 * which app, and by whom. Nothing that an app or a caller wrote goes into it but names: those hold no secret.
 */
export function logDecision(
  app: AppDocument,
  command: AppCommand,
  { actor, action }: Author,
  outcome: { next: AppDocument } | { refusal: Refusal },
): void {
  if ("refusal" in outcome) {
    const deployment = "id" in command ? command.id : null;
    const { code } = outcome.refusal;
    counters.add("signalbox_decisions_total", [command.type, "refused"]);
    write({ outcome: "refused", decision: command.type, code, app: app.name, deployment, actor, action });
  } else if (!STEPS.has(command.type)) {
    const { next } = outcome;
    counters.add("signalbox_decisions_total", [command.type, "done"]);
    write({
      outcome: "done",
      decision: command.type,
      app: app.name,
      deployment: "id" in command ? command.id : next.active === app.active ? null : next.active,
      ...drained(app, next),
      ...(command.type === "retire" ? { reason: command.reason } : {}),
      ...(command.type === "fail" ? { code: command.code } : {}),
      ...(command.type === "set-canary" ? { weight: command.weight } : {}),
      actor,
      action,
      version: next.version,
    });
  }
}

/** A decision about a runner, which has no document. */
export function logRunnerDecision(decision: string, runner: string, { actor, action }: Author): void {
  write({ outcome: "done", decision, runner, actor, action });
}

/** A runner's connection began, or how it ended. What the runner says of it isn't here. */
export function logRunnerConnection(runner: string, state: string, more: Record<string, unknown> = {}): void {
  console.log(JSON.stringify({ event: "runner", runner, state, ...more }));
}

/** A build that began or is over. Its prompt and what its agent said of its end aren't here. */
export function logBuild(runner: string, build: string, project: string | null, state: string): void {
  console.log(JSON.stringify({ event: "build", runner, project, build, state }));
}

/** The last of an app: its document is gone. */
export function logAppDeleted(app: AppDocument, { actor, action }: Author): void {
  write({ outcome: "done", decision: "app-deleted", app: app.name, deployment: null, actor, action });
}

/** Deployments that the decision sent into their drain: a promote's predecessor, all that an app's deletion retires. */
function drained(before: AppDocument, next: AppDocument): { drains?: string[] } {
  const drains = Object.values(next.deployments)
    .filter(({ id, state }) => state === "draining" && deploymentOf(before, id)?.state !== "draining")
    .map(({ id }) => id);
  return drains.length === 0 ? {} : { drains };
}

function write(line: Record<string, unknown>): void {
  console.log(JSON.stringify({ event: "decision", ...line }));
}
