import { RailwayError } from "../../railway/error.ts";
import {
  deploymentRedeploy,
  environmentPatchCommit,
  latestDeployment,
  serviceConnect,
  serviceCreate,
  serviceInstanceDeployV2,
  serviceInstanceUpdate,
  serviceState,
  serviceVariables,
  type RailwayService,
  type RailwayServiceState,
} from "../../railway/operations.ts";
import { REDIS_VARIABLE, sortVariables } from "../../railway/reserved.ts";
import type { BuildLog, Provisioned, Step } from "../provider.ts";
import { followBuild } from "./build.ts";
import { isSet, reservedOnEnvService, settingsOf, variablesOf } from "./service.ts";
import { failed, SOON_MS, wait, type Found, type RailwayStep } from "./step.ts";

/** After an answer was lost, what it stood for shows within so long, or most likely never happened. */
const DOUBT_MS = 5_000;
/** A service that was just seen may be missing from a list for a moment. */
const LIST_LAG_MS = 10_000;
/** By how much two clocks may differ that are compared to a second. */
const CLOCK_TOLERANCE_MS = 2_000;

/** Makes what is missing of a deployment's service, and follows what is under way. */
export async function provisionService(step: RailwayStep, log: BuildLog): Promise<Step<Provisioned>> {
  const { memory } = step;
  if (memory.service !== null && memory.railwayDeployment !== null) return followBuild(step, log);
  if (memory.service !== null && memory.awaitsSource) {
    const { environment } = await step.place();
    const { serviceInstance } = await step.call(latestDeployment, { environment, service: memory.service });
    memory.railwayDeployment = serviceInstance.latestDeployment?.id ?? null;
    return memory.railwayDeployment === null ? awaitSource(step) : followBuild(step, log);
  }
  const found = await step.find();
  const { env, mine, changed } = found;
  if (env === null) {
    return failed(
      `The Railway project has no service ${step.access.envService}. Run \`signalbox scaffold\` to make it.`,
    );
  }
  if (changed) return wait(SOON_MS, "what an earlier deployment of this id left is taken away");
  const state = mine ?? (await create(step, env, found));
  if ("status" in state) return state;
  memory.service = state.service.id;
  memory.seenAt = Date.now();
  const { latestDeployment: latest } = state.serviceInstance;
  if (latest !== null) {
    memory.railwayDeployment = latest.id;
    return followBuild(step, log);
  }
  await prepare(step, state, env, log);
  if (step.target.upload === true) return awaitSource(step);
  return start(step, state);
}

/** Has Railway deploy the same again: once for each request, however often the step is taken. */
export async function redeployService(
  step: RailwayStep,
  requestedAt: number,
  log: BuildLog,
): Promise<Step<Provisioned>> {
  const { memory, deployment } = step;
  if (memory.service !== null && memory.railwayDeployment !== null) return followBuild(step, log);
  const { service, railwayDeployment } = deployment.resources;
  if (service === undefined) return failed("The deployment has no service on Railway.");
  const state = await step.call(serviceState, { ...(await step.place()), service });
  if ((await step.ownership(state.variables)) !== "ours") {
    return failed(`Railway's service ${state.service.name} doesn't carry this deployment's mark any more.`);
  }
  memory.service = service;
  const { latestDeployment: latest } = state.serviceInstance;
  const former = railwayDeployment ?? latest?.id;
  if (former === undefined) return failed(`Railway's service ${state.service.name} was never deployed.`);
  memory.former = former;
  // After a lost answer or a lost Worker it is under way already.
  const since = requestedAt + step.access.client.clockAheadMs - CLOCK_TOLERANCE_MS;
  if (latest !== null && latest.id !== former && Date.parse(latest.createdAt) >= since) {
    memory.railwayDeployment = latest.id;
    return followBuild(step, log);
  }
  const { deploymentRedeploy: begun } = await step.call(deploymentRedeploy, { deployment: former });
  memory.railwayDeployment = begun.id;
  return wait(SOON_MS, "asked Railway to deploy it again");
}

/** Whether a source may be sent: the service is set up and has its domain. */
export function isPrepared({ app, target }: RailwayStep, { serviceInstance }: RailwayServiceState): boolean {
  return isSet(settingsOf(app, target), serviceInstance) && serviceInstance.domains.serviceDomains.length > 0;
}

function awaitSource(step: RailwayStep): Step<never> {
  step.memory.awaitsSource = true;
  return wait(step.pollMs(), "waiting for the source");
}

