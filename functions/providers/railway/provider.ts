import type { RailwaySettings } from "../../config.ts";
import type { AppDocument, Deployment } from "../../apps/app-document.ts";
import { Problem } from "../../errors.ts";
import { RailwayError } from "../../railway/error.ts";
import { nodesOf } from "../../railway/operation.ts";
import { projectServices, serviceVariables } from "../../railway/operations.ts";
import { sortVariables } from "../../railway/reserved.ts";
import { installationIdOf } from "../../state/installation-id.ts";
import type { StateStore } from "../../state/store.ts";
import type { Provider, StepOutcome } from "../provider.ts";
import { RailwayAccess } from "./access.ts";
import { RolloutMemories, type RolloutMemory } from "./memory.ts";
import { givenUp } from "./build.ts";
import { readLogs } from "./logs.ts";
import { removeService } from "./removal.ts";
import { provisionService, redeployService } from "./rollout.ts";
import { reservedOnEnvService, type RailwayTarget } from "./service.ts";
import { failed, RailwayStep, wait } from "./step.ts";

/** Shorter than the driver gives a step: the next step goes on from there. */
const STEP_TIMEOUT_MS = 45_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_LIMIT_MS = 30_000;

/** A service of its own for each deployment, in the Railway project that the Worker is set up for. */
export function railwayProvider(parts: {
  railway: RailwaySettings | null;
  internalToken: string;
  store: StateStore;
}): Provider {
  const access = parts.railway && new RailwayAccess(parts.railway);
  const memories = new RolloutMemories();
  const installation = installationIdOf(parts.store);

  function stepOf(
    to: RailwayAccess,
    app: AppDocument,
    deployment: Deployment,
    target: RailwayTarget,
    signal: AbortSignal,
    redeploy: number | null = null,
  ): RailwayStep {
    const memory = memories.of(app, deployment, redeploy);
    const { internalToken } = parts;
    return new RailwayStep({
      access: to,
      internalToken,
      installation,
      app,
      deployment,
      target,
      memory,
      signal,
    });
  }

  async function take<T>(
    app: AppDocument,
    deployment: Deployment,
    redeploy: number | null,
    work: (step: RailwayStep) => Promise<StepOutcome<T>>,
  ): Promise<StepOutcome<T>> {
    if (deployment.target.kind !== "railway") throw new Error(`Deployment ${deployment.id} isn't Railway's`);
    if (access === null) return failed(NO_TOKEN);
    const signal = AbortSignal.timeout(STEP_TIMEOUT_MS);
    const step = stepOf(access, app, deployment, deployment.target, signal, redeploy);
    const { memory } = step;
    try {
      const result = await work(step);
      memory.failures = 0;
      if (result.status === "done") memories.forget(app, deployment, redeploy);
      return result;
    } catch (error) {
      if (!(error instanceof RailwayError)) throw error;
      return judge(error, memory);
    }
  }

  return {
    async place(target) {
      if (target.kind !== "railway") return target;
      if (access === null) throw refused(NO_TOKEN);
      try {
        await checkEnvService(access);
      } catch (error) {
        throw error instanceof RailwayError ? problemOf(error) : error;
      }
      return target;
    },
    provision: (deployment, app, log) => take(app, deployment, null, (step) => provisionService(step, log)),
    redeploy: (deployment, app, log) => {
      const requestedAt = deployment.redeploy?.requestedAt ?? 0;
      return take(app, deployment, requestedAt, (step) => redeployService(step, requestedAt, log));
    },
    remove: (deployment, app) => take(app, deployment, null, removeService),
    async givenUp(deployment, app) {
      if (deployment.target.kind !== "railway" || access === null) return null;
      const signal = AbortSignal.timeout(STEP_TIMEOUT_MS);
      try {
        return await givenUp(stepOf(access, app, deployment, deployment.target, signal));
      } catch (error) {
        // It may come up all the same: verification goes on.
        if (error instanceof RailwayError) return null;
        throw error;
      }
    },
    // Railway tells nobody; the app contract does.
    openStreams: () => Promise.resolve(null),
    async logs(deployment, app, query) {
      if (deployment.target.kind !== "railway" || access === null) throw new Problem("no_logs", NO_TOKEN);
      const step = stepOf(access, app, deployment, deployment.target, query.signal);
      try {
        return await readLogs(step, query);
      } catch (error) {
        throw error instanceof RailwayError ? problemOf(error) : error;
      }
    },
  };
}

const NO_TOKEN =
  "The Worker has no Railway token. Set RAILWAY_TOKEN (a project token), or RAILWAY_API_TOKEN with " +
  "RAILWAY_PROJECT_ID and RAILWAY_ENVIRONMENT_ID.";

/** An error that passes is waited out, longer each time; after a lost answer the next step looks what happened. */
function judge(error: RailwayError, memory: RolloutMemory): StepOutcome<never> {
  if (error.kind === "not_found" && memory.railwayDeployment !== null) {
    // What was followed is gone; the next step finds out whether the service is.
    memory.railwayDeployment = null;
    return wait(RETRY_FIRST_MS, error.message);
  }
  if (!error.retryable && !error.uncertain) return failed(error.message);
  const pauseMs = Math.min(RETRY_LIMIT_MS, RETRY_FIRST_MS * 2 ** memory.failures);
  memory.failures += 1;
  return wait(Math.max(pauseMs, (error.retryAtMs ?? 0) - Date.now()), error.message);
}

/** Refuses a deployment that can't work: the env service is missing, or it sets a variable that Signalbox sets. */
async function checkEnvService(access: RailwayAccess): Promise<void> {
  const place = await access.place();
  const { project } = await access.client.call(projectServices, { project: place.project });
  const env = nodesOf(project.services).find(
    ({ name, deletedAt }) => name === access.envService && deletedAt === null,
  );
  if (!env) {
    throw refused(
      `The Railway project ${project.name} has no service ${access.envService}. Run \`signalbox scaffold\` to make it.`,
    );
  }
  const about = `service ${env.name}`;
  const { variables } = await access.client.call(serviceVariables, { ...place, service: env.id }, { about });
  const { reserved } = sortVariables(Object.keys(variables));
  if (reserved.length > 0) throw refused(reservedOnEnvService(env.name, reserved));
}

/** A call whose answer was lost may be repeated, which is harmless: 503, not 502. */
export function problemOf(error: RailwayError): Problem {
  if (!error.retryable && !error.uncertain) return new Problem("railway_failed", error.message);
  const seconds = Math.max(1, Math.ceil(((error.retryAtMs ?? 0) - Date.now()) / 1_000));
  return new Problem("railway_unavailable", error.message, { headers: { "retry-after": String(seconds) } });
}

function refused(message: string): Problem {
  return new Problem("target_refused", message, { errors: [{ field: "target", message }] });
}
