// Over 400 lines on purpose: every transition of an app stands in this one file, so that they can be read against each other.

import {
  APP_DOCUMENT_LIMIT_BYTES,
  FINISHED_DEPLOYMENTS_KEPT,
  LIVE_DEPLOYMENTS_LIMIT,
  PROVISIONED_LIMIT_BYTES,
  PROVISION_LIMIT_MS,
} from "../protocol/limits.ts";
import {
  deploymentOf,
  isFinished,
  isRoutable,
  type AppDocument,
  type Deployment,
  type DeploymentState,
} from "./app-document.ts";
import type { AppCommand, Refusal, RefusalCode, Transition } from "./command.ts";

/** Carries out one command on a document, or refuses it. Never changes its argument. */
export function transition(app: AppDocument, command: AppCommand, now: number): Transition {
  const draft = structuredClone(app);
  const refusal = apply(draft, command, now);
  if (refusal) return { ok: false, refusal };
  forgetOldest(draft);
  draft.version = app.version + 1;
  draft.updatedAt = now;
  const tooLarge = sizeRefusal(app, draft, command);
  return tooLarge ? { ok: false, refusal: tooLarge } : { ok: true, app: draft };
}

/**
 * Only what adds is refused for its size: an app at its limit can still be paused, drained, rolled back and deleted, and
 * what was accepted goes on to its end. The little that such commands add has room up to the store's own limit.
 */
function sizeRefusal(app: AppDocument, draft: AppDocument, command: AppCommand): Refusal | undefined {
  switch (command.type) {
    case "create":
    case "configure": {
      const size = sizeBytes(draft);
      if (size <= APP_DOCUMENT_LIMIT_BYTES || size <= sizeBytes(app)) return undefined;
      const remedy = "Delete deployments, or give them fewer or shorter variables.";
      return refuse(
        "app_too_large",
        `App ${app.name} would grow to ${size} bytes, past ${APP_DOCUMENT_LIMIT_BYTES}. ${remedy}`,
      );
    }
    case "provisioned":
    case "redeploy-provisioned": {
      const { id, url, resources } = command;
      if (sizeBytes({ url, resources }) <= PROVISIONED_LIMIT_BYTES) return undefined;
      return refuse(
        "app_too_large",
        `Deployment ${id} of app ${app.name} came with more than ${PROVISIONED_LIMIT_BYTES} bytes of address and resources.`,
      );
    }
    default:
      return undefined;
  }
}

function sizeBytes(value: unknown): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

function apply(app: AppDocument, command: AppCommand, now: number): Refusal | undefined {
  if (app.deletingSince !== null && !allowedWhileDeleting(command)) {
    return refuse("app_deleting", `App ${app.name} is being deleted.`);
  }
  switch (command.type) {
    case "configure":
      app.config = command.config;
      return undefined;
    case "create":
      return create(app, command, now);
    case "rollback":
      return rollback(app, now);
    case "clear-canary":
      if (!app.canary) return refuse("no_canary", `App ${app.name} has no canary.`);
      app.canary = null;
      return undefined;
    case "pause": {
      const { mode, message, retryAfterSeconds, maxHoldSeconds } = command;
      const { paused } = app;
      const sameWords = paused?.mode === mode && paused.message === message;
      const sameTimes =
        paused?.retryAfterSeconds === retryAfterSeconds && paused.maxHoldSeconds === maxHoldSeconds;
      if (sameWords && sameTimes) {
        return refuse("already_paused", `App ${app.name} is paused in this way already.`);
      }
      app.paused = { mode, message, retryAfterSeconds, maxHoldSeconds, since: paused?.since ?? now };
      return undefined;
    }
    case "resume":
      if (!app.paused) return refuse("not_paused", `App ${app.name} isn't paused.`);
      app.paused = null;
      return undefined;
    case "set-minimum":
      return setMinimum(app, command.id);
    case "delete-app":
      app.deletingSince = now;
      app.canary = null;
      app.previous = null;
      app.minimum = null;
      if (app.active) startDraining(app, app.active, now);
      app.active = null;
      for (const deployment of Object.values(app.deployments)) {
        if (deployment.state === "pending") fail(deployment, "app_deleted", "The app was deleted.", now);
        else if (deployment.state === "ready" || deployment.state === "draining") {
          retire(app, deployment, "app-deleted", now);
        }
      }
      return undefined;
    default: {
      const deployment = deploymentOf(app, command.id);
      if (!deployment) {
        return refuse("unknown_deployment", `App ${app.name} has no deployment ${command.id}.`);
      }
      return applyTo(app, deployment, command, now);
    }
  }
}

