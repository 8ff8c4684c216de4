import type { AppDocument, Contract, Deployment } from "../apps/app-document.ts";
import { applyCommand } from "../apps/commit.ts";
import type { AppCommand } from "../apps/command.ts";
import type { SessionProbe } from "../apps/contract.ts";
import { CLEANUP_RETRY_MS, STORE_RETRY_MS, VERIFY_INTERVAL_MS } from "../protocol/limits.ts";
import type { Provider, Providers, StepOutcome } from "../providers/provider.ts";
import type { StateStore } from "../state/store.ts";
import type { Progress, StepName } from "./progress.ts";
import type { Waits } from "./waits.ts";

/** What steps need of the world. */
export interface StepParts {
  store: StateStore;
  providers: Providers;
  verify: (app: AppDocument, deployment: Deployment) => Promise<Verification>;
  tellReload: (app: AppDocument, deployment: Deployment) => Promise<{ sockets: number | null; why: string }>;
  sessionsLeft: (app: AppDocument, deployment: Deployment) => Promise<SessionProbe>;
  /** Forgets what was kept of a deployment's pages. */
  endPages: (app: AppDocument, deployment: Deployment) => Promise<void>;
  progress: Progress;
  now: () => number;
}

interface StepContext extends StepParts {
  waits: Waits;
}

/** Whether a deployment answers through the router as the one that it should be, and the contract that it keeps. */
export type Verification = { ok: true; contract: Contract } | { ok: false; why: string };

/** A provider that says "wait" is asked again after at least this, and at most the next. */
const SHORTEST_WAIT_MS = 100;
export const LONGEST_WAIT_MS = 5 * 60_000;

/**
 * Takes the one step that is due for a deployment and commits what it came to, or puts the step off. Idempotent: a step
 * that was interrupted is taken again.
 */
export async function takeStep(
  app: AppDocument,
  deployment: Deployment,
  context: StepContext,
): Promise<void> {
  const { id } = deployment;
  switch (deployment.state) {
    case "pending":
      return deployment.url === null
        ? provision(app, deployment, deployment.deadline ?? 0, context)
        : verifyPending(app, deployment, deployment.deadline ?? 0, context);
    case "ready":
      if (deployment.promoteWhenReady) return promote(app, deployment, context);
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      return commit(app, deployment, { type: "retire", id, reason: "expired" }, context);
    case "active":
      return deployment.redeploy ? redeploy(app, deployment, deployment.redeploy, context) : undefined;
    case "draining":
      if (deployment.retirement) return remove(app, deployment, deployment.retirement, context);
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      return commit(app, deployment, { type: "retire", id, reason: "deadline" }, context);
    case "failed": {
      const step = await providerOf(context, deployment).remove(deployment, app);
      if (step.status === "wait") return waitFor(step, deployment, "clean-up", Infinity, context);
      if (step.status === "failed") return backOffCleanUp(deployment, "clean-up", step.reason, context);
      return commit(app, deployment, { type: "cleaned-up", id }, context);
    }
    case "removed":
  }
}

async function provision(
  app: AppDocument,
  deployment: Deployment,
  deadline: number,
  context: StepContext,
): Promise<void> {
  const { id } = deployment;
  const failed = (code: string, reason: string): Promise<void> =>
    commit(app, deployment, { type: "fail", id, code, reason }, context, {
      step: "provision",
      status: "failed",
      detail: reason,
    });
  if (isTooLate(deployment, deadline, context)) return failed("provision_timeout", NOT_THERE_IN_TIME);
  context.progress.step(id, "provision", "started", "");
  const step = await providerOf(context, deployment).provision(
    deployment,
    app,
    context.progress.buildLog(id),
  );
  if (step.status === "wait") {
    if (context.now() >= deadline) return failed("provision_timeout", `${NOT_THERE_IN_TIME} ${step.detail}`);
    return waitFor(step, deployment, "provision", deadline, context);
  }
  if (step.status === "failed") return failed("provision_failed", step.reason);
  const command = { type: "provisioned", id, ...step.value } as const;
  return commit(app, deployment, command, context, {
    step: "provision",
    status: "done",
    detail: step.value.url,
  });
}

