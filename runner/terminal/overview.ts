import type { BuildView, ProjectView } from "../../functions/protocol/builds.ts";
import type { HostedDeployment } from "../../functions/protocol/runner-api.ts";

/** What a runner hosts, as its terminal shows it. */
export interface Overview {
  deployments: HostedDeployment[];
  projects: ProjectView[];
}

export const noOverview: Overview = { deployments: [], projects: [] };

/** Builds of all projects, the newest first. */
export function buildsOf({ projects }: Overview): BuildView[] {
  return projects
    .flatMap(({ builds }) => builds)
    .sort((one, other) => other.createdAt.localeCompare(one.createdAt));
}

/** Where a port of this machine is opened. */
export function localAddress(port: number | null): string | null {
  return port === null ? null : `http://localhost:${port}`;
}

/** Where a build's project is looked at; null while its dev server doesn't run. */
export function addressOfBuild({ projects }: Overview, build: BuildView): string | null {
  const server = projects.find(({ slug }) => slug === build.project)?.devServer;
  return server?.state === "running" ? localAddress(server.port) : null;
}
