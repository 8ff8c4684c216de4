import {
  APP_DOCUMENT_LIMIT_BYTES,
  FINISHED_DEPLOYMENTS_KEPT,
  LIVE_DEPLOYMENTS_LIMIT,
  PROVISION_LIMIT_MS,
} from "../protocol/limits.ts";
import {
  isFinished,
  isRoutable,
  type AppConfig,
  type AppDocument,
  type Deployment,
  type DeploymentState,
  type Target,
} from "./app-document.ts";

/** Everything that can happen to an app. Times come from the caller, so that a transition is a pure function. */
export type Command =
  | { type: "configure"; config: AppConfig }
  | { type: "create"; id: string; name: string; target: Target; promote: boolean }
  | { type: "provisioned"; id: string; url: string; resources: Record<string, string> }
  | { type: "verified"; id: string }
  | { type: "fail"; id: string; code: string; reason: string }
  | { type: "cleaned-up"; id: string }
  | { type: "promote"; id: string }
  | { type: "auto-promote"; id: string }
  | { type: "rollback" }
  | { type: "redeploy"; id: string }
  | { type: "redeploy-provisioned"; id: string; url: string; resources: Record<string, string> }
  | { type: "redeploy-finished"; id: string }
  | { type: "set-canary"; id: string; weight: number }
  | { type: "clear-canary" }
  | {
      type: "pause";
      mode: "hold" | "refuse";
      message: string;
      retryAfterSeconds: number;
      maxHoldSeconds: number;
    }
  | { type: "resume" }
  | { type: "set-minimum"; id: string | null }
  | { type: "retire"; id: string; reason: "drained" | "deadline" | "deleted" | "expired" }
  | { type: "spare"; id: string }
  | { type: "reload-told"; id: string; sockets: number | null }
  | { type: "unroute"; id: string }
  | { type: "removed"; id: string }
  | { type: "delete-app" };

/** Why a command can't be carried out. The app is unchanged. */
export interface Refusal {
  code: RefusalCode;
  message: string;
}

export type RefusalCode =
  | "unknown_deployment"
  | "deployment_exists"
  | "too_many_deployments"
  | "active_deployment"
  | "already_active"
  | "not_ready"
  | "deployment_retiring"
  | "deployment_finished"
  | "wrong_state"
  | "no_previous_deployment"
  | "no_active_deployment"
  | "below_minimum"
  | "already_paused"
  | "not_paused"
  | "no_canary"
  | "redeploy_in_progress"
  | "app_deleting"
  | "app_too_large";

export type Transition = { ok: true; app: AppDocument } | { ok: false; refusal: Refusal };

/** Carries out one command on a document, or refuses it. Never changes its argument. */
export function transition(app: AppDocument, command: Command, now: number): Transition {
  const draft = structuredClone(app);
  const refusal = apply(draft, command, now);
  if (refusal) return { ok: false, refusal };
  forgetOldest(draft);
  draft.version = app.version + 1;
  draft.updatedAt = now;
  if (JSON.stringify(draft).length > APP_DOCUMENT_LIMIT_BYTES) {
    return refuse("app_too_large", `App ${app.name} would grow past ${APP_DOCUMENT_LIMIT_BYTES} bytes.`);
  }
  return { ok: true, app: draft };
}

