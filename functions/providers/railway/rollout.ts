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
import type { BuildLog, Provisioned, StepOutcome } from "../provider.ts";
import { followBuild } from "./build.ts";
import { phaseOf, redeployPhaseOf, type Phase, type RedeployPhase } from "./phase.ts";
import { healthCheckOf, isSet, reservedOnEnvService, settingsOf, variablesOf } from "./service.ts";
import { failed, SOON_MS, wait, type RailwayStep } from "./step.ts";

/** How far our clock and Railway's may differ. */
const CLOCK_TOLERANCE_MS = 2_000;

type PhaseOf<K extends Phase["kind"]> = Extract<Phase, { kind: K }>;
type RedeployPhaseOf<K extends RedeployPhase["kind"]> = Extract<RedeployPhase, { kind: K }>;

/** Makes what is missing of a deployment's service, and follows what is under way. */
export async function provisionService(step: RailwayStep, log: BuildLog): Promise<StepOutcome<Provisioned>> {
  const { memory } = step;
  let phase = phaseOf(null, memory, Date.now());
  if (phase.kind === "look") {
    const found = await step.findAndTidy();
    if (found.mine !== null) memory.seenAt = Date.now();
    phase = phaseOf(found, memory, Date.now());
  }
  switch (phase.kind) {
    case "follow":
      return follow(step, phase, log);
    case "await-source":
      return awaitSource(step, phase, log);
    case "look":
      throw new Error("The project was read, and nothing is known of it");
    case "no-env-service":
      return failNoEnvService(step);
    case "clear":
      return awaitClearing();
    case "name-taken":
      return failNameTaken(phase);
    case "not-listed":
      return awaitListing();
    case "service-gone":
      return failServiceGone(phase);
    case "in-doubt":
      return awaitDoubt();
    case "create":
      return create(step, phase, log);
    case "set-up":
      return setUp(step, phase.mine, phase.env, log);
  }
}

/** Has Railway deploy the same again, once for each request, even if the step is repeated. */
export async function redeployService(
  step: RailwayStep,
  requestedAt: number,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
  const { service, railwayDeployment: former } = step.deployment.resources;
  const since = requestedAt + step.access.client.clockAheadMs - CLOCK_TOLERANCE_MS;
  const known = redeployPhaseOf(null, step.memory, { service, former, since });
  const phase =
    known.kind === "look"
      ? redeployPhaseOf(await lookAtService(step, known.service), step.memory, { service, former, since })
      : known;
  switch (phase.kind) {
    case "follow":
      step.memory.former = phase.former;
      return follow(step, phase, log);
    case "look":
      throw new Error("The service was read, and nothing is known of it");
    case "no-service":
      return failNoService();
    case "not-ours":
      return failNotOurs(phase);
    case "never-deployed":
      return failNeverDeployed(phase);
    case "begin":
      return beginRedeploy(step, phase);
  }
}

/** Whether a source may be sent: the service is set up and has its domain. */
export function isPrepared(
  { app, deployment, target }: RailwayStep,
  { serviceInstance }: RailwayServiceState,
): boolean {
  return (
    isSet(settingsOf(app, deployment, target), serviceInstance) &&
    serviceInstance.domains.serviceDomains.length > 0
  );
}

// A function for each phase of a rollout.

function follow(
  step: RailwayStep,
  { service, railwayDeployment }: Pick<PhaseOf<"follow">, "service" | "railwayDeployment">,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
  Object.assign(step.memory, { service, railwayDeployment });
  return followBuild(step, log);
}

/** The upload itself starts the build, so that it shows as the newest Railway deployment. */
async function awaitSource(
  step: RailwayStep,
  { service }: PhaseOf<"await-source">,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
  const { environment } = await step.place();
  const { serviceInstance } = await step.call(latestDeployment, { environment, service });
  const railwayDeployment = serviceInstance.latestDeployment?.id;
  return railwayDeployment === undefined
    ? wait(step.pollMs(), "waiting for the source")
    : follow(step, { service, railwayDeployment }, log);
}

function failNoEnvService({ access }: RailwayStep): StepOutcome<never> {
  return failed(
    `The Railway project has no service ${access.envService}. Run \`signalbox scaffold\` to make it.`,
  );
}

function awaitClearing(): StepOutcome<never> {
  return wait(SOON_MS, "deleting what an earlier deployment of this id left");
}

function failNameTaken({ name }: PhaseOf<"name-taken">): StepOutcome<never> {
  return failed(
    `The Railway project has a service ${name} that isn't this deployment's. Rename or delete it, or ` +
      "deploy under another id.",
  );
}