type DeploymentCommand = Exclude<
  Extract<AppCommand, { id: string }>,
  { type: "create" } | { type: "set-minimum" }
>;

function applyTo(
  app: AppDocument,
  deployment: Deployment,
  command: DeploymentCommand,
  now: number,
): Refusal | undefined {
  const { id } = deployment;
  switch (command.type) {
    case "provisioned":
      if (deployment.state !== "pending" || deployment.url !== null)
        return wrongState(deployment, "provisioned");
      deployment.url = command.url;
      deployment.resources = command.resources;
      deployment.deadline = now + app.config.verifyTimeoutSeconds * 1_000;
      return undefined;
    case "verified":
      if (deployment.state !== "pending" || deployment.url === null)
        return wrongState(deployment, "verified");
      enter(deployment, "ready", now);
      deployment.contract = command.contract;
      deployment.deadline = now + app.config.readyTtlSeconds * 1_000;
      return undefined;
    case "fail":
      if (deployment.state !== "pending") return wrongState(deployment, "failed");
      fail(deployment, command.code, command.reason, now);
      return undefined;
    case "cleaned-up":
      if (deployment.state !== "failed" || deployment.cleanedUp) return wrongState(deployment, "cleaned up");
      deployment.cleanedUp = true;
      return undefined;
    case "promote":
      return promote(app, deployment, now);
    case "auto-promote": {
      if (!deployment.promoteWhenReady) return wrongState(deployment, "promoted by itself");
      const active = deploymentOf(app, app.active);
      deployment.promoteWhenReady = false;
      // Two rollouts at once: the newer wins whichever is ready first; the older stays ready, promotable by hand.
      if (active && active.sequence > deployment.sequence) return undefined;
      if (app.minimum && deployment.sequence < app.minimum.sequence) return undefined;
      return promote(app, deployment, now);
    }
    case "redeploy":
      if (deployment.redeploy) {
        return refuse("redeploy_in_progress", `Deployment ${id} is being redeployed already.`);
      }
      if (!isRoutable(deployment))
        return wrongState(deployment, "redeployed; create a new deployment instead");
      deployment.redeploy = { requestedAt: now, deadline: now + PROVISION_LIMIT_MS, provisioned: false };
      return undefined;
    case "redeploy-provisioned":
      if (!deployment.redeploy || deployment.redeploy.provisioned)
        return wrongState(deployment, "redeployed");
      deployment.url = command.url;
      deployment.resources = command.resources;
      deployment.redeploy.provisioned = true;
      deployment.redeploy.deadline = now + app.config.verifyTimeoutSeconds * 1_000;
      return undefined;
    case "redeploy-finished":
      if (!deployment.redeploy) return wrongState(deployment, "finished redeploying");
      deployment.redeploy = null;
      return undefined;
    case "set-canary":
      return setCanary(app, deployment, command.weight, now);
    case "retire":
      return requestRetirement(app, deployment, command.reason, now);
    case "spare":
      if (deployment.retirement?.reason !== "drained" || deployment.retirement.reload) {
        return wrongState(deployment, "spared");
      }
      deployment.retirement = null;
      return undefined;
    case "reload-told":
      if (!deployment.retirement || deployment.retirement.reload)
        return wrongState(deployment, "told to reload");
      deployment.retirement.reload = { at: now, sockets: command.sockets };
      return undefined;
    case "unroute":
      if (!deployment.retirement?.reload || deployment.retirement.unroutedAt !== null) {
        return wrongState(deployment, "unrouted");
      }
      deployment.retirement.unroutedAt = now;
      if (app.previous?.id === id) app.previous = null;
      return undefined;
    case "removed":
      if (deployment.retirement?.unroutedAt == null) return wrongState(deployment, "removed");
      enter(deployment, "removed", now);
      deployment.drainDeadline = null;
      deployment.url = null;
      deployment.redeploy = null;
      return undefined;
  }
}

