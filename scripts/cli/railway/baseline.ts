import type { RailwayClient } from "../../../functions/railway/client.ts";
import { RailwayError } from "../../../functions/railway/error.ts";
import { nodesOf } from "../../../functions/railway/operation.ts";
import { sortVariables } from "../../../functions/railway/reserved.ts";
import {
  project as projectQuery,
  baselineService,
  type BaselineInstance,
} from "../../../functions/railway/baseline-operations.ts";
import { Failure } from "../failure.ts";
import type { RailwayPlace } from "./token.ts";

/** What the baseline's services are called in this project. */
export interface BaselineNames {
  envService: string;
  runnerService: string;
}

/** Says that Signalbox made the runner service and may change it. The env service holds the user's variables only. */
export const BASELINE_MARK = "SIGNALBOX_BASELINE";
export const RUNNER_MARK = "runner";
/** Where the runner keeps its workspaces, on a volume. */
export const VOLUME_PATH = "/data/workspace";

export interface FoundService {
  id: string;
  name: string;
  groupId: string | null;
  /** Null where the service has no instance in this environment. */
  instance: BaselineInstance | null;
  variables: Record<string, string>;
}

export interface Baseline {
  names: BaselineNames;
  env: FoundService | null;
  runner: (FoundService & { volumePaths: string[] }) | null;
  /** Every other service of the project. */
  others: { id: string; name: string; groupId: string | null }[];
}

/** Reads what there is of the baseline. Changes nothing. */
export async function inspectBaseline(
  client: RailwayClient,
  place: RailwayPlace,
  names: BaselineNames,
): Promise<Baseline> {
  const { name, id } = place.project;
  const environment = place.environment.id;
  const { project } = await client.call(projectQuery, { project: id }, { about: `project ${name}` });
  const services = nodesOf(project.services).filter(({ deletedAt }) => deletedAt === null);
  const find = async (wanted: string): Promise<FoundService | null> => {
    const [service, ...more] = services.filter((one) => one.name === wanted);
    if (service === undefined) return null;
    if (more.length > 0) {
      throw new Failure(
        "ambiguous",
        "ambiguous_name",
        `${more.length + 1} Railway services in project ${name} are called ${wanted}. Rename all but one.`,
      );
    }
    const about = { about: `service ${wanted}` };
    return client.call(baselineService, { project: id, environment, service: service.id }, about).then(
      ({ serviceInstance, variables }) => ({ ...service, instance: serviceInstance, variables }),
      (error: unknown) => {
        if (!(error instanceof RailwayError) || error.kind !== "not_found") throw error;
        return { ...service, instance: null, variables: {} };
      },
    );
  };
  const env = await find(names.envService);
  const runner = await find(names.runnerService);
  const volumePaths = nodesOf(project.volumes)
    .flatMap((volume) => nodesOf(volume.volumeInstances))
    .filter((volume) => volume.serviceId === runner?.id && volume.environmentId === environment)
    .filter(({ state }) => state !== "DELETED" && state !== "DELETING")
    .map(({ mountPath }) => mountPath);
  return {
    names,
    env,
    runner: runner === null ? null : { ...runner, volumePaths },
    others: services.filter(({ id }) => id !== env?.id && id !== runner?.id),
  };
}

export type BaselineState = "empty" | "partial" | "complete";

/** What of the baseline's topology isn't there, in words; settings and variables don't count, `ensure` mends those. */
export function missingParts({ names, env, runner }: Baseline): string[] {
  const missing: string[] = [];
  if (env?.instance == null) missing.push(`the env service ${names.envService}`);
  if (runner?.instance == null) missing.push(`the runner service ${names.runnerService}`);
  if (runner === null || !runner.volumePaths.includes(VOLUME_PATH))
    missing.push(`a volume at ${VOLUME_PATH} on ${names.runnerService}`);
  return missing;
}

/** The baseline's services that are there, by name. */
export function existingParts({ env, runner }: Baseline): string[] {
  return [env, runner].flatMap((service) => (service === null ? [] : [service.name]));
}

export function baselineState(baseline: Baseline): BaselineState {
  if (missingParts(baseline).length === 0) return "complete";
  return existingParts(baseline).length === 0 ? "empty" : "partial";
}

/** A service that has the runner's name and wasn't made by Signalbox is never changed. */
export function refuseForeign({ runner }: Baseline): void {
  if (runner?.instance == null || runner.variables[BASELINE_MARK] === RUNNER_MARK) return;
  throw new Failure(
    "failed",
    "foreign_service",
    `The Railway service ${runner.name} wasn't made by Signalbox, so it isn't touched. Name another one with ` +
      `railway.runnerService in signalbox.json, or hand it over by setting ${BASELINE_MARK}=${RUNNER_MARK} on it.`,
  );
}

/** Variables on the env service that would take the place of what Signalbox or Railway sets. */
export function reservedVariables({ env }: Baseline): string[] {
  return sortVariables(Object.keys(env?.variables ?? {})).reserved;
}

export function refuseReserved(baseline: Baseline): void {
  const names = reservedVariables(baseline);
  if (names.length === 0) return;
  throw new Failure(
    "failed",
    "reserved_variable",
    `The env service ${baseline.names.envService} has ${names.join(", ")}: Signalbox sets ` +
      `${names.length === 1 ? "this itself" : "these itself"} on each deployment. Remove ` +
      `${names.length === 1 ? "it" : "them"} there.`,
  );
}
