import { z } from "zod";
import type { RailwayVariables } from "./operations.ts";
import { operation } from "./operation.ts";

/** What only the command line needs: finding and making what a stack stands on. */

const id = z.string().min(1);
const named = z.object({ id, name: z.string() });
const edges = <T>(node: z.ZodType<T>) => z.object({ edges: z.array(z.object({ node })) });

export const projects = operation<{ workspace: string | null }>()(
  `query projects($workspace: String) {
    projects(workspaceId: $workspace, first: 500) {
      edges { node { id name environments(first: 100) { edges { node { id name } } } } }
    }
  }`,
  z.object({
    projects: edges(z.object({ id, name: z.string(), environments: edges(named) })),
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
        edges { node { id name volumeInstances { edges { node { id serviceId environmentId mountPath } } } } }
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
