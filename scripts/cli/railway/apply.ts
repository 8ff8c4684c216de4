import type { RailwayClient } from "../../../functions/railway/client.ts";
import { RailwayError } from "../../../functions/railway/error.ts";
import {
  environmentPatchCommit,
  serviceConnect,
  serviceCreate,
  serviceInstanceDeployV2,
  serviceInstanceUpdate,
} from "../../../functions/railway/operations.ts";
import { variableCollectionUpsert, volumeCreate } from "../../../functions/railway/baseline-operations.ts";
import { inspectBaseline, type Baseline } from "./baseline.ts";
import type { Change } from "./plan.ts";
import type { RailwayPlace } from "./token.ts";

/** After a call whose answer was lost everything is looked at again, so often. */
const ATTEMPTS = 5;
const FIRST_DELAY_MS = 500;

export interface Reconciliation {
  client: RailwayClient;
  place: RailwayPlace;
  /** What there is now; the first look was made by the caller. */
  baseline: Baseline;
  plan: (baseline: Baseline) => Change[];
  /** Told before each step. */
  report: (change: Change) => void;
  signal: AbortSignal;
}

/**
 * Takes the planned steps. Where one's answer is lost or Railway stumbles, it looks at what there is and plans again,
 * so that nothing is made twice. Returns the steps that were taken.
 */
export async function reconcileBaseline(work: Reconciliation): Promise<Change[]> {
  const { client, place, plan, report, signal } = work;
  const taken: Change[] = [];
  let { baseline } = work;
  let owed: { deploy: Change; before: string | null } | null = null;
  for (let attempt = 1; ; attempt++) {
    const changes = plan(baseline);
    // What was set before the failure no longer shows as a change, and still has to be deployed.
    if (owed !== null && deployed(baseline) === owed.before && !changes.some(deploys))
      changes.push(owed.deploy);
    const ids = serviceIds(baseline);
    try {
      for (const change of changes) {
        signal.throwIfAborted();
        report(change);
        const deploy = changes.find(deploys);
        if (deploy && change.kind !== "group") owed ??= { deploy, before: deployed(baseline) };
        await take(client, place, ids, change);
        taken.push(change);
        if (deploys(change)) owed = null;
      }
      return taken;
    } catch (error) {
      if (!(error instanceof RailwayError) || attempt === ATTEMPTS || !mayHaveHappened(error, attempt))
        throw error;
      await new Promise((resolve) => setTimeout(resolve, FIRST_DELAY_MS * 2 ** (attempt - 1)));
      baseline = await inspectBaseline(client, place, baseline.names);
    }
  }
}

/** A call whose answer was lost may also come true later, and then its repetition is refused. */
function mayHaveHappened({ uncertain, retryable, kind }: RailwayError, attempt: number): boolean {
  return uncertain || retryable || (attempt > 1 && kind === "refused");
}

function deploys({ kind }: Change): boolean {
  return kind === "deploy" || kind === "connect";
}

function deployed({ runner }: Baseline): string | null {
  return runner?.instance?.latestDeployment?.id ?? null;
}

function serviceIds({ env, runner }: Baseline): Map<string, string> {
  return new Map([env, runner].flatMap((service) => (service === null ? [] : [[service.name, service.id]])));
}

async function take(
  client: RailwayClient,
  place: RailwayPlace,
  ids: Map<string, string>,
  change: Change,
): Promise<void> {
  const projectId = place.project.id;
  const environmentId = place.environment.id;
  if (change.kind === "group") {
    const patch = {
      services: Object.fromEntries(change.services.map(({ id }) => [id, { groupId: change.groupId }])),
    };
    const message = "Signalbox: one group";
    await client.call(environmentPatchCommit, { environment: environmentId, patch, message });
    return;
  }
  const about = { about: `service ${change.name}` };
  if (change.kind === "create-service") {
    const input = { projectId, environmentId, name: change.name, variables: change.variables };
    const { serviceCreate: made } = await client.call(serviceCreate, { input }, about);
    ids.set(change.name, made.id);
    return;
  }
  const service = ids.get(change.name);
  if (service === undefined) throw new Error(`${change.kind} comes before the creation of ${change.name}`);
  switch (change.kind) {
    case "create-volume": {
      const input = { projectId, environmentId, serviceId: service, mountPath: change.mountPath };
      await client.call(volumeCreate, { input }, about);
      return;
    }
    case "configure":
      await client.call(
        serviceInstanceUpdate,
        { environment: environmentId, service, input: change.settings },
        about,
      );
      return;
    case "connect":
      await client.call(serviceConnect, { service, input: change.source }, about);
      return;
    case "set-variables": {
      const { variables } = change;
      const input = { projectId, environmentId, serviceId: service, variables, skipDeploys: true };
      await client.call(variableCollectionUpsert, { input }, about);
      return;
    }
    case "deploy":
      await client.call(
        serviceInstanceDeployV2,
        { environment: environmentId, service, commit: null },
        about,
      );
  }
}
