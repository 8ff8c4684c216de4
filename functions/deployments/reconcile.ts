import type { Providers, Step } from "../providers/provider.ts";
import type { StateStore } from "../state/store.ts";
import { CLEANUP_RETRY_MS, STORE_RETRY_MS, VERIFY_INTERVAL_MS } from "../protocol/limits.ts";
import { hasWork, isFinished, parseAppDocument, type AppDocument, type Deployment } from "./app-document.ts";
import { applyCommand, commitDocument } from "./commit.ts";
import type { SessionProbe } from "./contract.ts";
import type { Command } from "./lifecycle.ts";
import type { Verification } from "./verify.ts";

/** What one app's reconcile works with; the controller brings the real parts. */
export interface ReconcileContext {
  store: StateStore;
  providers: Providers;
  verify: (app: AppDocument, deployment: Deployment) => Promise<Verification>;
  tellReload: (app: AppDocument, deployment: Deployment) => Promise<{ sockets: number | null; why: string }>;
  probeSessions: (app: AppDocument, deployment: Deployment) => Promise<SessionProbe>;
  /** How long after unrouting some location may still hold a table that names the deployment. */
  tableAgeLimitMs: number;
  progress: Progress;
  now: () => number;
  /** When each deployment's waiting step may be tried again. Lost with the process, which only means: now. */
  notBefore: Map<string, number>;
}

export interface Progress {
  /** Called with every document that reconcile sees, so that no state goes unreported. */
  observe(app: AppDocument): void;
  step(
    deploymentId: string,
    step: StepName,
    status: "started" | "waiting" | "done" | "failed",
    detail: string,
  ): void;
}

export type StepName =
  "provision" | "verify" | "promote" | "redeploy" | "reload" | "unroute" | "remove" | "clean-up";

/** Passes without a step to take come soon; this many in a row means that two steps undo each other. */
const PASSES_LIMIT = 200;

/**
 * Drives everything about an app that is due, one committed step at a time, and says when it wants to be called
 * again (null: never, unless something changes). Idempotent: whatever was interrupted is taken up from the document.
 */
export async function reconcile(name: string, context: ReconcileContext): Promise<number | null> {
  for (let pass = 0; pass < PASSES_LIMIT; pass++) {
    const stored = await context.store.readApp(name);
    if (stored === null) return null;
    const app = parseAppDocument(stored.body);
    context.progress.observe(app);
    if (app.deletingSince !== null && Object.values(app.deployments).every(isFinished)) {
      const author = { actor: "controller", action: "app.deleted" };
      await commitDocument(context.store, app, app.version, {
        author,
        details: {},
        isDefault: false,
        deletes: true,
      });
      continue;
    }
    const due = Object.values(app.deployments).filter(
      (deployment) => hasWork(deployment) && wakeTime(app, deployment, context) <= context.now(),
    );
    if (due.length === 0) {
      const times = Object.values(app.deployments)
        .filter(hasWork)
        .map((deployment) => wakeTime(app, deployment, context));
      return times.length === 0 ? null : Math.min(...times);
    }
    await Promise.all(due.map((deployment) => advance(app, deployment, context)));
  }
  return context.now() + STORE_RETRY_MS;
}

/** When the next step of a deployment is due; in the past or now means: now. */
function wakeTime(app: AppDocument, deployment: Deployment, context: ReconcileContext): number {
  return Math.max(dueTime(app, deployment, context), context.notBefore.get(deployment.id) ?? 0);
}

function dueTime(app: AppDocument, deployment: Deployment, context: ReconcileContext): number {
  const { retirement } = deployment;
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
      if (retirement.unroutedAt === null) return graceEnd(app, retirement.reload);
      return retirement.unroutedAt + context.tableAgeLimitMs;
    case "removed":
      return Infinity;
  }
}

/** Where nobody was told, nobody needs time to leave; a lost answer may have been told all the same. */
function graceEnd(app: AppDocument, reload: { at: number; sockets: number | null }): number {
  const nobody = reload.sockets === 0 || app.config.contract === "none";
  return nobody ? reload.at : reload.at + app.config.reloadGraceSeconds * 1_000;
}

/** Takes the one step that is due for a deployment. */
async function advance(app: AppDocument, deployment: Deployment, context: ReconcileContext): Promise<void> {
  const { id } = deployment;
  switch (deployment.state) {
    case "pending":
      return deployment.url === null
        ? provision(app, deployment, context)
        : verifyPending(app, deployment, deployment.deadline ?? 0, context);
    case "ready":
      if (deployment.promoteWhenReady) {
        await apply(app.name, { type: "auto-promote", id }, context);
        context.progress.step(id, "promote", "done", "");
        return;
      }
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      await apply(app.name, { type: "retire", id, reason: "expired" }, context);
      return;
    case "active":
      if (deployment.redeploy) await redeploy(app, deployment, deployment.redeploy, context);
      return;
    case "draining":
      if (deployment.retirement) return remove(app, deployment, deployment.retirement, context);
      if (deployment.redeploy) return redeploy(app, deployment, deployment.redeploy, context);
      await apply(app.name, { type: "retire", id, reason: "deadline" }, context);
      return;
    case "failed": {
      const step = await providerOf(context, deployment).remove(deployment, app);
      if (waits(step, deployment, "clean-up", context)) return;
      if (step.status === "failed") return retryCleanUp(id, "clean-up", step.reason, context);
      await apply(app.name, { type: "cleaned-up", id }, context);
      return;
    }
    case "removed":
  }
}

