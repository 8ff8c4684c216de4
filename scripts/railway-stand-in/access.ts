import { GraphQLError } from "graphql";
import type { IncomingHttpHeaders } from "node:http";
import type { Deployment, Environment, Instance, Project, Service, World } from "./world.ts";

export type Token =
  | { kind: "account" }
  | { kind: "workspace"; workspaceId: string }
  | { kind: "project"; name: string; projectId: string; environmentId: string };

/** Who may see what: a project token only its project, and nothing of accounts. */
export class Tokens {
  readonly #byText = new Map<string, Token>();

  add(text: string, token: Token): string {
    this.#byText.set(text, token);
    return text;
  }

  /** The token that a request carries in the header for its kind, or null. */
  of(headers: IncomingHttpHeaders): Token | null {
    const projectToken = headers["project-access-token"];
    if (typeof projectToken === "string") {
      const token = this.#byText.get(projectToken);
      return token?.kind === "project" ? token : null;
    }
    const bearer = /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1];
    const token = bearer === undefined ? undefined : this.#byText.get(bearer);
    return token === undefined || token.kind === "project" ? null : token;
  }
}

export class Access {
  readonly token: Token | null;
  readonly #world: World;

  constructor(world: World, token: Token | null) {
    this.#world = world;
    this.token = token;
  }

  /** Refuses all but account tokens. */
  account(): void {
    if (this.token?.kind !== "account") throw notAuthorized();
  }

  workspace(id: string): void {
    const { token } = this;
    if (token?.kind === "account" || (token?.kind === "workspace" && token.workspaceId === id)) return;
    throw notAuthorized();
  }

  project(id: string): Project {
    const project = this.#world.project(id);
    if (!this.#reaches(project)) throw notAuthorized();
    if (project === undefined) throw notFound("Project");
    return project;
  }

  environment(id: string): Environment {
    const environment = this.#world.environment(id);
    const { token } = this;
    if (token?.kind === "project" && token.environmentId !== id) throw notAuthorized();
    if (!this.#reaches(environment && this.#world.project(environment.projectId))) throw notAuthorized();
    if (environment === undefined) throw notFound("Environment");
    return environment;
  }

  service(id: string): Service {
    const service = this.#world.service(id);
    if (service === undefined) {
      if (this.token === null) throw notAuthorized();
      throw notFound("Service");
    }
    this.project(service.projectId);
    return service;
  }

  instance(serviceId: string, environmentId: string): Instance {
    this.service(serviceId);
    this.environment(environmentId);
    const instance = this.#world.instance(serviceId, environmentId);
    if (instance === undefined) throw notFound("ServiceInstance");
    return instance;
  }

  deployment(id: string): Deployment {
    const deployment = this.#world.deployment(id);
    if (deployment === undefined) {
      if (this.token === null) throw notAuthorized();
      throw notFound("Deployment");
    }
    this.environment(deployment.environmentId);
    return deployment;
  }

  #reaches(project: Project | undefined): boolean {
    switch (this.token?.kind) {
      case undefined:
        return false;
      case "account":
        return true;
      case "workspace":
        return project === undefined || project.workspaceId === this.token.workspaceId;
      case "project":
        return project?.id === this.token.projectId;
    }
  }
}

export function notAuthorized(): GraphQLError {
  return problem("Not Authorized");
}

export function notFound(what: string): GraphQLError {
  return problem(`${what} not found`);
}

/** Railway gives every refusal the same code. */
export function problem(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: "INTERNAL_SERVER_ERROR" } });
}
