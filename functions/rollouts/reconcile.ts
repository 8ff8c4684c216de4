import type { BuildLog, Providers, Step } from "../providers/provider.ts";
import { StoreUnavailable, type StateStore } from "../state/store.ts";
import { CLEANUP_RETRY_MS, STORE_RETRY_MS, VERIFY_INTERVAL_MS } from "../protocol/limits.ts";
import {
  hasWork,
  isFinished,
  parseAppDocument,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import { applyCommand, commitDocument } from "../apps/commit.ts";
import type { SessionProbe } from "../apps/contract.ts";
import type { Command } from "../apps/command.ts";
import { dueTime, type Freshness } from "../apps/due.ts";
import type { Waits } from "./waits.ts";

/** What one app's reconcile works with; the controller brings the real parts. */
export interface ReconcileContext extends Freshness {
  store: StateStore;
  providers: Providers;
  verify: (app: AppDocument, deployment: Deployment) => Promise<Verification>;
  tellReload: (app: AppDocument, deployment: Deployment) => Promise<{ sockets: number | null; why: string }>;
  probeSessions: (app: AppDocument, deployment: Deployment) => Promise<SessionProbe>;
  progress: Progress;
  now: () => number;
  /** Resolves after that long, or at once when aborted. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Resolves when somebody says that the app has changed since this was called. */
  changed: () => Promise<void>;
  waits: Waits;
  /** Whether the store's last word was a failure. */
  storeIsAway: boolean;
}

/** Whether a deployment answers through the router as the one that it should be. */
export type Verification = { ok: true } | { ok: false; why: string };

export interface Progress {
  /** Called with every document that reconcile sees, so that no state goes unreported. */
  observe(app: AppDocument): void;
  step(deploymentId: string, step: StepName, status: StepStatus, detail: string): void;
  /** Where the provider's build output goes. */
  buildLog(deploymentId: string): BuildLog;
}

export type StepName =
  "provision" | "verify" | "promote" | "redeploy" | "reload" | "unroute" | "remove" | "clean-up";
export type StepStatus = "started" | "waiting" | "done" | "failed";

/** A Worker waits for six answers' headers at a time: two are left to the store, or a queued call times out unsent. */
const STEPS_AT_ONCE = 4;
/** Longer than two contract calls and the store's worst day; what takes longer hangs, and is asked again. */
const STEP_LIMIT_MS = 60_000;
/** Passes without a step to take come soon; this many in a row means that two steps undo each other. */
const PASSES_LIMIT = 1_000;
/** A provider that wants to be asked again gets a moment, and never more than this. */
const SHORTEST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5 * 60_000;

/**
 * Drives everything about an app that is due, one committed step at a time for each deployment, and says when it
 * wants to be called again (null: never, unless something changes). Idempotent: whatever was interrupted is taken up
 * from the document. A deployment whose step fails, hangs or is slow holds up no other.
 */
export async function reconcile(name: string, context: ReconcileContext): Promise<number | null> {
  const underWay = new Map<string, Promise<void>>();
  try {
    for (let pass = 0; pass < PASSES_LIMIT; pass++) {
      // Listened for before reading, so that no change falls between the two.
      const changed = context.changed();
      const busy = [...underWay.keys()];
      const stored = await context.store.readApp(name);
      if (context.storeIsAway) context.storeBackAt = context.now();
      context.storeIsAway = false;
      if (stored === null) return null;
      // What was read may be older than the commit of a step that has ended meanwhile.
      if (busy.some((id) => !underWay.has(id))) continue;
      const app = parseAppDocument(stored.body);
      context.progress.observe(app);
      context.waits.keep(app.deployments);
      if (app.deletingSince !== null && Object.values(app.deployments).every(isFinished)) {
        await forget(app, context);
        continue;
      }
      const idle = Object.values(app.deployments)
        .filter((deployment) => hasWork(deployment) && !underWay.has(deployment.id))
        .map((deployment) => ({ deployment, at: wakeTime(app, deployment, context) }))
        // Of two that are due the newer is the more wanted; the older has most likely been tried before.
        .sort((one, other) => one.at - other.at || other.deployment.sequence - one.deployment.sequence);
      const now = context.now();
      const due = idle.filter(({ at }) => at <= now).slice(0, STEPS_AT_ONCE - underWay.size);
      for (const { deployment } of due) {
        const step = attempt(app, deployment, context).finally(() => underWay.delete(deployment.id));
        underWay.set(deployment.id, step);
      }
      if (underWay.size === 0) return idle[0]?.at ?? null;
      const next = idle.find(({ at }) => at > now)?.at ?? Infinity;
      await firstOf([...underWay.values(), changed], next, context);
    }
    return context.now() + STORE_RETRY_MS;
  } catch (error) {
    if (error instanceof StoreUnavailable) context.storeIsAway = true;
    throw error;
  } finally {
    // Whoever calls next must find no step of this call still at work.
    await Promise.all(underWay.values());
  }
}

/** When the next step of a deployment may be taken; in the past or now means: now. */
function wakeTime(app: AppDocument, deployment: Deployment, context: ReconcileContext): number {
  return Math.max(dueTime(app, deployment, context), context.waits.until(deployment));
}

/** Takes the one step that is due for a deployment. Never throws and never hangs: what did is tried again later. */
async function attempt(app: AppDocument, deployment: Deployment, context: ReconcileContext): Promise<void> {
  let over = false;
  const putOff = (why: string): void => {
    console.error(`A step of deployment ${deployment.id} of app ${app.name} is put off: ${why}`);
    context.waits.backOff(deployment, context.now(), STORE_RETRY_MS, LONGEST_WAIT_MS);
  };
  const step = advance(app, deployment, context)
    .catch((error: unknown) => {
      if (error instanceof StoreUnavailable) context.storeIsAway = true;
      putOff(error instanceof Error ? error.message : "unknown error");
    })
    .finally(() => {
      over = true;
    });
  await firstOf([step], context.now() + STEP_LIMIT_MS, context);
  if (!over) putOff("it hangs");
}

async function advance(app: AppDocument, deployment: Deployment, context: ReconcileContext): Promise<void> {
  const { id } = deployment;
  switch (deployment.state) {
    case "pending":
      return deployment.url === null
        ? provision(app, deployment, deployment.deadline ?? 0, context)
        : verifyPending(app, deployment, deployment.deadline ?? 0, context);
    case "ready":
      if (deployment.promoteWhenReady) return promote(app, deployment, context);
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      return apply(app, deployment, { type: "retire", id, reason: "expired" }, context);
    case "active":
      return deployment.redeploy ? redeploy(app, deployment, deployment.redeploy, context) : undefined;
    case "draining":
      if (deployment.retirement) return remove(app, deployment, deployment.retirement, context);
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      return apply(app, deployment, { type: "retire", id, reason: "deadline" }, context);
    case "failed": {
      const step = await providerOf(context, deployment).remove(deployment, app);
      if (step.status === "wait") return waitFor(step, deployment, "clean-up", Infinity, context);
      if (step.status === "failed") return retryCleanUp(deployment, "clean-up", step.reason, context);
      return apply(app, deployment, { type: "cleaned-up", id }, context);
    }
    case "removed":
  }
}

async function provision(
  app: AppDocument,
  deployment: Deployment,
  deadline: number,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  const failed = (code: string, reason: string): Promise<void> =>
    apply(app, deployment, { type: "fail", id, code, reason }, context, {
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
  return apply(app, deployment, command, context, {
    step: "provision",
    status: "done",
    detail: step.value.url,
  });
}

const NOT_THERE_IN_TIME = "The backend wasn't there in time.";

/** A deadline ends a step only after one more try, so that a controller that slept through it is fair. */
function isTooLate(deployment: Deployment, deadline: number, context: ReconcileContext): boolean {
  return context.now() >= deadline && context.waits.until(deployment) > deadline;
}

async function verifyPending(
  app: AppDocument,
  deployment: Deployment,
  deadline: number,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  context.progress.step(id, "verify", "started", "");
  const outcome = await lookAt(app, deployment, "verify", deadline, context);
  if (outcome === "waiting") return;
  if (outcome === "verified") {
    return apply(app, deployment, { type: "verified", id }, context, { step: "verify", status: "done" });
  }
  const command = { type: "fail", id, code: "verification_failed", reason: outcome.late } as const;
  return apply(app, deployment, command, context, { step: "verify", status: "failed", detail: outcome.late });
}

/** One look through the router; one that didn't find the deployment is repeated until the deadline. */
async function lookAt(
  app: AppDocument,
  deployment: Deployment,
  step: StepName,
  deadline: number,
  context: ReconcileContext,
): Promise<"verified" | "waiting" | { late: string }> {
  const result = await context.verify(app, deployment);
  if (result.ok) return "verified";
  if (context.now() >= deadline) return { late: `Not verified in time: ${result.why}.` };
  context.progress.step(deployment.id, step, "waiting", result.why);
  context.waits.putOff(deployment, context.now() + VERIFY_INTERVAL_MS);
  return "waiting";
}

async function promote(app: AppDocument, deployment: Deployment, context: ReconcileContext): Promise<void> {
  const { id } = deployment;
  await apply(app, deployment, { type: "auto-promote", id }, context, (next) =>
    next.active === id
      ? { step: "promote", status: "done" }
      : { step: "promote", status: "failed", detail: "A newer deployment is active or this one is too old." },
  );
}

async function redeploy(
  app: AppDocument,
  deployment: Deployment,
  job: NonNullable<Deployment["redeploy"]>,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  const finish = (status: "done" | "failed", detail: string): Promise<void> =>
    apply(app, deployment, { type: "redeploy-finished", id }, context, { step: "redeploy", status, detail });
  if (job.provisioned) {
    const outcome = await lookAt(app, deployment, "redeploy", job.deadline, context);
    if (outcome === "waiting") return;
    return outcome === "verified" ? finish("done", "") : finish("failed", outcome.late);
  }
  if (isTooLate(deployment, job.deadline, context)) return finish("failed", NOT_THERE_IN_TIME);
  context.progress.step(id, "redeploy", "started", "");
  const step = await providerOf(context, deployment).redeploy(deployment, app, context.progress.buildLog(id));
  if (step.status === "wait") {
    if (context.now() >= job.deadline) return finish("failed", `${NOT_THERE_IN_TIME} ${step.detail}`);
    return waitFor(step, deployment, "redeploy", job.deadline, context);
  }
  if (step.status === "failed") return finish("failed", step.reason);
  return apply(app, deployment, { type: "redeploy-provisioned", id, ...step.value }, context);
}

/** Tell browsers, give them time, unroute, wait until no table names it, take the backend away. */
async function remove(
  app: AppDocument,
  deployment: Deployment,
  retirement: NonNullable<Deployment["retirement"]>,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  // What only the count of sessions has begun, the count of sessions can stop; an app's deletion spares nobody.
  const onEvidence = retirement.reason === "drained" && app.deletingSince === null;
  if (!retirement.reload) {
    if (onEvidence && (await hasReturned(app, deployment, context))) {
      return apply(app, deployment, { type: "spare", id }, context);
    }
    const { sockets, why } = await context.tellReload(app, deployment);
    const told = sockets === null ? `nobody could be told: ${why}` : `${sockets} sockets told`;
    const command = { type: "reload-told", id, sockets } as const;
    return apply(app, deployment, command, context, { step: "reload", status: "done", detail: told });
  }
  if (retirement.unroutedAt === null) {
    return apply(app, deployment, { type: "unroute", id }, context, { step: "unroute", status: "done" });
  }
  if (onEvidence && context.now() < (deployment.drainDeadline ?? 0)) {
    const probe = await context.probeSessions(app, deployment);
    if (probe.kind === "known" && probe.sessions > 0) {
      const reason = `${probe.sessions} sessions came back and are still there`;
      return retryCleanUp(deployment, "remove", reason, context);
    }
  }
  const step = await providerOf(context, deployment).remove(deployment, app);
  if (step.status === "wait") return waitFor(step, deployment, "remove", Infinity, context);
  if (step.status === "failed") return retryCleanUp(deployment, "remove", step.reason, context);
  return apply(app, deployment, { type: "removed", id }, context, { step: "remove", status: "done" });
}

/** Whether somebody came back between the janitor's look and now. */
async function hasReturned(
  app: AppDocument,
  deployment: Deployment,
  context: ReconcileContext,
): Promise<boolean> {
  const probe = await context.probeSessions(app, deployment);
  return probe.kind === "unknown" || probe.sessions > 0;
}

function waitFor(
  step: Extract<Step<unknown>, { status: "wait" }>,
  deployment: Deployment,
  name: StepName,
  deadline: number,
  context: ReconcileContext,
): void {
  context.progress.step(deployment.id, name, "waiting", step.detail);
  const now = context.now();
  const until = Math.min(step.untilMs, deadline, now + LONGEST_WAIT_MS);
  context.waits.putOff(deployment, Math.max(until, now + SHORTEST_WAIT_MS));
}

/** A backend that can't be taken away yet is tried again for as long as it is there: nothing is left behind. */
function retryCleanUp(
  deployment: Deployment,
  step: StepName,
  reason: string,
  context: ReconcileContext,
): void {
  context.progress.step(deployment.id, step, "waiting", reason);
  context.waits.backOff(deployment, context.now(), CLEANUP_RETRY_MS, LONGEST_WAIT_MS);
}

interface Outcome {
  step: StepName;
  status: "done" | "failed";
  detail?: string;
}

/**
 * Commits what a step came to and reports it. A refusal means that the document has moved on, and the next pass sees
 * where to; should the deployment be as it was all the same, the step isn't tried again at once.
 */
async function apply(
  app: AppDocument,
  deployment: Deployment,
  command: Command,
  context: ReconcileContext,
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

/** The last step of an app's deletion. Where somebody else wrote meanwhile, the next pass looks again. */
async function forget(app: AppDocument, context: ReconcileContext): Promise<void> {
  const author = { actor: "controller", action: "app.deleted" };
  const options = { author, details: {}, isDefault: false, deletes: true };
  await commitDocument(context.store, { ...app, updatedAt: context.now() }, app.version, options);
}

function providerOf(context: ReconcileContext, deployment: Deployment): Providers["url"] {
  return context.providers[deployment.target.kind];
}

/** Resolves when the first of them does, or at a time, and leaves no timer behind. */
async function firstOf(
  happenings: Promise<unknown>[],
  time: number,
  context: ReconcileContext,
): Promise<void> {
  const done = new AbortController();
  const ms = Math.min(time - context.now(), LONGEST_WAIT_MS);
  const timer = time === Infinity ? [] : [context.sleep(ms, done.signal)];
  try {
    await Promise.race([...happenings, ...timer]);
  } finally {
    done.abort();
  }
}
