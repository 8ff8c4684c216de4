import { randomUUID } from "node:crypto";
import { notAuthorized, type Access, problem } from "./access.ts";
import { environmentConfig } from "./environment-config.ts";
import type { Railway } from "./railway.ts";
import type { Deployment, Instance, InstanceSettings } from "./world.ts";

/** Source: Railway refuses longer ones. */
const NAME_LIMIT = 32;

interface SourceInput {
  image?: string | null;
  repo?: string | null;
}

interface VariablesPlace {
  projectId: string;
  environmentId: string;
  serviceId?: string | null;
  skipDeploys?: boolean | null;
}

/** The Mutation type's fields. */
export function mutations(railway: Railway, access: Access): object {
  const { world, views, rollouts } = railway;

  const newName = (wanted: string | null | undefined, projectId: string, except?: string): string => {
    const name = wanted ?? `service-${randomUUID().slice(0, 8)}`;
    if (name === "") throw problem("Service name can't be empty");
    if (name.length > NAME_LIMIT) throw problem(`Service name must be ${NAME_LIMIT} characters or less`);
    if (world.servicesOf(projectId).some((one) => one.name === name && one.id !== except))
      throw problem(`A service named "${name}" already exists in this project`);
    return name;
  };
  const setSource = (instance: Instance, { image, repo }: SourceInput): void => {
    if (image != null && repo != null) throw problem("A service has either an image or a repo");
    instance.image = image ?? null;
    instance.repo = repo ?? null;
  };
  const deploy = (instance: Instance): Deployment => {
    if (instance.image !== null) return rollouts.start(instance, { image: instance.image });
    if (instance.repo !== null) return rollouts.start(instance, { repo: instance.repo });
    throw problem("This service has no source to deploy");
  };
  /** A change of variables deploys what is deployed again, unless that is declined. */
  const changed = (instance: Instance, skipDeploys: boolean | null | undefined): void => {
    instance.updatedAt = new Date();
    const latest = world.deploymentsOf(instance.id)[0];
    if (skipDeploys !== true && latest) rollouts.start(instance, latest.source);
  };
  const variables = (place: VariablesPlace): { map: Map<string, string>; instance: Instance | null } => {
    access.project(place.projectId);
    const environment = access.environment(place.environmentId);
    if (place.serviceId == null) return { map: environment.sharedVariables, instance: null };
    const instance = access.instance(place.serviceId, place.environmentId);
    return { map: instance.variables, instance };
  };

  return {
    projectCreate({
      input,
    }: {
      input: { name?: string; workspaceId?: string; defaultEnvironmentName?: string };
    }) {
      const { token } = access;
      if (token === null || token.kind === "project") throw notAuthorized();
      const workspaceId =
        input.workspaceId ?? (token.kind === "workspace" ? token.workspaceId : world.workspaces[0]?.id);
      if (workspaceId === undefined) throw problem("Workspace not found");
      access.workspace(workspaceId);
      const name = input.name ?? `project-${randomUUID().slice(0, 8)}`;
      return views.project(
        world.addProject(name, workspaceId, [input.defaultEnvironmentName ?? "production"]),
      );
    },

    async projectDelete({ id }: { id: string }) {
      const project = access.project(id);
      if (access.token?.kind === "project") throw notAuthorized();
      for (const service of world.servicesOf(id)) await railway.removeService(service);
      world.removeProject(project);
      return true;
    },

    environmentCreate({ input }: { input: { name: string; projectId: string } }) {
      access.project(input.projectId);
      if (access.token?.kind === "project") throw notAuthorized();
      if (world.environments.some((one) => one.projectId === input.projectId && one.name === input.name))
        throw problem(`An environment named "${input.name}" already exists in this project`);
      return views.environment(world.addEnvironment(input.name, input.projectId));
    },

    serviceCreate({
      input,
    }: {
      input: {
        name?: string;
        icon?: string;
        projectId: string;
        environmentId?: string | null;
        source?: SourceInput | null;
        variables?: Record<string, unknown> | null;
      };
    }) {
      access.project(input.projectId);
      if (input.environmentId != null) access.environment(input.environmentId);
      const values = asVariables(input.variables ?? {});
      const service = world.addService(
        newName(input.name, input.projectId),
        input.projectId,
        input.environmentId ?? undefined,
      );
      service.icon = input.icon ?? null;
      for (const instance of world.instances) {
        if (instance.serviceId !== service.id) continue;
        for (const [name, value] of values) instance.variables.set(name, value);
        if (input.source == null) continue;
        setSource(instance, input.source);
        // A service that is made with a source is deployed at once.
        deploy(instance);
      }
      return views.service(service);
    },

    serviceUpdate({ id, input }: { id: string; input: { name?: string | null; icon?: string | null } }) {
      const service = access.service(id);
      if (input.name != null) service.name = newName(input.name, service.projectId, id);
      if (input.icon !== undefined) service.icon = input.icon;
      return views.service(service);
    },

    serviceConnect({ id, input }: { id: string; input: SourceInput }) {
      const service = access.service(id);
      for (const instance of world.instances) {
        if (instance.serviceId !== id) continue;
        setSource(instance, input);
        deploy(instance);
      }
      return views.service(service);
    },

    async serviceDelete({ id, environmentId }: { id: string; environmentId?: string | null }) {
      const service = access.service(id);
      if (environmentId == null) await railway.removeService(service);
      else await railway.removeInstance(access.instance(id, environmentId));
      return true;
    },

    serviceInstanceUpdate({
      serviceId,
      environmentId,
      input: { source, ...settings },
    }: {
      serviceId: string;
      environmentId?: string | null;
      input: Partial<InstanceSettings> & { source?: SourceInput | null };
    }) {
      access.service(serviceId);
      const instances =
        environmentId == null
          ? world.instances.filter((one) => one.serviceId === serviceId)
          : [access.instance(serviceId, environmentId)];
      for (const instance of instances) {
        const replicas = settings.numReplicas ?? instance.settings.numReplicas;
        if (replicas > 1 && world.volumeOf(instance))
          throw problem("A service with a volume can't have replicas");
        const known = Object.entries(settings).filter(([name]) => name in instance.settings);
        Object.assign(instance.settings, Object.fromEntries(known));
        instance.updatedAt = new Date();
        if (source != null) setSource(instance, source);
      }
      return true;
    },

    serviceInstanceAutoDeployUpdate({
      input,
    }: {
      input: { serviceId: string; environmentId: string; enabled: boolean };
    }) {
      access.instance(input.serviceId, input.environmentId).autoDeploys = input.enabled;
      return { enabled: input.enabled };
    },

    serviceInstanceDeployV2: ({ serviceId, environmentId }: { serviceId: string; environmentId: string }) =>
      deploy(access.instance(serviceId, environmentId)).id,

    serviceInstanceRedeploy({ serviceId, environmentId }: { serviceId: string; environmentId: string }) {
      const instance = access.instance(serviceId, environmentId);
      const latest = world.deploymentsOf(instance.id)[0];
      if (latest === undefined) throw problem("There is no deployment to redeploy");
      rollouts.start(instance, latest.source);
      return true;
    },

    deploymentRedeploy({ id }: { id: string }) {
      const former = access.deployment(id);
      const instance = access.instance(former.serviceId, former.environmentId);
      return views.deployment(rollouts.start(instance, former.source));
    },

    async deploymentRestart({ id }: { id: string }) {
      await rollouts.restart(access.deployment(id));
      return true;
    },

    async deploymentRemove({ id }: { id: string }) {
      await rollouts.end(access.deployment(id));
      return true;
    },

    async deploymentStop({ id }: { id: string }) {
      await rollouts.end(access.deployment(id));
      return true;
    },

    async deploymentCancel({ id }: { id: string }) {
      const deployment = access.deployment(id);
      if (["SUCCESS", "REMOVED", "FAILED", "CRASHED", "SLEEPING"].includes(deployment.status))
        throw problem("This deployment can't be cancelled any more");
      await rollouts.end(deployment);
      return true;
    },

    async serviceDomainCreate({
      input,
    }: {
      input: { serviceId: string; environmentId: string; targetPort?: number | null };
    }) {
      const instance = access.instance(input.serviceId, input.environmentId);
      return views.domain(await railway.addDomain(instance, input.targetPort ?? null), instance);
    },

    async serviceDomainDelete({ id }: { id: string }) {
      for (const instance of world.instances) {
        if (!instance.domains.some((domain) => domain.id === id)) continue;
        access.service(instance.serviceId);
        await railway.removeDomain(instance, id);
        return true;
      }
      throw problem("ServiceDomain not found");
    },

    variableUpsert({ input }: { input: VariablesPlace & { name: string; value: string } }) {
      const { map, instance } = variables(input);
      map.set(input.name, input.value);
      if (instance) changed(instance, input.skipDeploys);
      return true;
    },

    variableCollectionUpsert({
      input,
    }: {
      input: VariablesPlace & { variables: Record<string, unknown>; replace?: boolean | null };
    }) {
      const values = asVariables(input.variables);
      const { map, instance } = variables(input);
      if (input.replace === true) map.clear();
      for (const [name, value] of values) map.set(name, value);
      if (instance) changed(instance, input.skipDeploys);
      return true;
    },

    variableDelete({ input }: { input: VariablesPlace & { name: string } }) {
      const { map, instance } = variables(input);
      if (map.delete(input.name) && instance) changed(instance, false);
      return true;
    },

    volumeCreate({
      input,
    }: {
      input: {
        projectId: string;
        environmentId?: string | null;
        serviceId?: string | null;
        mountPath: string;
      };
    }) {
      const project = access.project(input.projectId);
      const environmentId =
        input.environmentId ?? world.environments.find(({ projectId }) => projectId === project.id)?.id ?? "";
      access.environment(environmentId);
      if (!input.mountPath.startsWith("/")) throw problem("The mount path must be absolute");
      if (input.serviceId != null) {
        const instance = access.instance(input.serviceId, environmentId);
        if (world.volumeOf(instance)) throw problem("This service already has a volume");
        if (instance.settings.numReplicas > 1) throw problem("A service with replicas can't have a volume");
      }
      const name = `volume-${randomUUID().slice(0, 8)}`;
      const { mountPath } = input;
      const serviceId = input.serviceId ?? null;
      return views.volume(
        world.addVolume({ name, projectId: project.id, environmentId, serviceId, mountPath }),
      );
    },

    volumeDelete({ volumeId }: { volumeId: string }) {
      const volume = world.volumes.find(({ id }) => id === volumeId);
      if (volume === undefined) throw problem("Volume not found");
      access.project(volume.projectId);
      world.removeVolume(volume);
      return true;
    },

    ...environmentConfig(railway, access, changed),
  };
}

function asVariables(values: Record<string, unknown>): [string, string][] {
  return Object.entries(values).map(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw problem(`"${name}" is no name for a variable`);
    if (typeof value !== "string") throw problem(`The value of ${name} must be a string`);
    return [name, value];
  });
}