function create(
  app: AppDocument,
  command: Extract<AppCommand, { type: "create" }>,
  now: number,
): Refusal | undefined {
  if (deploymentOf(app, command.id)) {
    return refuse("deployment_exists", `App ${app.name} has a deployment ${command.id} already.`);
  }
  const live = Object.values(app.deployments).filter((deployment) => !isFinished(deployment)).length;
  if (live >= LIVE_DEPLOYMENTS_LIMIT) {
    return refuse(
      "too_many_deployments",
      `App ${app.name} has ${live} live deployments, the limit. Delete some before adding more.`,
    );
  }
  app.deployments[command.id] = {
    id: command.id,
    name: command.name,
    sequence: app.nextSequence,
    state: "pending",
    stateSince: now,
    createdAt: now,
    target: command.target,
    promoteWhenReady: command.promote,
    contract: null,
    url: null,
    resources: {},
    deadline: now + PROVISION_LIMIT_MS,
    drainDeadline: null,
    retirement: null,
    redeploy: null,
    failure: null,
    cleanedUp: false,
  };
  app.nextSequence += 1;
  return undefined;
}

/** One atomic swap: this one active, the one before it draining and kept as the previous. */
function promote(app: AppDocument, deployment: Deployment, now: number): Refusal | undefined {
  const { id } = deployment;
  if (deployment.state === "active") return refuse("already_active", `Deployment ${id} is active already.`);
  if (deployment.state === "failed" || deployment.state === "removed") {
    return refuse("deployment_finished", `Deployment ${id} is ${deployment.state}; create a new one.`);
  }
  if (deployment.state === "pending") {
    return refuse("not_ready", `Deployment ${id} isn't verified yet; only a ready one can be promoted.`);
  }
  if (deployment.retirement && deployment.retirement.unroutedAt !== null) {
    return unrouted(id);
  }
  if (app.minimum && deployment.sequence < app.minimum.sequence) return belowMinimum(app, id);
  const former = app.active;
  if (former) {
    startDraining(app, former, now);
    app.previous = { id: former, retainUntil: now + app.config.previousRetentionSeconds * 1_000 };
  } else if (app.previous?.id === id) {
    app.previous = null;
  }
  enter(deployment, "active", now);
  deployment.promoteWhenReady = false;
  deployment.deadline = null;
  deployment.drainDeadline = null;
  deployment.retirement = null;
  app.active = id;
  if (app.canary?.id === id) app.canary = null;
  return undefined;
}

function rollback(app: AppDocument, now: number): Refusal | undefined {
  const previous = deploymentOf(app, app.previous?.id);
  if (!previous) {
    return refuse(
      "no_previous_deployment",
      `App ${app.name} has no previous deployment to return to. Promote another one by its id.`,
    );
  }
  return promote(app, previous, now);
}

/** A draining deployment is un-drained by it, so that a version that was rolled back can be tried again on a few. */
function setCanary(
  app: AppDocument,
  deployment: Deployment,
  weight: number,
  now: number,
): Refusal | undefined {
  const { id, state, retirement } = deployment;
  if (state !== "ready" && state !== "draining") {
    return refuse(
      "not_ready",
      `Only a ready or a draining deployment can be the canary; ${id} is ${describe(deployment)}.`,
    );
  }
  if (retirement && retirement.unroutedAt !== null) return unrouted(id);
  if (!app.active) return refuse("no_active_deployment", "A canary needs an active deployment beside it.");
  if (app.minimum && deployment.sequence < app.minimum.sequence) return belowMinimum(app, id);
  if (state === "draining") {
    enter(deployment, "ready", now);
    deployment.deadline = now + app.config.readyTtlSeconds * 1_000;
    deployment.drainDeadline = null;
    deployment.retirement = null;
  }
  app.canary = { id, weight };
  return undefined;
}