const NOT_THERE_IN_TIME = "The backend wasn't there in time.";

/** A deadline ends a step only after one more try: the controller may have slept through it. */
function isTooLate(deployment: Deployment, deadline: number, context: StepContext): boolean {
  return context.now() >= deadline && context.waits.until(deployment) > deadline;
}

async function verifyPending(
  app: AppDocument,
  deployment: Deployment,
  deadline: number,
  context: StepContext,
): Promise<void> {
  const { id } = deployment;
  context.progress.step(id, "verify", "started", "");
  const outcome = await verifyOnce(app, deployment, "verify", deadline, context);
  if (outcome === "waiting") return;
  if ("contract" in outcome) {
    const { contract } = outcome;
    const command = { type: "verified", id, contract } as const;
    const detail = contract === "edge" ? "contract edge" : "";
    const done = { step: "verify", status: "done", detail } as const;
    return commit(app, deployment, command, context, done);
  }
  const command = { type: "fail", id, code: "verification_failed", reason: outcome.late } as const;
  return commit(app, deployment, command, context, {
    step: "verify",
    status: "failed",
    detail: outcome.late,
  });
}

/** Asks once through the router; without success, again until the deadline. */
async function verifyOnce(
  app: AppDocument,
  deployment: Deployment,
  step: StepName,
  deadline: number,
  context: StepContext,
): Promise<"waiting" | { contract: Contract } | { late: string }> {
  const result = await context.verify(app, deployment);
  if (result.ok) return { contract: result.contract };
  if (context.now() >= deadline) return { late: `Not verified in time: ${result.why}.` };
  context.progress.step(deployment.id, step, "waiting", result.why);
  context.waits.putOff(deployment, context.now() + VERIFY_INTERVAL_MS);
  return "waiting";
}

async function promote(app: AppDocument, deployment: Deployment, context: StepContext): Promise<void> {
  const { id } = deployment;
  await commit(app, deployment, { type: "auto-promote", id }, context, (next) =>
    next.active === id
      ? { step: "promote", status: "done" }
      : { step: "promote", status: "failed", detail: "A newer deployment is active or this one is too old." },
  );
}

async function redeploy(
  app: AppDocument,
  deployment: Deployment,
  job: NonNullable<Deployment["redeploy"]>,
  context: StepContext,
): Promise<void> {
  const { id } = deployment;
  const finish = (status: "done" | "failed", detail: string): Promise<void> =>
    commit(app, deployment, { type: "redeploy-finished", id }, context, { step: "redeploy", status, detail });
  if (job.provisioned) {
    const outcome = await verifyOnce(app, deployment, "redeploy", job.deadline, context);
    if (outcome === "waiting") return;
    return "contract" in outcome ? finish("done", "") : finish("failed", outcome.late);
  }
  if (isTooLate(deployment, job.deadline, context)) return finish("failed", NOT_THERE_IN_TIME);
  context.progress.step(id, "redeploy", "started", "");
  const step = await providerOf(context, deployment).redeploy(deployment, app, context.progress.buildLog(id));
  if (step.status === "wait") {
    if (context.now() >= job.deadline) return finish("failed", `${NOT_THERE_IN_TIME} ${step.detail}`);
    return waitFor(step, deployment, "redeploy", job.deadline, context);
  }
  if (step.status === "failed") return finish("failed", step.reason);
  return commit(app, deployment, { type: "redeploy-provisioned", id, ...step.value }, context);
}

