import type { z } from "zod";
import { RailwayError } from "../../../functions/railway/error.ts";
import { nodesOf } from "../../../functions/railway/operation.ts";
import { me } from "../../../functions/railway/operations.ts";
import { projects, type VisibleProject as Project } from "../../../functions/railway/baseline-operations.ts";
import type { Named, RailwayAccess } from "./token.ts";

export interface VisibleProject extends Project {
  /** Null where the token doesn't tell: a workspace's token sees its workspace from inside. */
  workspaceName: string | null;
}

type ProjectsPage = z.infer<typeof projects.result>["projects"];

/** The workspaces of an account; none for a token that is bound to one. */
export async function visibleWorkspaces({ client }: RailwayAccess): Promise<Named[]> {
  try {
    return (await client.call(me, {})).me.workspaces;
  } catch (error) {
    if (error instanceof RailwayError && error.kind === "unauthorized") return [];
    throw error;
  }
}

/** The projects that a token sees, or those of one workspace. */
export async function visibleProjects(
  railway: RailwayAccess,
  workspaceId: string | null,
): Promise<VisibleProject[]> {
  const { client, scope } = railway;
  if (scope !== null) {
    const environments = { edges: [{ node: scope.environment }] };
    return [{ ...scope.project, environments, workspaceId: null, deletedAt: null, workspaceName: null }];
  }
  const workspaces = await visibleWorkspaces(railway);
  const asked =
    workspaceId !== null
      ? [{ id: workspaceId, name: workspaces.find(({ id }) => id === workspaceId)?.name ?? null }]
      : workspaces.length > 0
        ? workspaces
        : [{ id: null, name: null }];
  const found: VisibleProject[] = [];
  for (const { id, name } of asked) {
    let after: string | null = null;
    do {
      const page: ProjectsPage = (await client.call(projects, { workspace: id, after })).projects;
      for (const project of nodesOf(page))
        if (project.deletedAt === null) found.push({ ...project, workspaceName: name });
      after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
    } while (after !== null);
  }
  return found;
}
