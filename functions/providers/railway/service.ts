import { contractOf, type AppDocument, type Deployment, type Target } from "../../apps/app-document.ts";
import type { RailwayVariables, ServiceSettings } from "../../railway/operations.ts";
import { REDIS_VARIABLE } from "../../railway/reserved.ts";

export type RailwayTarget = Extract<Target, { kind: "railway" }>;

/** Source: Railway's limit on the name of a service. */
const NAME_LIMIT = 32;
/** Railway passes the public domain's requests to this port, and tells the app of it. */
export const SERVICE_PORT = 8_080;
/** A new version's first start may take its time; what takes longer won't come. */
const HEALTHCHECK_TIMEOUT_SECONDS = 300;
/** How long the former instance goes on serving beside a redeployed one. */
const OVERLAP_SECONDS = 20;
const DRAINING_SECONDS = 30;

const OWNER = "SIGNALBOX_OWNER";
const STACK = "SIGNALBOX_STACK";
const APP = "SIGNALBOX_APP";
const ID = "SIGNALBOX_DEPLOYMENT_ID";
/** The path that the guard leaves open, for Railway's health check. */
const OPEN_PATH = "PULSE_RAILWAY_HEALTH_PATH";
const CREATED = "SIGNALBOX_DEPLOYMENT_CREATED";

/**
 * The names that a deployment's service may have. `usual`: `APP-ID` where that fits, else cut, with a hash of the
 * whole. `spare`: for where another deployment has the usual one, as `b-c` of app `a` and `c` of app `a-b` want the same.
 */
export async function serviceNames(
  app: AppDocument,
  { id }: Deployment,
): Promise<{ usual: string; spare: string }> {
  const whole = `${app.name}-${id}`;
  const hashed = async (text: string): Promise<string> =>
    `${whole.slice(0, NAME_LIMIT - 9)}-${(await sha256(text)).slice(0, 8)}`;
  return {
    usual: whole.length <= NAME_LIMIT ? whole : await hashed(whole),
    spare: await hashed(JSON.stringify([app.name, id])),
  };
}

/** Which Signalbox a service belongs to, said without telling its token. */
export async function ownerOf(internalToken: string): Promise<string> {
  return (await sha256(internalToken)).slice(0, 16);
}

/** Makes the sdk turn away requests that didn't come through the edge, but for Railway's own health check. */
function guardOf(app: AppDocument, target: RailwayTarget): RailwayVariables {
  const { contract, paths } = app.config;
  // With `auto` nobody knows yet; what has no sdk doesn't read these.
  if (contract !== "pulse" && contract !== "auto") return {};
  const path = target.healthPath ?? (contract === "auto" ? namedPath(app) : null) ?? paths.health;
  return { PULSE_RAILWAY_GUARD: "1", [OPEN_PATH]: path };
}

/** What a service is asked before it takes the place of the one before it. Railway wants a 200 under a name of its own. */
export interface HealthCheck {
  healthcheckPath: string;
  healthcheckTimeout: number;
}

/**
 * Null where no path is known that answers 200 for certain: `/` may redirect, or refuse a name that it doesn't know. Once
 * verification has found that a deployment keeps the app contract, there is one: the path that its guard leaves open.
 */
export function healthCheckOf(
  app: AppDocument,
  deployment: Pick<Deployment, "contract">,
  target: RailwayTarget,
  variables: RailwayVariables = guardOf(app, target),
): HealthCheck | null {
  const contract = contractOf(app, deployment);
  const path =
    contract === "pulse"
      ? (variables[OPEN_PATH] ?? target.healthPath ?? app.config.paths.health)
      : (target.healthPath ?? namedPath(app));
  return path === null ? null : { healthcheckPath: path, healthcheckTimeout: HEALTHCHECK_TIMEOUT_SECONDS };
}

/** Where an app without the contract says that it is well; null where nobody has named a path. */
function namedPath({ config: { healthPath } }: AppDocument): string | null {
  return healthPath === "/" ? null : healthPath;
}

/** Which Signalbox this is: its token, which another one may share, and its installation. */
export interface Identity {
  owner: string;
  installation: string;
}

/** What a service says of itself. */
export interface ServiceMark extends Identity {
  app: string;
  deployment: string;
  /** When the deployment was created, RFC 3339 with milliseconds. */
  created: string;
}

