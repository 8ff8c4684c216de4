import type { Railway } from "./railway.ts";
import { renderedVariables } from "./variables.ts";
import type { Deployment, Instance, Project, Service, World } from "./world.ts";

/** What tests look at and set up, past the API; by name, in the first project unless another is named. */
export class StandInState {
  readonly world: World;
  readonly #railway: Railway;
  readonly #projectId: string;
  readonly #environmentId: string;

  constructor(railway: Railway, projectId: string, environmentId: string) {
    this.#railway = railway;
    this.world = railway.world;
    this.#projectId = projectId;
    this.#environmentId = environmentId;
  }

  /** Sorted names of a project's services. */
  serviceNames(projectId: string = this.#projectId): string[] {
    return this.world
      .servicesOf(projectId)
      .map(({ name }) => name)
      .sort();
  }

  service(name: string, projectId: string = this.#projectId): Service | undefined {
    return this.world.servicesOf(projectId).find((one) => one.name === name);
  }

  instance(name: string): Instance | undefined {
    const service = this.service(name);
    return service && this.world.instance(service.id, this.#environmentId);
  }

  /** A service's deployments, the newest first. */
  deployments(name: string): Deployment[] {
    const instance = this.instance(name);
    return instance ? this.world.deploymentsOf(instance.id) : [];
  }

  /** A service's variables with references resolved, as its process gets them. */
  variables(name: string): Record<string, string> {
    const instance = this.instance(name);
    return instance ? Object.fromEntries(renderedVariables(this.world, instance)) : {};
  }

  /** Process groups that live, with their service's name; undefined for a service that is gone. */
  processes(): { service: string | undefined; deploymentId: string; group: number }[] {
    return this.#railway.rollouts.processes().map((one) => ({
      ...one,
      service: this.world.service(this.world.deployment(one.deploymentId)?.serviceId ?? "")?.name,
    }));
  }

  addProject(
    name: string,
    environments?: string[],
    workspaceId = this.world.workspaces[0]?.id ?? "",
  ): Project {
    return this.world.addProject(name, workspaceId, environments);
  }

  /** A service that somebody else made, running if an image is named. */
  addService(name: string, options: { image?: string; variables?: Record<string, string> } = {}): Service {
    const service = this.world.addService(name, this.#projectId, this.#environmentId);
    const instance = this.world.instance(service.id, this.#environmentId);
    if (instance === undefined) throw new Error(`Service ${name} has no instance.`);
    for (const [key, value] of Object.entries(options.variables ?? {})) instance.variables.set(key, value);
    if (options.image !== undefined) {
      instance.image = options.image;
      this.#railway.rollouts.start(instance, { image: options.image });
    }
    return service;
  }

  /** Puts a service to sleep, as Railway does after a while without traffic. */
  async sleep(name: string): Promise<void> {
    await this.#railway.rollouts.sleep(this.instance(name)?.id ?? "");
  }
}