async function provision(app: AppDocument, deployment: Deployment, context: ReconcileContext): Promise<void> {
  const { id } = deployment;
  if (context.now() > (deployment.deadline ?? 0)) {
    return fail(app, id, "provision", "provision_timeout", "The backend wasn't there in time.", context);
  }
  context.progress.step(id, "provision", "started", "");
  const step = await providerOf(context, deployment).provision(deployment, app);
  if (waits(step, deployment, "provision", context)) return;
  if (step.status === "failed") return fail(app, id, "provision", "provision_failed", step.reason, context);
  await apply(app.name, { type: "provisioned", id, ...step.value }, context);
  context.progress.step(id, "provision", "done", step.value.url);
}

async function verifyPending(
  app: AppDocument,
  deployment: Deployment,
  deadline: number,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  context.progress.step(id, "verify", "started", "");
  const result = await context.verify(app, deployment);
  if (result.ok) {
    await apply(app.name, { type: "verified", id }, context);
    context.progress.step(id, "verify", "done", "");
    return;
  }
  // The deadline ends it only after one more try, so that a controller that slept through it is fair.
  if (context.now() >= deadline) {
    return fail(app, id, "verify", "verification_failed", `Not verified in time: ${result.why}.`, context);
  }
  context.progress.step(id, "verify", "waiting", result.why);
  context.notBefore.set(id, context.now() + VERIFY_INTERVAL_MS);
}

async function redeploy(
  app: AppDocument,
  deployment: Deployment,
  job: NonNullable<Deployment["redeploy"]>,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  const finish = async (status: "done" | "failed", detail: string): Promise<void> => {
    await apply(app.name, { type: "redeploy-finished", id }, context);
    context.progress.step(id, "redeploy", status, detail);
  };
  if (job.provisioned) {
    const result = await context.verify(app, deployment);
    if (result.ok) return finish("done", "");
    if (context.now() >= job.deadline) return finish("failed", `Not verified in time: ${result.why}.`);
    context.progress.step(id, "redeploy", "waiting", result.why);
    context.notBefore.set(id, context.now() + VERIFY_INTERVAL_MS);
    return;
  }
  if (context.now() > job.deadline) return finish("failed", "The backend wasn't there in time.");
  context.progress.step(id, "redeploy", "started", "");
  const step = await providerOf(context, deployment).redeploy(deployment, app);
  if (waits(step, deployment, "redeploy", context)) return;
  if (step.status === "failed") return finish("failed", step.reason);
  await apply(app.name, { type: "redeploy-provisioned", id, ...step.value }, context);
}

/** Tell browsers, give them time, unroute, wait until no table names it, take the backend away. */
async function remove(
  app: AppDocument,
  deployment: Deployment,
  retirement: NonNullable<Deployment["retirement"]>,
  context: ReconcileContext,
): Promise<void> {
  const { id } = deployment;
  if (!retirement.reload) {
    if (retirement.reason === "drained" && (await hasReturned(app, deployment, context))) {
      await apply(app.name, { type: "spare", id }, context);
      return;
    }
    const { sockets, why } = await context.tellReload(app, deployment);
    await apply(app.name, { type: "reload-told", id, sockets }, context);
    const told = sockets === null ? `nobody could be told: ${why}` : `${sockets} sockets told`;
    context.progress.step(id, "reload", "done", told);
    return;
  }
  if (retirement.unroutedAt === null) {
    await apply(app.name, { type: "unroute", id }, context);
    context.progress.step(id, "unroute", "done", "");
    return;
  }
  const step = await providerOf(context, deployment).remove(deployment, app);
  if (waits(step, deployment, "remove", context)) return;
  if (step.status === "failed") return retryCleanUp(id, "remove", step.reason, context);
  await apply(app.name, { type: "removed", id }, context);
  context.progress.step(id, "remove", "done", "");
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

function waits(
  step: Step<unknown>,
  deployment: Deployment,
  name: StepName,
  context: ReconcileContext,
): step is Extract<Step<unknown>, { status: "wait" }> {
  if (step.status !== "wait") return false;
  context.progress.step(deployment.id, name, "waiting", step.detail);
  context.notBefore.set(deployment.id, step.untilMs);
  return true;
}

async function fail(
  app: AppDocument,
  id: string,
  step: StepName,
  code: string,
  reason: string,
  context: ReconcileContext,
): Promise<void> {
  context.progress.step(id, step, "failed", reason);
  await apply(app.name, { type: "fail", id, code, reason }, context);
}

/** A backend that can't be taken away yet is tried again for as long as it is there: nothing is left behind. */
function retryCleanUp(id: string, step: StepName, reason: string, context: ReconcileContext): void {
  context.progress.step(id, step, "waiting", reason);
  context.notBefore.set(id, context.now() + CLEANUP_RETRY_MS);
}

/** A refusal means that the document moved on meanwhile; the next pass sees where to. */
async function apply(name: string, command: Command, context: ReconcileContext): Promise<void> {
  const author = { actor: "controller", action: `deployment.${command.type}` };
  const result = await applyCommand(context.store, name, command, author, { now: context.now });
  if ("id" in command && command.id !== null) context.notBefore.delete(command.id);
  if (result.kind === "applied") context.progress.observe(result.app);
}

function providerOf(context: ReconcileContext, deployment: Deployment): Providers["url"] {
  return context.providers[deployment.target.kind];
}
