import { randomUUID } from "node:crypto";
import { PublicDomain } from "./domains.ts";
import type { Rollouts } from "./rollouts.ts";
import { Views } from "./views.ts";
import type { Domain, Instance, Service, World } from "./world.ts";

/** The world with what runs in it: what has to happen in both at once is done here. */
export class Railway {
  readonly world: World;
  readonly rollouts: Rollouts;
  readonly views: Views;
  readonly #open = new Map<string, PublicDomain>();

  constructor(world: World, rollouts: Rollouts) {
    this.world = world;
    this.rollouts = rollouts;
    this.views = new Views(world);
  }

  async addDomain(instance: Instance, targetPort: number | null): Promise<Domain> {
    const listener = await PublicDomain.open(() => this.rollouts.destination(instance.id));
    const id = randomUUID();
    const domain = { id, domain: listener.address, targetPort, createdAt: new Date() };
    this.#open.set(id, listener);
    instance.domains.push(domain);
    return domain;
  }

  async removeDomain(instance: Instance, id: string): Promise<void> {
    instance.domains = instance.domains.filter((domain) => domain.id !== id);
    await this.#open.get(id)?.close();
    this.#open.delete(id);
  }

  async removeInstance(instance: Instance): Promise<void> {
    this.world.removeInstance(instance);
    await this.#end(instance);
    if (!this.world.instances.some(({ serviceId }) => serviceId === instance.serviceId)) {
      const service = this.world.service(instance.serviceId);
      if (service) this.world.removeService(service);
    }
  }

  async removeService(service: Service): Promise<void> {
    const instances = this.world.instances.filter(({ serviceId }) => serviceId === service.id);
    this.world.removeService(service);
    for (const instance of instances) await this.#end(instance);
  }

  /** Ends every process and closes every address. */
  async stop(): Promise<void> {
    await this.rollouts.stop();
    await Promise.all([...this.#open.values()].map((domain) => domain.close()));
    this.#open.clear();
  }

  async #end(instance: Instance): Promise<void> {
    for (const { id } of instance.domains) await this.removeDomain(instance, id);
    await this.rollouts.endInstance(instance.id);
  }
}