function setMinimum(app: AppDocument, id: string | null): Refusal | undefined {
  if (id === null) {
    app.minimum = null;
    return undefined;
  }
  const deployment = deploymentOf(app, id);
  if (!deployment) return refuse("unknown_deployment", `App ${app.name} has no deployment ${id}.`);
  const active = deploymentOf(app, app.active);
  if (!active || active.sequence < deployment.sequence) {
    return refuse(
      "below_minimum",
      `The active deployment ${active?.id ?? "(none)"} is older than ${id}; promote ${id} or a newer one first.`,
    );
  }
  app.minimum = { id, sequence: deployment.sequence };
  // New visitors can't be sent to what their next request would find stale.
  const canary = deploymentOf(app, app.canary?.id);
  if (canary && canary.sequence < deployment.sequence) app.canary = null;
  return undefined;
}

function requestRetirement(
  app: AppDocument,
  deployment: Deployment,
  why: "drained" | "deadline" | "deleted" | "expired",
  now: number,
): Refusal | undefined {
  const { id, state } = deployment;
  if (state === "active") {
    return refuse("active_deployment", `Deployment ${id} is active. Promote another one before deleting it.`);
  }
  if (state === "removed") return refuse("deployment_finished", `Deployment ${id} is removed already.`);
  if (deployment.retirement)
    return refuse("deployment_retiring", `Deployment ${id} is being removed already.`);
  if (why === "drained" || why === "deadline") {
    if (state !== "draining") return wrongState(deployment, "retired by the janitor");
    if (why === "drained" && app.previous?.id === id && now < app.previous.retainUntil) {
      return refuse("wrong_state", `Deployment ${id} is kept for a rollback.`);
    }
  }
  if (state === "pending") {
    fail(deployment, "deleted", "The deployment was deleted before it was ready.", now);
    return undefined;
  }
  if (state === "failed") {
    if (!deployment.cleanedUp) return wrongState(deployment, "deleted until its resources are cleaned up");
    enter(deployment, "removed", now);
    return undefined;
  }
  if (app.canary?.id === id) app.canary = null;
  retire(app, deployment, why, now);
  return undefined;
}

function retire(
  app: AppDocument,
  deployment: Deployment,
  why: NonNullable<Deployment["retirement"]>["reason"],
  now: number,
): void {
  if (deployment.state !== "draining") startDraining(app, deployment.id, now);
  deployment.promoteWhenReady = false;
  deployment.retirement = deployment.retirement
    ? { ...deployment.retirement, reason: why }
    : { reason: why, requestedAt: now, reload: null, unroutedAt: null };
}

function startDraining(app: AppDocument, id: string, now: number): void {
  const deployment = deploymentOf(app, id);
  if (!deployment) return;
  enter(deployment, "draining", now);
  deployment.deadline = null;
  deployment.drainDeadline = now + app.config.drainTtlSeconds * 1_000;
}

function fail(deployment: Deployment, code: string, why: string, now: number): void {
  enter(deployment, "failed", now);
  deployment.failure = { code, reason: why, at: now };
  deployment.deadline = null;
  deployment.promoteWhenReady = false;
}

function enter(deployment: Deployment, state: DeploymentState, now: number): void {
  deployment.state = state;
  deployment.stateSince = now;
}

/** Finished deployments stay readable for a while; the document stays bounded. */
function forgetOldest(app: AppDocument): void {
  const finished = Object.values(app.deployments)
    .filter(isFinished)
    .sort((one, other) => other.stateSince - one.stateSince || other.sequence - one.sequence);
  for (const deployment of finished.slice(FINISHED_DEPLOYMENTS_KEPT)) delete app.deployments[deployment.id];
}

function allowedWhileDeleting(command: AppCommand): boolean {
  return ["reload-told", "unroute", "removed", "cleaned-up", "redeploy-finished"].includes(command.type);
}

function describe(deployment: Deployment): string {
  return deployment.retirement ? `${deployment.state} and being removed` : deployment.state;
}

function wrongState(deployment: Deployment, participle: string): Refusal {
  return refuse(
    "wrong_state",
    `Deployment ${deployment.id} is ${describe(deployment)} and can't be ${participle}.`,
  );
}

function unrouted(id: string): Refusal {
  return refuse("deployment_retiring", `Deployment ${id} is unrouted and being removed; create a new one.`);
}

function belowMinimum(app: AppDocument, id: string): Refusal {
  return refuse(
    "below_minimum",
    `Deployment ${id} is older than the app's minimum, ${app.minimum?.id ?? ""}.`,
  );
}

function refuse(code: RefusalCode, message: string): Refusal {
  return { code, message };
}