function awaitListing(): StepOutcome<never> {
  return wait(SOON_MS, "Railway doesn't show the service yet");
}

function failServiceGone({ name }: PhaseOf<"service-gone">): StepOutcome<never> {
  return failed(`The service ${name} was deleted on Railway while it was rolled out.`);
}

function awaitDoubt(): StepOutcome<never> {
  return wait(SOON_MS, "Railway's answer was lost; looking for what it did");
}

async function create(
  step: RailwayStep,
  { name, env }: PhaseOf<"create">,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
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
  const service = await createService(step, input);
  if (service === null) return wait(SOON_MS, "somebody else took the service's name");
  const state = { service, variables: input.variables, serviceInstance: NEW_INSTANCE };
  return setUp(step, state, env, log);
}

/** Null if the name is taken. */
async function createService(
  step: RailwayStep,
  input: NonNullable<(typeof serviceCreate)["variables"]>["input"],
): Promise<RailwayService | null> {
  const { memory } = step;
  try {
    const { serviceCreate: service } = await step.call(serviceCreate, { input });
    memory.unansweredSince = null;
    memory.name = service.name;
    return service;
  } catch (error) {
    if (await isTaken(step, input.name, error)) return null;
    // Without an answer, the service may exist. A refusal now doesn't tell about an earlier creation.
    if (!(error instanceof RailwayError) || error.uncertain) {
      memory.unansweredSince = Date.now();
      memory.lastUnansweredAt = memory.unansweredSince;
    }
    throw error;
  }
}

/** Whether Railway refused the service because its name is taken. The next step finds out by whom. */
async function isTaken(step: RailwayStep, wanted: string, error: unknown): Promise<boolean> {
  if (!(error instanceof RailwayError) || error.kind !== "refused") return false;
  return (await step.services()).candidates.some(({ name }) => name === wanted);
}

/** Everything before the first build, and the build's start where nothing has to be sent first. */
async function setUp(
  step: RailwayStep,
  state: RailwayServiceState,
  env: RailwayService,
  log: BuildLog,
): Promise<StepOutcome<Provisioned>> {
  step.memory.service = state.service.id;
  step.memory.seenAt = Date.now();
  await configure(step, state, env, log);
  if (step.target.upload !== true) return start(step, state);
  step.memory.awaitsSource = true;
  return wait(step.pollMs(), "waiting for the source");
}

/** Group, settings and domain. */
async function configure(
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
  const input = settingsOf(step.app, step.deployment, step.target);
  if (!isSet(input, serviceInstance)) {
    await step.call(serviceInstanceUpdate, { environment, service: service.id, input });
  }
  if (serviceInstance.domains.serviceDomains.length === 0) await step.createDomain(service.id);
}

async function start(
  step: RailwayStep,
  { service, serviceInstance }: RailwayServiceState,
): Promise<StepOutcome<Provisioned>> {
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

// A function for each phase of a redeploy.

function failNoService(): StepOutcome<never> {
  return failed("The deployment has no service on Railway.");
}

function failNotOurs({ name }: RedeployPhaseOf<"not-ours">): StepOutcome<never> {
  return failed(`Railway's service ${name} doesn't carry this deployment's mark any more.`);
}

function failNeverDeployed({ name }: RedeployPhaseOf<"never-deployed">): StepOutcome<never> {
  return failed(`Railway's service ${name} was never deployed.`);
}

async function beginRedeploy(
  step: RailwayStep,
  { service, former, variables }: RedeployPhaseOf<"begin">,
): Promise<StepOutcome<never>> {
  Object.assign(step.memory, { service, former });
  // With `auto` it wasn't known before the first verification. Without one, Railway switches over before the app listens.
  const input = healthCheckOf(step.app, step.deployment, step.target, variables);
  if (input !== null) {
    const { environment } = await step.place();
    await step.call(serviceInstanceUpdate, { environment, service, input });
  }
  const { deploymentRedeploy: begun } = await step.call(deploymentRedeploy, { deployment: former });
  step.memory.railwayDeployment = begun.id;
  return wait(SOON_MS, "asked Railway to deploy it again");
}

async function lookAtService(
  step: RailwayStep,
  service: string,
): Promise<{ state: RailwayServiceState; isOurs: boolean }> {
  const state = await step.call(serviceState, { ...(await step.place()), service });
  return { state, isOurs: (await step.ownership(state.variables)) === "ours" };
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
