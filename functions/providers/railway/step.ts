import type { AppDocument, Deployment } from "../../apps/app-document.ts";
import { RailwayError } from "../../railway/error.ts";
import { nodesOf, type Operation } from "../../railway/operation.ts";
import {
  projectServices,
  serviceDelete,
  serviceDomainCreate,
  serviceState,
  type RailwayService,
  type RailwayServiceState,
} from "../../railway/operations.ts";
import type { StepOutcome } from "../provider.ts";
import type { RailwayAccess, RailwayPlace } from "./access.ts";
import type { RolloutMemory } from "./memory.ts";
import type { Found } from "./phase.ts";
import {
  judgeOwnership,
  ownerOf,
  SERVICE_PORT,
  serviceNames,
  type Identity,
  type Ownership,
  type RailwayTarget,
} from "./service.ts";

export const SOON_MS = 1_000;

/** One step of one deployment on Railway: what it works with, and how it looks around. */
export class RailwayStep {
  readonly access: RailwayAccess;
  readonly internalToken: string;
  readonly app: AppDocument;
  readonly deployment: Deployment;
  readonly target: RailwayTarget;
  readonly memory: RolloutMemory;
  readonly #installation: () => Promise<string>;
  readonly #signal: AbortSignal;
  #place: RailwayPlace | null = null;

  constructor(parts: {
    access: RailwayAccess;
    internalToken: string;
    installation: () => Promise<string>;
    app: AppDocument;
    deployment: Deployment;
    target: RailwayTarget;
    memory: RolloutMemory;
    signal: AbortSignal;
  }) {
    this.access = parts.access;
    this.internalToken = parts.internalToken;
    this.app = parts.app;
    this.deployment = parts.deployment;
    this.target = parts.target;
    this.memory = parts.memory;
    this.#installation = parts.installation;
    this.#signal = parts.signal;
  }

  async place(): Promise<RailwayPlace> {
    return (this.#place ??= await this.access.place(this.#signal));
  }

  /** Its service's name, or the one that it would usually get. */
  async name(): Promise<string> {
    return this.memory.name ?? (await this.names()).usual;
  }

  names(): Promise<{ usual: string; spare: string }> {
    return serviceNames(this.app, this.deployment);
  }

  async identity(): Promise<Identity> {
    return { owner: await ownerOf(this.internalToken), installation: await this.#installation() };
  }

  async call<Variables, Result>(
    operation: Operation<Variables, Result>,
    variables: Variables,
    name?: string,
    options: { isAside?: boolean } = {},
  ): Promise<Result> {
    const about = `service ${name ?? (await this.name())}`;
    return this.access.client.call(operation, variables, { ...options, about, signal: this.#signal });
  }

  async ownership(variables: Record<string, string>): Promise<Ownership> {
    return judgeOwnership(variables, await this.identity(), this.app, this.deployment);
  }

  /** Looks for this deployment's service. Of two, deletes one; deletes what an earlier deployment of the id left. */
  async findAndTidy(): Promise<Found> {
    const place = await this.place();
    const { candidates, env } = await this.services();
    const names = await this.names();
    const found: Found = { mine: null, names, taken: new Map(), env, changed: false };
    const mine: RailwayServiceState[] = [];
    for (const { id, name } of candidates) {
      const state = await unlessGone(this.call(serviceState, { ...place, service: id }));
      if (state === null) continue;
      const ownership = await this.ownership(state.variables);
      if (ownership === "ours") mine.push(state);
      else if (ownership === "left") {
        await this.delete(id, name);
        found.changed = true;
      } else found.taken.set(name, ownership);
    }
    const [keep, ...others] = mine.sort(byUse);
    for (const { service } of others) await this.delete(service.id, service.name);
    found.mine = keep ?? null;
    this.memory.name = keep?.service.name ?? null;
    return found;
  }

  /** The deployment's service, if there is one; changes nothing. */
  async seek(options: { isAside?: boolean } = {}): Promise<RailwayServiceState | null> {
    const place = await this.place();
    const { service } = this.deployment.resources;
    const ids =
      service === undefined ? (await this.services(options)).candidates.map(({ id }) => id) : [service];
    for (const id of ids) {
      const state = await unlessGone(this.call(serviceState, { ...place, service: id }, undefined, options));
      if (state !== null && (await this.ownership(state.variables)) === "ours") return state;
    }
    return null;
  }

  /** Services that may be this deployment's, by name or by the id in its document, and the env service. */
  async services(
    options: { isAside?: boolean } = {},
  ): Promise<{ candidates: RailwayService[]; env: RailwayService | null }> {
    const place = await this.place();
    const { project } = await this.call(projectServices, { project: place.project }, undefined, options);
    const there = nodesOf(project.services).filter(({ deletedAt }) => deletedAt === null);
    const { usual, spare } = await this.names();
    const { service } = this.deployment.resources;
    return {
      candidates: there.filter(({ id, name }) => name === usual || name === spare || id === service),
      env: there.find((one) => one.name === this.access.envService) ?? null,
    };
  }

  /** Only for a service that was just read and carries our mark. */
  async delete(service: string, name: string): Promise<void> {
    const { environment } = await this.place();
    await unlessGone(this.call(serviceDelete, { environment, service }, name));
  }

  async createDomain(service: string): Promise<string> {
    const { environment } = await this.place();
    const input = { environmentId: environment, serviceId: service, targetPort: SERVICE_PORT };
    return (await this.call(serviceDomainCreate, { input })).serviceDomainCreate.domain;
  }

  /** Rises with the build's age: a build of four minutes costs twenty calls. */
  pollMs(): number {
    const now = Date.now();
    const ageMs = now - (this.memory.followedSince ??= now);
    return Math.min(Math.max(SOON_MS, ageMs / 2.5), ageMs > 600_000 ? 60_000 : 20_000);
  }
}

export function wait(ms: number, detail: string): StepOutcome<never> {
  return { status: "wait", untilMs: Date.now() + ms, detail };
}

/** Characters of the reason of a failure. */
export const REASON_LIMIT = 4_000;

export function failed(reason: string): StepOutcome<never> {
  return { status: "failed", reason: reason.slice(0, REASON_LIMIT) };
}

/** Null if Railway doesn't find it any more. */
export async function unlessGone<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof RailwayError && error.kind === "not_found") return null;
    throw error;
  }
}

/** A service with a Railway deployment goes first, then the older one. */
function byUse(one: RailwayServiceState, other: RailwayServiceState): number {
  const unused = ({ serviceInstance }: RailwayServiceState): number =>
    serviceInstance.latestDeployment === null ? 1 : 0;
  return (
    unused(one) - unused(other) ||
    Date.parse(one.service.createdAt) - Date.parse(other.service.createdAt) ||
    (one.service.id < other.service.id ? -1 : 1)
  );
}
