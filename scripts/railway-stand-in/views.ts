import type {
  Deployment,
  Domain,
  Environment,
  Group,
  Instance,
  LogLine,
  Patch,
  Project,
  Service,
  Volume,
  Workspace,
  World,
} from "./world.ts";

/** A page of a connection, by Relay's rules. */
export interface PageArguments {
  first?: number | null;
  after?: string | null;
}

export interface LogArguments {
  limit?: number | null;
  filter?: string | null;
  startDate?: string | null;
  endDate?: string | null;
}

const PAGE_LIMIT = 500;
const LOG_LIMIT = 500;

export function connection<T extends { id: string }, V>(
  items: readonly T[],
  view: (item: T) => V,
  { first, after }: PageArguments = {},
): object {
  const from = after == null ? 0 : items.findIndex(({ id }) => id === after) + 1;
  const page = items.slice(from, from + Math.min(first ?? PAGE_LIMIT, PAGE_LIMIT));
  return {
    edges: page.map((item) => ({ cursor: item.id, node: view(item) })),
    pageInfo: {
      startCursor: page[0]?.id ?? null,
      endCursor: page.at(-1)?.id ?? null,
      hasNextPage: from + page.length < items.length,
      hasPreviousPage: from > 0,
    },
  };
}

/** How records look to GraphQL; fields that lead on are functions, so that a view is made only as deep as asked. */
export class Views {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  workspace = (workspace: Workspace): object => ({
    ...workspace,
    createdAt: workspace.createdAt.toISOString(),
    projects: (page: PageArguments) =>
      connection(
        this.#world.projects.filter(({ workspaceId }) => workspaceId === workspace.id),
        this.project,
        page,
      ),
  });

