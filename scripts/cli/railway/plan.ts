import { REDIS_VARIABLE } from "../../../functions/railway/reserved.ts";
import type { ServiceSettings } from "../../../functions/railway/operations.ts";
import { BASELINE_MARK, RUNNER_MARK, VOLUME_PATH, type Baseline } from "./baseline.ts";

/** What the baseline should be. What is null stays as it is; only where nothing is yet it has to be known. */
export interface Wanted {
  /** Where the runner connects, `wss://…/_signalbox/socket`. */
  brokerUrl: string | null;
  /** The runner's secret where it has none; one that is set already is never replaced. */
  runnerSecret: string | null;
  source: { image: string } | { repo: string; branch?: string } | null;
  /** `upstash`: the Worker's store only. An address is handed to backends. */
  redis: { mode: "upstash" } | { mode: "external"; url: string } | null;
  /** The mark of this installation's deployments. */
  installation: string | null;
}

type Role = "env" | "runner";

/** One step. Each can be repeated: what it made is found by the next look. */
export type Change =
  | { kind: "create-service"; role: Role; name: string; variables: Record<string, string> }
  | { kind: "create-volume"; name: string; mountPath: string }
  | { kind: "configure"; name: string; settings: ServiceSettings }
  | { kind: "connect"; name: string; source: { repo: string; branch?: string } }
  | { kind: "set-variables"; role: Role; name: string; variables: Record<string, string> }
  | { kind: "deploy"; name: string }
  | { kind: "group"; groupId: string; services: { id: string; name: string }[] };

/** The same as the runner's railway.json says; a test compares them. */
export const RUNNER_SETTINGS = {
  healthcheckPath: "/health",
  healthcheckTimeout: 120,
  restartPolicyType: "ALWAYS",
  overlapSeconds: 10,
  drainingSeconds: 60,
} as const satisfies ServiceSettings;

/**
 * The steps from what there is to what is wanted, in an order that can stop anywhere: the runner is deployed once it
 * has its volume, settings and variables. `deployments` are the services of this installation's deployments.
 */
export function planBaseline(
  baseline: Baseline,
  wanted: Wanted,
  deployments: Baseline["others"] = [],
): Change[] {
  return [...planEnv(baseline, wanted), ...planRunner(baseline, wanted), ...planGroup(baseline, deployments)];
}

function planEnv({ names, env }: Baseline, { redis }: Wanted): Change[] {
  const name = names.envService;
  const variables = redis?.mode === "external" ? { [REDIS_VARIABLE]: redis.url } : {};
  if (env === null) return [{ kind: "create-service", role: "env", name, variables }];
  return setVariables("env", name, env.variables, variables);
}

function planRunner({ names, runner }: Baseline, wanted: Wanted): Change[] {
  const name = names.runnerService;
  const variables = runnerVariables(name, wanted, runner?.variables ?? {});
  const changes: Change[] = [];
  if (runner === null) changes.push({ kind: "create-service", role: "runner", name, variables });
  if (!runner?.volumePaths.includes(VOLUME_PATH))
    changes.push({ kind: "create-volume", name, mountPath: VOLUME_PATH });

  const instance = runner?.instance ?? null;
  const settings: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(RUNNER_SETTINGS))
    if (instance?.[key as keyof typeof RUNNER_SETTINGS] !== value) settings[key] = value;
  const { source } = wanted;
  if (source !== null && "image" in source && instance?.source?.image !== source.image)
    settings["source"] = { image: source.image };
  if (Object.keys(settings).length > 0) changes.push({ kind: "configure", name, settings });
  if (runner !== null) changes.push(...setVariables("runner", name, runner.variables, variables));
  // Railway builds a repository as soon as it is connected, which therefore comes last.
  if (source !== null && "repo" in source && instance?.source?.repo !== source.repo)
    changes.push({ kind: "connect", name, source });
  else if (changes.length > 0 || instance?.latestDeployment == null) changes.push({ kind: "deploy", name });
  return changes;
}

function runnerVariables(
  name: string,
  { brokerUrl, runnerSecret, installation }: Wanted,
  found: Record<string, string>,
): Record<string, string> {
  const secret = found["RUNNER_SHARED_SECRET"] === undefined ? runnerSecret : null;
  return {
    [BASELINE_MARK]: RUNNER_MARK,
    ...(installation === null ? {} : { SIGNALBOX_OWNER: installation }),
    ...(brokerUrl === null ? {} : { RUNNER_BROKER_URL: brokerUrl }),
    ...(secret === null ? {} : { RUNNER_SHARED_SECRET: secret }),
    // Railway's own id of a replica changes with every deployment, and workspaces belong to a runner's id.
    RUNNER_ID: runnerIdOf(name),
    WORKSPACE_ROOT: VOLUME_PATH,
    // PORT is Railway's: it checks health there, and the runner answers there while HEALTH_PORT isn't set.
  };
}

export function runnerIdOf(serviceName: string): string {
  return serviceName.replaceAll(/[^A-Za-z0-9._-]/g, "-");
}

function setVariables(
  role: Role,
  name: string,
  found: Record<string, string>,
  wanted: Record<string, string>,
): Change[] {
  const variables = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => found[key] !== value));
  return Object.keys(variables).length === 0 ? [] : [{ kind: "set-variables", role, name, variables }];
}

function planGroup({ env, runner }: Baseline, deployments: Baseline["others"]): Change[] {
  const groupId = runner?.groupId ?? null;
  if (groupId === null) return [];
  const services = [...(env === null ? [] : [env]), ...deployments]
    .filter((service) => service.groupId !== groupId)
    .map(({ id, name }) => ({ id, name }));
  return services.length === 0 ? [] : [{ kind: "group", groupId, services }];
}

/** A step in words; variables by name only. */
export function describeChange(change: Change): string {
  switch (change.kind) {
    case "create-service":
      return `create the ${change.role} service ${change.name}${withNames(" with ", change.variables)}`;
    case "create-volume":
      return `create a volume at ${change.mountPath} on ${change.name}`;
    case "configure":
      return `set ${Object.keys(change.settings).join(", ")} on ${change.name}`;
    case "connect":
      return `build ${change.name} from ${change.source.repo}`;
    case "set-variables":
      return `set${withNames(" ", change.variables)} on ${change.name}`;
    case "deploy":
      return `deploy ${change.name}`;
    case "group":
      return `move ${change.services.map(({ name }) => name).join(", ")} to the runner's group`;
  }
}

function withNames(before: string, variables: Record<string, string>): string {
  const names = Object.keys(variables);
  return names.length === 0 ? "" : `${before}${names.join(", ")}`;
}
