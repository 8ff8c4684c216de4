import { randomUUID } from "node:crypto";

/** What exists in the stand-in's Railway: plain records, in memory. */

export interface Workspace {
  id: string;
  name: string;
  createdAt: Date;
}

export interface Project {
  id: string;
  name: string;
  workspaceId: string;
  createdAt: Date;
}

export interface Environment {
  id: string;
  name: string;
  projectId: string;
  createdAt: Date;
  sharedVariables: Map<string, string>;
  staged: Patch | null;
}

export interface Patch {
  id: string;
  createdAt: Date;
  config: Record<string, unknown>;
}

export interface Group {
  id: string;
  name: string;
  projectId: string;
}

export interface Service {
  id: string;
  name: string;
  icon: string | null;
  projectId: string;
  groupId: string | null;
  createdAt: Date;
}

export type RestartPolicy = "ALWAYS" | "NEVER" | "ON_FAILURE";

/** What `serviceInstanceUpdate` sets. */
export interface InstanceSettings {
  builder: string;
  buildCommand: string | null;
  startCommand: string | null;
  preDeployCommand: string[] | null;
  dockerfilePath: string | null;
  rootDirectory: string | null;
  railwayConfigFile: string | null;
  cronSchedule: string | null;
  healthcheckPath: string | null;
  healthcheckTimeout: number | null;
  numReplicas: number;
  region: string | null;
  overlapSeconds: number | null;
  drainingSeconds: number | null;
  restartPolicyType: RestartPolicy;
  restartPolicyMaxRetries: number;
  sleepApplication: boolean;
}

/** A service in one environment. */
export interface Instance {
  id: string;
  serviceId: string;
  environmentId: string;
  createdAt: Date;
  updatedAt: Date;
  image: string | null;
  repo: string | null;
  /** Whether a push to the repository deploys it. */
  autoDeploys: boolean;
  settings: InstanceSettings;
  variables: Map<string, string>;
  domains: Domain[];
}

export interface Domain {
  id: string;
  /** With its port, since all of them are on this machine. */
  domain: string;
  targetPort: number | null;
  createdAt: Date;
}

export interface Volume {
  id: string;
  name: string;
  projectId: string;
  environmentId: string;
  serviceId: string | null;
  mountPath: string;
  createdAt: Date;
}

export type DeploymentStatus =
  | "BUILDING"
  | "CRASHED"
  | "DEPLOYING"
  | "FAILED"
  | "INITIALIZING"
  | "QUEUED"
  | "REMOVED"
  | "REMOVING"
  | "SLEEPING"
  | "SUCCESS";

export type Source = { image: string } | { repo: string } | { upload: string };

export interface LogLine {
  message: string;
  severity: "info" | "error";
  timestamp: Date;
}

export interface Deployment {
  id: string;
  projectId: string;
  environmentId: string;
  serviceId: string;
  instanceId: string;
  status: DeploymentStatus;
  /** Every state it was in, in order. */
  history: DeploymentStatus[];
  statusUpdatedAt: Date;
  createdAt: Date;
  source: Source;
  buildLogs: LogLine[];
  deployLogs: LogLine[];
}

const DEFAULTS: InstanceSettings = {
  builder: "RAILPACK",
  buildCommand: null,
  startCommand: null,
  preDeployCommand: null,
  dockerfilePath: null,
  rootDirectory: null,
  railwayConfigFile: null,
  cronSchedule: null,
  healthcheckPath: null,
  healthcheckTimeout: null,
  numReplicas: 1,
  region: null,
  overlapSeconds: null,
  drainingSeconds: null,
  restartPolicyType: "ON_FAILURE",
  restartPolicyMaxRetries: 10,
  sleepApplication: false,
};

export class World {
  readonly workspaces: Workspace[] = [];
  readonly projects: Project[] = [];
  readonly environments: Environment[] = [];
  readonly groups: Group[] = [];
  readonly services: Service[] = [];
  readonly instances: Instance[] = [];
  readonly deployments: Deployment[] = [];
  readonly volumes: Volume[] = [];

  addWorkspace(name: string): Workspace {
    return add(this.workspaces, { id: randomUUID(), name, createdAt: new Date() });
  }

  addProject(name: string, workspaceId: string, environments: readonly string[] = ["production"]): Project {
    const project = add(this.projects, { id: randomUUID(), name, workspaceId, createdAt: new Date() });
    for (const environment of environments) this.addEnvironment(environment, project.id);
    return project;
  }

