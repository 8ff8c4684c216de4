import { RailwayError } from "../../railway/error.ts";
import {
  autoDeployOff,
  buildLogs,
  buildProgress,
  deploymentLogs,
  latestDeployment,
  type RailwayDeploymentStatus,
} from "../../railway/operations.ts";
import type { BuildLog, Provisioned, StepOutcome } from "../provider.ts";
import { linesOf } from "./log.ts";
import { failed, REASON_LIMIT, wait, type RailwayStep } from "./step.ts";

/** Lines of a build's log in one call. */
const LOG_LIMIT = 1_000;
/** What is shown of an app that didn't come up. */
const LAST_LINES = 20;

/** What a deployment's state on Railway means for a step. */
type Meaning = { kind: "under way" | "up"; detail: string } | { kind: "over"; reason: string };

const meanings: Record<RailwayDeploymentStatus, Meaning> = {
  QUEUED: { kind: "under way", detail: "queued on Railway" },
  WAITING: { kind: "under way", detail: "waiting on Railway" },
  INITIALIZING: { kind: "under way", detail: "Railway prepares the build" },
  BUILDING: { kind: "under way", detail: "building on Railway" },
  DEPLOYING: { kind: "under way", detail: "starting on Railway" },
  NEEDS_APPROVAL: { kind: "under way", detail: "needs somebody's approval in Railway's dashboard" },
  SUCCESS: { kind: "up", detail: "" },
  // It wakes at its first request, which is verification's.
  SLEEPING: { kind: "up", detail: "" },
  FAILED: { kind: "over", reason: "Railway couldn't build or start it." },
  CRASHED: { kind: "over", reason: "It crashed on Railway, again and again." },
  REMOVED: { kind: "over", reason: "Somebody removed it on Railway." },
  REMOVING: { kind: "over", reason: "Somebody removed it on Railway." },
  SKIPPED: {
    kind: "over",
    reason: "Railway skipped it: a check of the commit failed, or its watch patterns match nothing.",
  },
};

/** Reads how the build or start under way is going, and passes on its output. */
export async function followBuild(step: RailwayStep, log: BuildLog): Promise<StepOutcome<Provisioned>> {
  const { memory } = step;
  const { environment } = await step.place();
  const { service, railwayDeployment: deployment } = memory;
  if (service === null || deployment === null) throw new Error("There is nothing to follow yet");
  const since = memory.log.since(log);
  const instance = await step
    .call(buildProgress, { environment, service, deployment, since, limit: LOG_LIMIT })
    .then(({ serviceInstance, buildLogs: lines }) => {
      memory.log.take(lines, log);
      return serviceInstance;
    })
    .catch(async (error: unknown) => {
      // A log that isn't there yet, or can't be shown, is no reason to lose sight of the deployment.
      if (!(error instanceof RailwayError) || error.retryable || error.kind === "unauthorized") throw error;
      return (await step.call(latestDeployment, { environment, service })).serviceInstance;
    });
  const { latestDeployment: latest } = instance;
  if (latest === null || latest.id === memory.former)
    return wait(step.pollMs(), "Railway doesn't show the deployment yet");
  if (latest.id !== deployment) {
    // Deployed again, by a repeated upload or by hand: the newest is the one that will serve.
    memory.railwayDeployment = latest.id;
  }
  const meaning = meanings[latest.status];
  if (meaning.kind === "under way") return wait(step.pollMs(), meaning.detail);
  await readRest(step, latest.id, log);
  if (meaning.kind === "over") {
    return failed([meaning.reason, ...(await lastLines(step, latest.id))].join("\n"));
  }
  return finish(step, service, latest.id, instance.domains.serviceDomains[0]?.domain, log);
}

/** Why what had come up on Railway will not answer any more; null while it may. Asks ever more rarely. */
export async function givenUp(step: RailwayStep): Promise<string | null> {
  const { memory, deployment } = step;
  const { service } = deployment.resources;
  if (service === undefined || Date.now() < memory.nextLookAt) return null;
  memory.nextLookAt = Date.now() + step.pollMs();
  const { environment } = await step.place();
  const { latestDeployment: latest } = (await step.call(latestDeployment, { environment, service }))
    .serviceInstance;
  const meaning = latest && meanings[latest.status];
  if (meaning?.kind !== "over") return null;
  return [meaning.reason, ...(await lastLines(step, latest?.id ?? ""))].join("\n").slice(0, REASON_LIMIT);
}

async function finish(
  step: RailwayStep,
  service: string,
  railwayDeployment: string,
  known: string | undefined,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
  const { access, memory, target } = step;
  const place = await step.place();
  if (target.repo) await stopAutoDeploys(step, service, log);
  // A repeated creation may have made two services: tidying leaves one.
  if (memory.lastUnansweredAt !== null) await step.findAndTidy();
  const domain = known ?? (await step.createDomain(service));
  const resources = { service, railwayDeployment, ...place };
  return { status: "done", value: { url: access.originOf(domain), resources } };
}

/** A deployment is one version: what is pushed to its branch later is another. */
async function stopAutoDeploys(step: RailwayStep, service: string, log: BuildLog): Promise<void> {
  try {
    await step.call(autoDeployOff, { ...(await step.place()), service });
  } catch (error) {
    if (!(error instanceof RailwayError) || error.retryable) throw error;
    log.append([`Railway may deploy later commits to this service: ${error.message}`], log.cursor);
  }
}

/** Reads what came after the last read of the log. */
async function readRest(step: RailwayStep, deployment: string, log: BuildLog): Promise<void> {
  const since = step.memory.log.since(log);
  await optional(
    step
      .call(buildLogs, { deployment, since, limit: LOG_LIMIT })
      .then(({ buildLogs: lines }) => step.memory.log.take(lines, log)),
  );
}

/** The app's last lines; if it never ran, the build's. */
async function lastLines(step: RailwayStep, deployment: string): Promise<string[]> {
  const asked = { deployment, since: null, limit: LAST_LINES };
  const ran = await optional(step.call(deploymentLogs, asked).then((answer) => answer.deploymentLogs));
  const lines = ran?.length
    ? ran
    : await optional(step.call(buildLogs, asked).then((answer) => answer.buildLogs));
  return (lines ?? []).flatMap(({ message }) => linesOf(message)).slice(-LAST_LINES);
}

/** Null on an error of Railway: a missing log must not fail the step. */
async function optional<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof RailwayError) return null;
    throw error;
  }
}