/** Null unless all of it is there. */
export function readMark(variables: RailwayVariables): ServiceMark | null {
  const {
    [OWNER]: owner,
    [STACK]: installation,
    [APP]: app,
    [ID]: deployment,
    [CREATED]: created,
  } = variables;
  const isWhole =
    owner !== undefined &&
    installation !== undefined &&
    app !== undefined &&
    deployment !== undefined &&
    created !== undefined;
  return isWhole ? { owner, installation, app, deployment, created } : null;
}

export type Ownership = "ours" | "left" | "sibling" | "foreign";

/**
 * Whose a service is, by its variables. `ours`: of this very deployment; `left`: of an earlier one of the same id, ours
 * as well; `sibling`: of another deployment of this Signalbox, which looks after it; `foreign`: anybody else's. The
 * last two are never touched.
 */
export function judgeOwnership(
  variables: RailwayVariables,
  { owner, installation }: Identity,
  app: AppDocument,
  deployment: Deployment,
): Ownership {
  const { [APP]: ofApp, [ID]: ofDeployment } = variables;
  if (variables[OWNER] !== owner || ofApp === undefined || ofDeployment === undefined) return "foreign";
  // Services of the first versions don't name their installation.
  if ((variables[STACK] ?? installation) !== installation) return "foreign";
  if (ofApp !== app.name || ofDeployment !== deployment.id) return "sibling";
  return variables[CREATED] === createdMark(deployment) ? "ours" : "left";
}

/** All variables of a deployment's service: its mark, the app contract's, and the users' as references. */
export function variablesOf(
  app: AppDocument,
  deployment: Deployment,
  target: RailwayTarget,
  given: Identity & {
    internalToken: string;
    envService: string;
    users: readonly string[];
    redis: boolean;
  },
): RailwayVariables {
  const reference = (name: string): string => `\${{${given.envService}.${name}}}`;
  const [host] = app.config.hosts;
  return {
    ...Object.fromEntries(given.users.map((name) => [name, reference(name)])),
    ...target.env,
    ...(given.redis ? { [REDIS_VARIABLE]: reference(REDIS_VARIABLE) } : {}),
    ...guardOf(app, target),
    PULSE_DEPLOYMENT_ID: deployment.id,
    NEXT_DEPLOYMENT_ID: deployment.id,
    PULSE_RAILWAY_INTERNAL_TOKEN: given.internalToken,
    PULSE_SERVER_ADDRESS: host === undefined ? "" : `https://${host}`,
    PORT: String(SERVICE_PORT),
    [OWNER]: given.owner,
    [STACK]: given.installation,
    [APP]: app.name,
    [ID]: deployment.id,
    [CREATED]: createdMark(deployment),
  };
}

/** What the service is set to before anything is built. */
export function settingsOf(
  app: AppDocument,
  deployment: Pick<Deployment, "contract">,
  target: RailwayTarget,
): ServiceSettings {
  return {
    // Sessions are in memory, and Railway has no sticky routing between replicas.
    numReplicas: 1,
    overlapSeconds: OVERLAP_SECONDS,
    drainingSeconds: DRAINING_SECONDS,
    ...healthCheckOf(app, deployment, target),
    ...(target.start === undefined ? {} : { startCommand: target.start }),
    ...(target.build === undefined ? {} : { buildCommand: target.build }),
    ...(target.dockerfile === undefined ? {} : { dockerfilePath: target.dockerfile }),
    ...(target.image === undefined ? {} : { source: { image: target.image } }),
    // A branch is connected instead, which brings its newest commit.
    ...(target.repo?.commit === undefined ? {} : { source: { repo: target.repo.repo } }),
  };
}

/** Whether all wanted settings are set; the others may be anything. */
export function isSet(
  wanted: ServiceSettings,
  found: { source: { image: string | null; repo: string | null } | null } & {
    [K in keyof Omit<ServiceSettings, "source">]?: unknown;
  },
): boolean {
  const { source, ...plain } = wanted;
  const isSourceSet =
    source === undefined ||
    ("image" in source ? found.source?.image === source.image : found.source?.repo === source.repo);
  return isSourceSet && Object.entries(plain).every(([name, value]) => Reflect.get(found, name) === value);
}

export function reservedOnEnvService(envService: string, names: readonly string[]): string {
  return (
    `The service ${envService} on Railway has variables that Signalbox or Railway sets: ${names.join(", ")}. ` +
    "Delete or rename them there."
  );
}

/** What {@link ServiceMark.created} is for a deployment. */
export function createdMark({ createdAt }: Deployment): string {
  return new Date(createdAt).toISOString();
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