  addEnvironment(name: string, projectId: string): Environment {
    const environment = add(this.environments, {
      id: randomUUID(),
      name,
      projectId,
      createdAt: new Date(),
      sharedVariables: new Map(),
      staged: null,
    });
    for (const service of this.servicesOf(projectId)) this.addInstance(service.id, environment.id);
    return environment;
  }

  addGroup(name: string, projectId: string, id: string = randomUUID()): Group {
    return add(this.groups, { id, name, projectId });
  }

  /** A service exists in every environment of its project, or in one. */
  addService(name: string, projectId: string, environmentId?: string): Service {
    const service = add(this.services, {
      id: randomUUID(),
      name,
      icon: null,
      projectId,
      groupId: null,
      createdAt: new Date(),
    });
    for (const environment of this.environments) {
      if (
        environmentId === undefined ? environment.projectId === projectId : environment.id === environmentId
      )
        this.addInstance(service.id, environment.id);
    }
    return service;
  }

  addInstance(serviceId: string, environmentId: string): Instance {
    return add(this.instances, {
      id: randomUUID(),
      serviceId,
      environmentId,
      createdAt: new Date(),
      updatedAt: new Date(),
      image: null,
      repo: null,
      autoDeploys: true,
      settings: { ...DEFAULTS },
      variables: new Map(),
      domains: [],
    });
  }

  addDeployment(instance: Instance, source: Source): Deployment {
    return add(this.deployments, {
      id: randomUUID(),
      projectId: this.environment(instance.environmentId)?.projectId ?? "",
      environmentId: instance.environmentId,
      serviceId: instance.serviceId,
      instanceId: instance.id,
      status: "QUEUED",
      history: ["QUEUED"],
      statusUpdatedAt: new Date(),
      createdAt: new Date(),
      source,
      buildLogs: [],
      deployLogs: [],
    });
  }

  addVolume(volume: Omit<Volume, "id" | "createdAt">): Volume {
    return add(this.volumes, { id: randomUUID(), createdAt: new Date(), ...volume });
  }

  project(id: string): Project | undefined {
    return this.projects.find((one) => one.id === id);
  }

  environment(id: string): Environment | undefined {
    return this.environments.find((one) => one.id === id);
  }

  service(id: string): Service | undefined {
    return this.services.find((one) => one.id === id);
  }

  instance(serviceId: string, environmentId: string): Instance | undefined {
    return this.instances.find((one) => one.serviceId === serviceId && one.environmentId === environmentId);
  }

  deployment(id: string): Deployment | undefined {
    return this.deployments.find((one) => one.id === id);
  }

  servicesOf(projectId: string): Service[] {
    return this.services.filter((one) => one.projectId === projectId);
  }

  /** The newest first, as Railway lists them. */
  deploymentsOf(instanceId: string): Deployment[] {
    return this.deployments.filter((one) => one.instanceId === instanceId).toReversed();
  }

  volumeOf(instance: Instance): Volume | undefined {
    return this.volumes.find(
      ({ serviceId, environmentId }) =>
        serviceId === instance.serviceId && environmentId === instance.environmentId,
    );
  }

  removeService(service: Service): void {
    drop(this.services, (one) => one === service);
    drop(this.instances, (one) => one.serviceId === service.id);
    for (const volume of this.volumes) if (volume.serviceId === service.id) volume.serviceId = null;
  }

  removeInstance(instance: Instance): void {
    drop(this.instances, (one) => one === instance);
  }

  removeProject(project: Project): void {
    drop(this.projects, (one) => one === project);
    drop(this.environments, (one) => one.projectId === project.id);
    drop(this.groups, (one) => one.projectId === project.id);
    drop(this.volumes, (one) => one.projectId === project.id);
  }

  removeVolume(volume: Volume): void {
    drop(this.volumes, (one) => one === volume);
  }
}

export function setStatus(deployment: Deployment, status: DeploymentStatus): void {
  if (deployment.status === status) return;
  deployment.status = status;
  deployment.history.push(status);
  deployment.statusUpdatedAt = new Date();
}

function add<T>(list: T[], item: T): T {
  list.push(item);
  return item;
}

function drop<T>(list: T[], isIt: (item: T) => boolean): void {
  for (let index = list.length - 1; index >= 0; index -= 1) {
    const item = list[index];
    if (item !== undefined && isIt(item)) list.splice(index, 1);
  }
}
