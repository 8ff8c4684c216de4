import type { RailwayClient } from "../../../functions/railway/client.ts";
import { serviceVariables } from "../../../functions/railway/operations.ts";
import type { Baseline } from "./baseline.ts";
import type { RailwayPlace } from "./token.ts";

/** The three variables that mark a deployment's service; only a service with all of them is ever moved. */
const MARK = ["SIGNALBOX_OWNER", "SIGNALBOX_APP", "SIGNALBOX_DEPLOYMENT_ID"];

/**
 * The services of this installation's deployments that stand outside of the runner's canvas group. Asks for the
 * variables of these services only where the runner is in a group, since nothing else needs them.
 */
export async function ownedDeployments(
  client: RailwayClient,
  place: RailwayPlace,
  { runner, others }: Baseline,
  installation: string | null,
): Promise<Baseline["others"]> {
  const groupId = runner?.groupId ?? null;
  if (groupId === null || installation === null) return [];
  const owned: Baseline["others"] = [];
  for (const service of others.filter((other) => other.groupId !== groupId)) {
    const { variables } = await client.call(
      serviceVariables,
      { project: place.project.id, environment: place.environment.id, service: service.id },
      { about: `service ${service.name}` },
    );
    const marked = MARK.every((name) => variables[name] !== undefined);
    if (marked && variables["SIGNALBOX_OWNER"] === installation) owned.push(service);
  }
  return owned;
}
