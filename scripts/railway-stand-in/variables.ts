import type { Instance, World } from "./world.ts";

const REFERENCE = /\$\{\{\s*(?:([^.{}\s]+)\.)?([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g;
/** References may refer on; a circle ends somewhere. */
const DEPTH_LIMIT = 8;

/** What Railway itself gives each service. */
export function platformVariables(world: World, instance: Instance): Map<string, string> {
  const environment = world.environment(instance.environmentId);
  const project = world.project(environment?.projectId ?? "");
  const service = world.service(instance.serviceId);
  const volume = world.volumeOf(instance);
  const domain = instance.domains[0]?.domain;
  return new Map([
    ["RAILWAY_PROJECT_ID", project?.id ?? ""],
    ["RAILWAY_PROJECT_NAME", project?.name ?? ""],
    ["RAILWAY_ENVIRONMENT_ID", instance.environmentId],
    ["RAILWAY_ENVIRONMENT", environment?.name ?? ""],
    ["RAILWAY_ENVIRONMENT_NAME", environment?.name ?? ""],
    ["RAILWAY_SERVICE_ID", instance.serviceId],
    ["RAILWAY_SERVICE_NAME", service?.name ?? ""],
    ["RAILWAY_PRIVATE_DOMAIN", `${service?.name ?? ""}.railway.internal`],
    ...(domain === undefined
      ? []
      : ([
          ["RAILWAY_PUBLIC_DOMAIN", domain],
          ["RAILWAY_STATIC_URL", domain],
        ] as const)),
    ...(volume === undefined
      ? []
      : ([
          ["RAILWAY_VOLUME_ID", volume.id],
          ["RAILWAY_VOLUME_NAME", volume.name],
          ["RAILWAY_VOLUME_MOUNT_PATH", volume.mountPath],
        ] as const)),
  ]);
}

/** The variables of a service with `${{service.NAME}}`, `${{shared.NAME}}` and `${{NAME}}` replaced. */
export function renderedVariables(world: World, instance: Instance): Map<string, string> {
  const own = new Map([...instance.variables, ...platformVariables(world, instance)]);
  return new Map([...own].map(([name, value]) => [name, render(world, instance, value, 0)]));
}

function render(world: World, instance: Instance, value: string, depth: number): string {
  if (depth > DEPTH_LIMIT) return "";
  return value.replaceAll(REFERENCE, (_, namespace: string | undefined, name: string) => {
    const environment = world.environment(instance.environmentId);
    if (namespace === "shared") return environment?.sharedVariables.get(name) ?? "";
    const owner =
      namespace === undefined
        ? instance
        : world
            .servicesOf(environment?.projectId ?? "")
            .filter((service) => service.name.toLowerCase() === namespace.toLowerCase())
            .map((service) => world.instance(service.id, instance.environmentId))[0];
    if (owner === undefined) return "";
    const found = owner.variables.get(name) ?? platformVariables(world, owner).get(name) ?? "";
    return render(world, owner, found, depth + 1);
  });
}
