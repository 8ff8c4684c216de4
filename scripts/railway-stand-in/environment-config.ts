import { randomUUID } from "node:crypto";
import { type Access, problem } from "./access.ts";
import type { Railway } from "./railway.ts";
import type { Environment, Instance } from "./world.ts";

type Changed = (instance: Instance, skipDeploys: boolean | null | undefined) => void;

/** Changes of an environment, committed at once or staged first: canvas groups and variables. */
export function environmentConfig({ world, views }: Railway, access: Access, changed: Changed): object {
  return {
    environmentStageChanges({
      environmentId,
      input,
      merge,
    }: {
      environmentId: string;
      input: unknown;
      merge?: boolean | null;
    }) {
      const environment = access.environment(environmentId);
      if (!isRecord(input)) throw problem("The environment's config must be an object");
      check(input);
      const before = merge === true ? (environment.staged?.config ?? {}) : {};
      environment.staged = { id: randomUUID(), createdAt: new Date(), config: merged(before, input) };
      return views.patch(environment.staged, environment);
    },

    environmentPatchCommit({ environmentId, patch }: { environmentId: string; patch?: unknown }) {
      const environment = access.environment(environmentId);
      if (!isRecord(patch)) throw problem("The environment's config must be an object");
      check(patch);
      for (const instance of apply(environment, patch)) changed(instance, false);
      return randomUUID();
    },

    environmentPatchCommitStaged({
      environmentId,
      skipDeploys,
    }: {
      environmentId: string;
      skipDeploys?: boolean | null;
    }) {
      const environment = access.environment(environmentId);
      const { staged } = environment;
      if (staged === null) throw problem("There are no staged changes to commit");
      const redeploy = apply(environment, staged.config);
      environment.staged = null;
      for (const instance of redeploy) changed(instance, skipDeploys);
      return staged.id;
    },
  };

  function check(config: Record<string, unknown>): void {
    for (const [part, entries] of Object.entries(config)) {
      if (part !== "services" && part !== "groups")
        throw problem(`The stand-in knows no "${part}" in a config`);
      if (!isRecord(entries)) throw problem(`"${part}" must be an object`);
      for (const [id, change] of Object.entries(entries)) {
        if (!isRecord(change)) throw problem(`The change of ${id} must be an object`);
        if (part === "services") access.service(id);
        const known =
          part === "services" ? ["groupId", "variables"] : ["name", "color", "icon", "isCollapsed"];
        const unknown = Object.keys(change).find((name) => !known.includes(name));
        if (unknown !== undefined) throw problem(`The stand-in knows no "${unknown}" of ${part}`);
      }
    }
  }

  /** Makes the changes and answers what has to be deployed again for them. */
  function apply(environment: Environment, config: Record<string, unknown>): Instance[] {
    const redeploy: Instance[] = [];
    for (const [id, change] of entriesOf(config["groups"])) {
      const known = world.groups.find((group) => group.id === id);
      const name = typeof change["name"] === "string" ? change["name"] : "Group";
      if (known) known.name = name;
      else world.addGroup(name, environment.projectId, id);
    }
    for (const [id, change] of entriesOf(config["services"])) {
      const service = access.service(id);
      const { groupId } = change;
      if (typeof groupId === "string" && !world.groups.some((group) => group.id === groupId))
        throw problem("Group not found");
      if (groupId !== undefined) service.groupId = typeof groupId === "string" ? groupId : null;
      const instance = access.instance(id, environment.id);
      for (const [name, variable] of entriesOf(change["variables"])) {
        const { value } = variable;
        if (typeof value === "string") instance.variables.set(name, value);
        else instance.variables.delete(name);
      }
      if (change["variables"] !== undefined) redeploy.push(instance);
    }
    return redeploy;
  }
}

function entriesOf(value: unknown): [string, Record<string, unknown>][] {
  if (!isRecord(value)) return [];
  return Object.entries(value).map(([key, one]) => [key, isRecord(one) ? one : {}]);
}

function merged(left: Record<string, unknown>, right: Record<string, unknown>): Record<string, unknown> {
  const result = { ...left };
  for (const [key, value] of Object.entries(right)) {
    const before = result[key];
    result[key] = isRecord(before) && isRecord(value) ? merged(before, value) : value;
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
