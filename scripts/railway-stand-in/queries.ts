import { type Access, notAuthorized } from "./access.ts";
import type { Railway } from "./railway.ts";
import { renderedVariables } from "./variables.ts";
import { connection, type LogArguments, type PageArguments } from "./views.ts";
import type { DeploymentStatus } from "./world.ts";

interface ListArguments extends PageArguments {
  input: {
    environmentId?: string | null;
    projectId?: string | null;
    serviceId?: string | null;
    includeDeleted?: boolean | null;
    status?: { in?: DeploymentStatus[] | null; notIn?: DeploymentStatus[] | null } | null;
  };
}

interface OneDeployment extends LogArguments {
  deploymentId: string;
}

/** The Query type's fields. */
export function queries({ world, views }: Railway, access: Access): object {
  const { token } = access;
  return {
    me() {
      access.account();
      return {
        id: "00000000-0000-4000-8000-000000000001",
        name: "Operator",
        email: "operator@example.com",
        username: "operator",
        workspaces: world.workspaces.map(views.workspace),
      };
    },

    apiToken() {
      if (token === null || token.kind === "project") throw notAuthorized();
      const workspaces = world.workspaces.filter(
        ({ id }) => token.kind === "account" || id === token.workspaceId,
      );
      return { workspaces: workspaces.map(({ id, name }) => ({ id, name })) };
    },

    projectToken() {
      if (token?.kind !== "project") throw notAuthorized();
      const { projectId, environmentId, name } = token;
      return {
        id: `token-${projectId}`,
        name,
        displayToken: "****",
        createdAt: new Date(0).toISOString(),
        projectId,
        project: () => views.project(access.project(projectId)),
        environmentId,
        environment: () => views.environment(access.environment(environmentId)),
      };
    },

    projects({ workspaceId, ...page }: PageArguments & { workspaceId?: string | null }) {
      if (token === null || token.kind === "project") throw notAuthorized();
      if (workspaceId != null) access.workspace(workspaceId);
      const own = token.kind === "workspace" ? token.workspaceId : (workspaceId ?? null);
      const found = world.projects.filter((project) => own === null || project.workspaceId === own);
      return connection(found, views.project, page);
    },

    project: ({ id }: { id: string }) => views.project(access.project(id)),

    workspace({ workspaceId }: { workspaceId: string }) {
      access.workspace(workspaceId);
      const workspace = world.workspaces.find(({ id }) => id === workspaceId);
      if (workspace === undefined) throw notAuthorized();
      return views.workspace(workspace);
    },

    environment: ({ id }: { id: string }) => views.environment(access.environment(id)),

    environments({ projectId, ...page }: PageArguments & { projectId: string }) {
      const project = access.project(projectId);
      const found = world.environments.filter((one) => one.projectId === project.id);
      return connection(found, views.environment, page);
    },

    service: ({ id }: { id: string }) => views.service(access.service(id)),

    serviceInstance: ({ serviceId, environmentId }: { serviceId: string; environmentId: string }) =>
      views.instance(access.instance(serviceId, environmentId)),

    deployments({ input, ...page }: ListArguments) {
      if (input.projectId != null) access.project(input.projectId);
      if (input.environmentId != null) access.environment(input.environmentId);
      if (input.serviceId != null) access.service(input.serviceId);
      if (input.projectId == null && input.environmentId == null && input.serviceId == null)
        throw notAuthorized();
      const found = world.deployments.filter(
        (one) =>
          (input.projectId == null || one.projectId === input.projectId) &&
          (input.environmentId == null || one.environmentId === input.environmentId) &&
          (input.serviceId == null || one.serviceId === input.serviceId) &&
          (input.status?.in == null || input.status.in.includes(one.status)) &&
          !input.status?.notIn?.includes(one.status),
      );
      return connection(found.toReversed(), views.deployment, page);
    },

    deployment: ({ id }: { id: string }) => views.deployment(access.deployment(id)),

    buildLogs({ deploymentId, ...wanted }: OneDeployment) {
      const deployment = access.deployment(deploymentId);
      return views.logs(deployment, deployment.buildLogs, wanted);
    },

    deploymentLogs({ deploymentId, ...wanted }: OneDeployment) {
      const deployment = access.deployment(deploymentId);
      return views.logs(deployment, deployment.deployLogs, wanted);
    },

    variables(wanted: {
      projectId: string;
      environmentId: string;
      serviceId?: string | null;
      unrendered?: boolean | null;
    }) {
      access.project(wanted.projectId);
      const environment = access.environment(wanted.environmentId);
      if (wanted.serviceId == null) return Object.fromEntries(environment.sharedVariables);
      const instance = access.instance(wanted.serviceId, wanted.environmentId);
      return Object.fromEntries(
        wanted.unrendered === true ? instance.variables : renderedVariables(world, instance),
      );
    },

    domains: ({ serviceId, environmentId }: { serviceId: string; environmentId: string }) =>
      views.domains(access.instance(serviceId, environmentId)),

    environmentStagedChanges({ environmentId }: { environmentId: string }) {
      const environment = access.environment(environmentId);
      const staged = environment.staged ?? {
        id: `patch-${environmentId}`,
        createdAt: new Date(),
        config: {},
      };
      return views.patch(staged, environment);
    },
  };
}