/** What must hold of every document; the text of each violation. Checked before each write. */
export function violations(app: AppDocument): string[] {
  const found: string[] = [];
  const all = Object.values(app.deployments);
  const active = all.filter((deployment) => deployment.state === "active");
  if (active.length > 1) found.push(`${active.length} deployments are active`);
  if ((active[0]?.id ?? null) !== app.active) {
    found.push(`active is ${app.active} but ${active[0]?.id ?? "none"} is`);
  }
  if (app.canary && app.deployments[app.canary.id]?.state !== "ready") found.push("the canary isn't ready");
  if (app.previous && !isRoutableId(app, app.previous.id))
    found.push("the previous deployment isn't routable");
  if (app.previous && app.previous.id === app.active) found.push("the previous deployment is the active one");
  if (app.minimum && app.active) {
    const sequence = app.deployments[app.active]?.sequence ?? 0;
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

function apply(app: AppDocument, command: Command, now: number): Refusal | undefined {
  if (app.deletingSince !== null && !allowedWhileDeleting(command)) {
    return reason("app_deleting", `App ${app.name} is being deleted.`);
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
      if (!app.canary) return reason("no_canary", `App ${app.name} has no canary.`);
      app.canary = null;
      return undefined;
    case "pause": {
      const { type: _, ...wanted } = command;
      if (app.paused) {
        const { since: __, ...current } = app.paused;
        const same = wanted.mode === current.mode && wanted.message === current.message;
        if (same && wanted.retryAfterSeconds === current.retryAfterSeconds) {
          return reason("already_paused", `App ${app.name} is paused in this way already.`);
        }
      }
      app.paused = { ...wanted, since: app.paused?.since ?? now };
      return undefined;
    }
    case "resume":
      if (!app.paused) return reason("not_paused", `App ${app.name} isn't paused.`);
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
      const deployment = app.deployments[command.id];
      if (!deployment) {
        return reason("unknown_deployment", `App ${app.name} has no deployment ${command.id}.`);
      }
      return applyTo(app, deployment, command, now);
    }
  }
}

type DeploymentCommand = Exclude<
  Extract<Command, { id: string }>,
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
      const active = app.active ? app.deployments[app.active] : undefined;
      deployment.promoteWhenReady = false;
      // Two rollouts at once: the newer wins whichever is ready first; the older stays ready, promotable by hand.
      if (active && active.sequence > deployment.sequence) return undefined;
      if (app.minimum && deployment.sequence < app.minimum.sequence) return undefined;
      return promote(app, deployment, now);
    }
    case "redeploy":
      if (deployment.redeploy) {
        return reason("redeploy_in_progress", `Deployment ${id} is being redeployed already.`);
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
      if (deployment.state !== "ready" || deployment.retirement) {
        return reason(
          "not_ready",
          `Only a ready deployment can be the canary; ${id} is ${describe(deployment)}.`,
        );
      }
      if (!app.active)
        return reason("no_active_deployment", "A canary needs an active deployment beside it.");
      if (app.minimum && deployment.sequence < app.minimum.sequence) return belowMinimum(app, id);
      app.canary = { id, weight: command.weight };
      return undefined;
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
  command: Extract<Command, { type: "create" }>,
  now: number,
): Refusal | undefined {
  if (app.deployments[command.id]) {
    return reason("deployment_exists", `App ${app.name} has a deployment ${command.id} already.`);
  }
  const live = Object.values(app.deployments).filter((deployment) => !isFinished(deployment)).length;
  if (live >= LIVE_DEPLOYMENTS_LIMIT) {
    return reason(
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
  if (deployment.state === "active") return reason("already_active", `Deployment ${id} is active already.`);
  if (deployment.state === "failed" || deployment.state === "removed") {
    return reason("deployment_finished", `Deployment ${id} is ${deployment.state}; create a new one.`);
  }
  if (deployment.state === "pending") {
    return reason("not_ready", `Deployment ${id} isn't verified yet; only a ready one can be promoted.`);
  }
  if (deployment.retirement && deployment.retirement.unroutedAt !== null) {
    return reason("deployment_retiring", `Deployment ${id} is unrouted and being removed; create a new one.`);
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
  const previous = app.previous ? app.deployments[app.previous.id] : undefined;
  if (!previous) {
    return reason(
      "no_previous_deployment",
      `App ${app.name} has no previous deployment to return to. Promote another one by its id.`,
    );
  }
  return promote(app, previous, now);
}

function setMinimum(app: AppDocument, id: string | null): Refusal | undefined {
  if (id === null) {
    app.minimum = null;
    return undefined;
  }
  const deployment = app.deployments[id];
  if (!deployment) return reason("unknown_deployment", `App ${app.name} has no deployment ${id}.`);
  const active = app.active ? app.deployments[app.active] : undefined;
  if (!active || active.sequence < deployment.sequence) {
    return reason(
      "below_minimum",
      `The active deployment ${active?.id ?? "(none)"} is older than ${id}; promote ${id} or a newer one first.`,
    );
  }
  app.minimum = { id, sequence: deployment.sequence };
  // New visitors can't be sent to what their next request would find stale.
  const canary = app.canary ? app.deployments[app.canary.id] : undefined;
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
    return reason("active_deployment", `Deployment ${id} is active. Promote another one before deleting it.`);
  }
  if (state === "removed") return reason("deployment_finished", `Deployment ${id} is removed already.`);
  if (deployment.retirement)
    return reason("deployment_retiring", `Deployment ${id} is being removed already.`);
  if (why === "drained" || why === "deadline") {
    if (state !== "draining") return wrongState(deployment, "retired by the janitor");
    if (why === "drained" && app.previous?.id === id && now < app.previous.retainUntil) {
      return reason("wrong_state", `Deployment ${id} is kept for a rollback.`);
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
  deployment.retirement ??= { reason: why, requestedAt: now, reload: null, unroutedAt: null };
}

function startDraining(app: AppDocument, id: string, now: number): void {
  const deployment = app.deployments[id];
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

function allowedWhileDeleting(command: Command): boolean {
  return ["reload-told", "unroute", "removed", "cleaned-up", "redeploy-finished"].includes(command.type);
}

function isRoutableId(app: AppDocument, id: string): boolean {
  const deployment = app.deployments[id];
  return deployment !== undefined && isRoutable(deployment);
}

function describe(deployment: Deployment): string {
  return deployment.retirement ? `${deployment.state} and being removed` : deployment.state;
}

function wrongState(deployment: Deployment, participle: string): Refusal {
  return reason(
    "wrong_state",
    `Deployment ${deployment.id} is ${describe(deployment)} and can't be ${participle}.`,
  );
}

function belowMinimum(app: AppDocument, id: string): Refusal {
  return reason(
    "below_minimum",
    `Deployment ${id} is older than the app's minimum, ${app.minimum?.id ?? ""}.`,
  );
}

function reason(code: RefusalCode, message: string): Refusal {
  return { code, message };
}

function refuse(code: RefusalCode, message: string): Transition {
  return { ok: false, refusal: reason(code, message) };
}