  project = (project: Project): object => {
    const environments = this.#world.environments.filter(({ projectId }) => projectId === project.id);
    const at = project.createdAt.toISOString();
    return {
      ...project,
      description: null,
      createdAt: at,
      updatedAt: at,
      deletedAt: null,
      workspace: () => this.#found(this.#world.workspaces, project.workspaceId, this.workspace),
      baseEnvironment: () => (environments[0] ? this.environment(environments[0]) : null),
      baseEnvironmentId: environments[0]?.id ?? null,
      primaryEnvironmentId: environments[0]?.id ?? null,
      environments: (page: PageArguments) => connection(environments, this.environment, page),
      services: (page: PageArguments) => connection(this.#world.servicesOf(project.id), this.service, page),
      volumes: (page: PageArguments) =>
        connection(this.#of(this.#world.volumes, project.id), this.volume, page),
      groups: (page: PageArguments) => connection(this.#of(this.#world.groups, project.id), this.group, page),
    };
  };

  environment = (environment: Environment): object => {
    const instances = this.#world.instances.filter((one) => one.environmentId === environment.id);
    const at = environment.createdAt.toISOString();
    return {
      id: environment.id,
      name: environment.name,
      projectId: environment.projectId,
      createdAt: at,
      updatedAt: at,
      deletedAt: null,
      isEphemeral: false,
      config: () => ({
        services: Object.fromEntries(
          instances.map(({ serviceId }) => [
            serviceId,
            { groupId: this.#world.service(serviceId)?.groupId ?? null },
          ]),
        ),
        groups: Object.fromEntries(
          this.#of(this.#world.groups, environment.projectId).map(({ id, name }) => [id, { name }]),
        ),
      }),
      serviceInstances: (page: PageArguments) => connection(instances, this.instance, page),
      volumeInstances: (page: PageArguments) =>
        connection(
          this.#world.volumes.filter(({ environmentId }) => environmentId === environment.id),
          this.volumeInstance,
          page,
        ),
      deployments: (page: PageArguments) =>
        connection(
          this.#world.deployments
            .filter(({ environmentId }) => environmentId === environment.id)
            .toReversed(),
          this.deployment,
          page,
        ),
    };
  };

  service = (service: Service): object => ({
    ...service,
    createdAt: service.createdAt.toISOString(),
    updatedAt: service.createdAt.toISOString(),
    deletedAt: null,
    project: () => this.#found(this.#world.projects, service.projectId, this.project),
    serviceInstances: (page: PageArguments) =>
      connection(
        this.#world.instances.filter(({ serviceId }) => serviceId === service.id),
        this.instance,
        page,
      ),
    deployments: (page: PageArguments) =>
      connection(
        this.#world.deployments.filter(({ serviceId }) => serviceId === service.id).toReversed(),
        this.deployment,
        page,
      ),
  });

  instance = (instance: Instance): object => {
    const deployments = this.#world.deploymentsOf(instance.id);
    const service = this.#world.service(instance.serviceId);
    const isUpload = instance.image === null && instance.repo === null;
    return {
      ...instance.settings,
      id: instance.id,
      serviceId: instance.serviceId,
      serviceName: service?.name ?? "",
      service: () => service && this.service(service),
      environmentId: instance.environmentId,
      createdAt: instance.createdAt.toISOString(),
      updatedAt: instance.updatedAt.toISOString(),
      deletedAt: null,
      source: isUpload ? null : { image: instance.image, repo: instance.repo },
      domains: () => this.domains(instance),
      latestDeployment: () => (deployments[0] ? this.deployment(deployments[0]) : null),
      activeDeployments: () =>
        deployments.filter(({ status }) => ["SUCCESS", "SLEEPING"].includes(status)).map(this.deployment),
    };
  };

  domains = (instance: Instance): object => ({
    customDomains: [],
    serviceDomains: instance.domains.map((domain) => this.domain(domain, instance)),
  });

  domain = (domain: Domain, instance: Instance): object => ({
    ...domain,
    suffix: null,
    environmentId: instance.environmentId,
    serviceId: instance.serviceId,
    projectId: this.#world.service(instance.serviceId)?.projectId ?? null,
    createdAt: domain.createdAt.toISOString(),
    updatedAt: domain.createdAt.toISOString(),
    deletedAt: null,
    syncStatus: "ACTIVE",
  });

  deployment = (deployment: Deployment): object => {
    const instance = this.#world.instance(deployment.serviceId, deployment.environmentId);
    return {
      id: deployment.id,
      status: deployment.status,
      statusUpdatedAt: deployment.statusUpdatedAt.toISOString(),
      createdAt: deployment.createdAt.toISOString(),
      updatedAt: deployment.statusUpdatedAt.toISOString(),
      projectId: deployment.projectId,
      environmentId: deployment.environmentId,
      environment: () => this.#found(this.#world.environments, deployment.environmentId, this.environment),
      serviceId: deployment.serviceId,
      service: () => this.#found(this.#world.services, deployment.serviceId, this.service),
      url: null,
      staticUrl: instance?.domains[0]?.domain ?? null,
      meta: "image" in deployment.source ? { image: deployment.source.image } : {},
      canRedeploy: true,
      canRollback: false,
      deploymentStopped: false,
    };
  };

  volume = (volume: Volume): object => ({
    ...volume,
    createdAt: volume.createdAt.toISOString(),
    project: () => this.#found(this.#world.projects, volume.projectId, this.project),
    volumeInstances: (page: PageArguments) => connection([volume], this.volumeInstance, page),
  });

  volumeInstance = (volume: Volume): object => ({
    ...volume,
    createdAt: volume.createdAt.toISOString(),
    sizeMB: 5_000,
    state: "READY",
    volumeId: volume.id,
    volume: () => this.volume(volume),
    environment: () => this.#found(this.#world.environments, volume.environmentId, this.environment),
    service: () =>
      volume.serviceId === null ? null : this.#found(this.#world.services, volume.serviceId, this.service),
  });

  group = (group: Group): object => ({
    ...group,
    color: null,
    icon: null,
    isCollapsed: false,
    groupId: null,
    project: () => this.#found(this.#world.projects, group.projectId, this.project),
  });

  patch = (patch: Patch, environment: Environment): object => ({
    id: patch.id,
    status: "STAGED",
    message: null,
    patch: patch.config,
    environmentId: environment.id,
    environment: () => this.environment(environment),
    createdAt: patch.createdAt.toISOString(),
    updatedAt: patch.createdAt.toISOString(),
    appliedAt: null,
    lastAppliedError: null,
  });

  logs = (deployment: Deployment, lines: readonly LogLine[], wanted: LogArguments): object[] =>
    lines
      .filter(
        ({ message, timestamp }) =>
          (wanted.filter == null || message.includes(wanted.filter)) &&
          (wanted.startDate == null || timestamp >= new Date(wanted.startDate)) &&
          (wanted.endDate == null || timestamp <= new Date(wanted.endDate)),
      )
      .slice(-(wanted.limit ?? LOG_LIMIT))
      .map(({ message, severity, timestamp }) => ({
        message,
        severity,
        timestamp: timestamp.toISOString(),
        attributes: [],
        tags: {
          deploymentId: deployment.id,
          environmentId: deployment.environmentId,
          projectId: deployment.projectId,
          serviceId: deployment.serviceId,
        },
      }));

  #found<T extends { id: string }>(list: readonly T[], id: string, view: (item: T) => object): object | null {
    const item = list.find((one) => one.id === id);
    return item === undefined ? null : view(item);
  }

  #of<T extends { projectId: string }>(list: readonly T[], projectId: string): T[] {
    return list.filter((one) => one.projectId === projectId);
  }
}
