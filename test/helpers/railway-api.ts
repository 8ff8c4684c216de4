import type { RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";

export interface RailwayAnswer {
  status: number;
  headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- a test reads what it asked for
  data: any;
  errors: { message: string }[];
}

/** Sends GraphQL to the stand-in as a client would, and hands back whatever it answers. */
export async function askRailway(
  standIn: RailwayStandIn,
  query: string,
  variables: Record<string, unknown> = {},
  headers: Record<string, string> = { authorization: `Bearer ${standIn.accountToken}` },
): Promise<RailwayAnswer> {
  const response = await fetch(`${standIn.url}/graphql/v2`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ query, variables }),
  });
  const body = (await response.json()) as { data?: unknown; errors?: { message: string }[] };
  return {
    status: response.status,
    headers: response.headers,
    data: body.data ?? null,
    errors: body.errors ?? [],
  };
}

/** Creates an unstarted service with settings in one environment and answers its id. */
export async function makeService(
  standIn: RailwayStandIn,
  name: string,
  options: { variables?: Record<string, string>; settings?: Record<string, unknown> } = {},
): Promise<string> {
  const { projectId, environmentId } = standIn;
  const created = await askRailway(
    standIn,
    `mutation ($input: ServiceCreateInput!) { serviceCreate(input: $input) { id } }`,
    { input: { name, projectId, environmentId, variables: options.variables ?? {} } },
  );
  if (created.errors.length > 0) throw new Error(JSON.stringify(created.errors));
  const serviceId: string = created.data.serviceCreate.id;
  if (options.settings) {
    const updated = await askRailway(
      standIn,
      `mutation ($serviceId: String!, $environmentId: String!, $input: ServiceInstanceUpdateInput!) {
        serviceInstanceUpdate(serviceId: $serviceId, environmentId: $environmentId, input: $input)
      }`,
      { serviceId, environmentId, input: options.settings },
    );
    if (updated.errors.length > 0) throw new Error(JSON.stringify(updated.errors));
  }
  return serviceId;
}

export async function makeDomain(standIn: RailwayStandIn, serviceId: string): Promise<string> {
  const answer = await askRailway(
    standIn,
    `mutation ($input: ServiceDomainCreateInput!) { serviceDomainCreate(input: $input) { domain } }`,
    { input: { serviceId, environmentId: standIn.environmentId } },
  );
  return answer.data.serviceDomainCreate.domain;
}

/** Deploys a service's image or repo and answers the deployment's id. */
export async function deployService(standIn: RailwayStandIn, serviceId: string): Promise<string> {
  const answer = await askRailway(
    standIn,
    `mutation ($serviceId: String!, $environmentId: String!) {
      serviceInstanceDeployV2(serviceId: $serviceId, environmentId: $environmentId)
    }`,
    { serviceId, environmentId: standIn.environmentId },
  );
  if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
  return answer.data.serviceInstanceDeployV2;
}
