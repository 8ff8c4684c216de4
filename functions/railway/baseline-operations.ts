import { z } from "zod";
import type { RailwayVariables } from "./operations.ts";
import { operation } from "./operation.ts";

/** What only the command line needs: finding and making the baseline. */

const id = z.string().min(1);
const named = z.object({ id, name: z.string() });
const edges = <T>(node: z.ZodType<T>) => z.object({ edges: z.array(z.object({ node })) });

const visibleProject = z.object({
  id,
  name: z.string(),
  workspaceId: z.string().nullable(),
  deletedAt: z.string().nullable(),
  environments: edges(named),
});
export type VisibleProject = z.infer<typeof visibleProject>;

/** A page of the projects that a token sees; with null those that are its own. */
export const projects = operation<{ workspace: string | null; after: string | null }>()(
  `query projects($workspace: String, $after: String) {
    projects(workspaceId: $workspace, first: 100, after: $after) {
      edges { node { id name workspaceId deletedAt environments(first: 100) { edges { node { id name } } } } }
      pageInfo { hasNextPage endCursor }
    }
  }`,
  z.object({
    projects: z.object({
      edges: z.array(z.object({ node: visibleProject })),
      pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullable() }),
    }),
  }),
);

/** A project with its environments, services, volumes and groups. */
export const project = operation<{ project: string }>()(
  `query project($project: String!) {
    project(id: $project) {
      id name workspaceId
      environments(first: 100) { edges { node { id name } } }
      services(first: 500) { edges { node { id name groupId createdAt deletedAt } } }
      volumes(first: 100) {
        edges { node { id name volumeInstances { edges { node { id serviceId environmentId mountPath state } } } } }
      }
      groups(first: 100) { edges { node { id name } } }
    }
  }`,
  z.object({
    project: z.object({
      id,
      name: z.string(),
      workspaceId: z.string().nullable(),
      environments: edges(named),
      services: edges(
        z.object({
          id,
          name: z.string(),
          groupId: z.string().nullable(),
          createdAt: z.string(),
          deletedAt: z.string().nullable(),
        }),
      ),
      volumes: edges(
        z.object({
          id,
          name: z.string(),
          volumeInstances: edges(
            z.object({
              id,
              serviceId: z.string().nullable(),
              environmentId: z.string().nullable(),
              mountPath: z.string(),
              state: z.string().nullable(),
            }),
          ),
        }),
      ),
      groups: edges(z.object({ id, name: z.string().nullable() })),
    }),
  }),
);

export const projectCreate = operation<{
  input: { name: string; workspaceId?: string; defaultEnvironmentName?: string };
}>()(
  `mutation projectCreate($input: ProjectCreateInput!) {
    projectCreate(input: $input) {
      id name
      environments(first: 100) { edges { node { id name } } }
    }
  }`,
  z.object({ projectCreate: z.object({ id, name: z.string(), environments: edges(named) }) }),
);

export const environmentCreate = operation<{ input: { projectId: string; name: string } }>()(
  `mutation environmentCreate($input: EnvironmentCreateInput!) {
    environmentCreate(input: $input) { id name }
  }`,
  z.object({ environmentCreate: named }),
);

/** A service of the baseline as `ensure` compares it. */
export const baselineService = operation<{ project: string; environment: string; service: string }>()(
  `query baselineService($project: String!, $environment: String!, $service: String!) {
    variables(projectId: $project, environmentId: $environment, serviceId: $service, unrendered: true)
    serviceInstance(environmentId: $environment, serviceId: $service) {
      source { image repo }
      healthcheckPath healthcheckTimeout overlapSeconds drainingSeconds restartPolicyType
      latestDeployment { id status }
    }
  }`,
  z.object({
    variables: z.record(z.string(), z.string()),
    serviceInstance: z.object({
      source: z.object({ image: z.string().nullable(), repo: z.string().nullable() }).nullable(),
      healthcheckPath: z.string().nullable(),
      healthcheckTimeout: z.number().nullable(),
      overlapSeconds: z.number().nullable(),
      drainingSeconds: z.number().nullable(),
      restartPolicyType: z.string().nullable(),
      latestDeployment: z.object({ id, status: z.string() }).nullable(),
    }),
  }),
);
export type BaselineInstance = z.infer<typeof baselineService.result>["serviceInstance"];

export const volumeCreate = operation<{
  input: { projectId: string; environmentId: string; serviceId: string; mountPath: string };
}>()(
  `mutation volumeCreate($input: VolumeCreateInput!) { volumeCreate(input: $input) { id } }`,
  z.object({ volumeCreate: z.object({ id }) }),
);

/** Leaves the variables that aren't named as they are. */
export const variableCollectionUpsert = operation<{
  input: {
    projectId: string;
    environmentId: string;
    serviceId: string;
    variables: RailwayVariables;
    skipDeploys?: boolean;
  };
}>()(
  `mutation variableCollectionUpsert($input: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $input) }`,
  z.object({ variableCollectionUpsert: z.boolean() }),
);

export const variableDelete = operation<{
  input: { projectId: string; environmentId: string; serviceId: string; name: string };
}>()(
  `mutation variableDelete($input: VariableDeleteInput!) { variableDelete(input: $input) }`,
  z.object({ variableDelete: z.boolean() }),
);