async function create(
  step: RailwayStep,
  env: RailwayService,
  { taken }: Found,
): Promise<RailwayServiceState | Step<never>> {
  const { memory } = step;
  const { usual, spare } = await step.names();
  const name = taken.get(usual) === "sibling" ? spare : usual;
  if (taken.has(name)) {
    return failed(
      `The Railway project has a service ${name} that isn't this deployment's. Rename or delete it, or ` +
        "deploy under another id.",
    );
  }
  if (memory.service !== null) {
    return Date.now() - memory.seenAt < LIST_LAG_MS
      ? wait(SOON_MS, "Railway doesn't show the service yet")
      : failed(`The service ${await step.name()} was deleted on Railway while it was rolled out.`);
  }
  if (memory.doubtSince !== null && Date.now() - memory.doubtSince < DOUBT_MS) {
    return wait(SOON_MS, "Railway's answer was lost; looking for what it did");
  }
  const place = await step.place();
  const { variables } = await step.call(serviceVariables, { ...place, service: env.id }, env.name);
  const { users, reserved } = sortVariables(Object.keys(variables));
  if (reserved.length > 0) return failed(reservedOnEnvService(env.name, reserved));
  const input = {
    projectId: place.project,
    environmentId: place.environment,
    name,
    variables: variablesOf(step.app, step.deployment, step.target, {
      ...(await step.identity()),
      internalToken: step.internalToken,
      envService: env.name,
      users,
      redis: REDIS_VARIABLE in variables,
    }),
  };
  try {
    const { serviceCreate: service } = await step.call(serviceCreate, { input });
    memory.doubtSince = null;
    memory.name = service.name;
    return { service, variables: input.variables, serviceInstance: NEW_INSTANCE };
  } catch (error) {
    if (await isTaken(step, name, error)) return wait(SOON_MS, "somebody else took the service's name");
    // It may have been made although nobody said so. Another refusal doesn't settle an earlier doubt.
    if (!(error instanceof RailwayError) || error.uncertain) {
      memory.doubtSince = Date.now();
      memory.doubtedAt = memory.doubtSince;
    }
    throw error;
  }
}

/** Whether a service was refused since there is one of its name by now; whose that is, the next step finds out. */
async function isTaken(step: RailwayStep, wanted: string, error: unknown): Promise<boolean> {
  if (!(error instanceof RailwayError) || error.kind !== "refused") return false;
  return (await step.services()).candidates.some(({ name }) => name === wanted);
}

/** Everything before the first build: group, settings, domain. */
async function prepare(
  step: RailwayStep,
  { service, serviceInstance }: RailwayServiceState,
  env: RailwayService,
  log: BuildLog,
): Promise<void> {
  const { environment } = await step.place();
  if (env.groupId !== null && service.groupId !== env.groupId && !step.memory.grouped) {
    const patch = { services: { [service.id]: { groupId: env.groupId } } };
    const message = `Signalbox groups ${service.name}`;
    await step.call(environmentPatchCommit, { environment, patch, message }).catch((error: unknown) => {
      // Where a service stands on the canvas is no reason to fail a rollout.
      if (!(error instanceof RailwayError)) throw error;
      log.append([`The service stays outside of its group: ${error.message}`], log.cursor);
    });
    step.memory.grouped = true;
  }
  const input = settingsOf(step.app, step.target);
  if (!isSet(input, serviceInstance)) {
    await step.call(serviceInstanceUpdate, { environment, service: service.id, input });
  }
  if (serviceInstance.domains.serviceDomains.length === 0) await step.createDomain(service.id);
}

async function start(
  step: RailwayStep,
  { service, serviceInstance }: RailwayServiceState,
): Promise<Step<Provisioned>> {
  const { environment } = await step.place();
  const { repo } = step.target;
  if (repo && repo.commit === undefined && serviceInstance.source?.repo !== repo.repo) {
    const input = { repo: repo.repo, ...(repo.branch === undefined ? {} : { branch: repo.branch }) };
    await step.call(serviceConnect, { service: service.id, input });
    // Railway now deploys the newest commit by itself; should it not, the next step asks for it.
    return wait(2 * SOON_MS, "connected the repository");
  }
  const started = await step.call(serviceInstanceDeployV2, {
    environment,
    service: service.id,
    commit: repo?.commit ?? null,
  });
  step.memory.railwayDeployment = started.serviceInstanceDeployV2;
  return wait(SOON_MS, "asked Railway to deploy it");
}

const NEW_INSTANCE: RailwayServiceState["serviceInstance"] = {
  source: null,
  startCommand: null,
  buildCommand: null,
  dockerfilePath: null,
  healthcheckPath: null,
  healthcheckTimeout: null,
  overlapSeconds: null,
  drainingSeconds: null,
  numReplicas: null,
  domains: { serviceDomains: [] },
  latestDeployment: null,
};