/** Tell browsers, give them time, unroute, wait until no table names it, take the backend away. */
async function remove(
  app: AppDocument,
  deployment: Deployment,
  retirement: NonNullable<Deployment["retirement"]>,
  context: StepContext,
): Promise<void> {
  const { id } = deployment;
  // A removal that began because nobody was left stops when somebody comes back, unless the whole app goes.
  const onEvidence = retirement.reason === "drained" && app.deletingSince === null;
  if (!retirement.reload) {
    if (onEvidence && (await hasReturned(app, deployment, context))) {
      return commit(app, deployment, { type: "spare", id }, context);
    }
    const { sockets, why } = await context.tellReload(app, deployment);
    const told = sockets === null ? `nobody could be told: ${why}` : `${sockets} sockets told`;
    const command = { type: "reload-told", id, sockets } as const;
    return commit(app, deployment, command, context, { step: "reload", status: "done", detail: told });
  }
  if (retirement.unroutedAt === null) {
    return commit(app, deployment, { type: "unroute", id }, context, { step: "unroute", status: "done" });
  }
  if (onEvidence && context.now() < (deployment.drainDeadline ?? 0)) {
    const probe = await context.sessionsLeft(app, deployment);
    if (probe.kind === "known" && probe.sessions > 0) {
      const reason = `${probe.sessions} sessions came back and are still there`;
      return backOffCleanUp(deployment, "remove", reason, context);
    }
  }
  const step = await providerOf(context, deployment).remove(deployment, app);
  if (step.status === "wait") return waitFor(step, deployment, "remove", Infinity, context);
  if (step.status === "failed") return backOffCleanUp(deployment, "remove", step.reason, context);
  await context.endPages(app, deployment);
  return commit(app, deployment, { type: "removed", id }, context, { step: "remove", status: "done" });
}

/** Whether somebody came back between the janitor's look and now. */
async function hasReturned(app: AppDocument, deployment: Deployment, context: StepContext): Promise<boolean> {
  const probe = await context.sessionsLeft(app, deployment);
  return probe.kind === "unknown" || probe.sessions > 0;
}

function waitFor(
  step: Extract<StepOutcome<unknown>, { status: "wait" }>,
  deployment: Deployment,
  name: StepName,
  deadline: number,
  context: StepContext,
): void {
  context.progress.step(deployment.id, name, "waiting", step.detail);
  const now = context.now();
  const until = Math.min(step.untilMs, deadline, now + LONGEST_WAIT_MS);
  context.waits.putOff(deployment, Math.max(until, now + SHORTEST_WAIT_MS));
}

/** Tries again, ever more rarely, for as long as the backend is there: no orphan stays. */
function backOffCleanUp(deployment: Deployment, step: StepName, reason: string, context: StepContext): void {
  context.progress.step(deployment.id, step, "waiting", reason);
  context.waits.backOff(deployment, context.now(), CLEANUP_RETRY_MS, LONGEST_WAIT_MS);
}

interface Outcome {
  step: StepName;
  status: "done" | "failed";
  detail?: string;
}

/**
 * Commits a step's outcome and reports it. A refusal means that the document has moved on: the next pass sees where to.
 * Where the deployment hasn't changed after all, the step backs off.
 */
async function commit(
  app: AppDocument,
  deployment: Deployment,
  command: AppCommand,
  context: StepContext,
  outcome?: Outcome | ((next: AppDocument) => Outcome),
): Promise<void> {
  const author = { actor: "controller", action: `deployment.${command.type}` };
  const result = await applyCommand(context.store, app.name, command, author, { now: context.now });
  if (result.kind !== "applied") {
    context.waits.backOff(deployment, context.now(), STORE_RETRY_MS, LONGEST_WAIT_MS);
    return;
  }
  if (outcome !== undefined) {
    const { step, status, detail = "" } = typeof outcome === "function" ? outcome(result.app) : outcome;
    context.progress.step(deployment.id, step, status, detail);
  }
  context.progress.observe(result.app);
}

function providerOf(context: StepContext, deployment: Deployment): Provider {
  return context.providers[deployment.target.kind];
}
