/** What Signalbox tells a backend through its environment. An option given in code wins over its variable. */
export interface Settings {
  /** `PULSE_DEPLOYMENT_ID`; null when the app runs outside a deployment: nothing is pinned then. */
  deploymentId: string | null;
  /** `PULSE_RAILWAY_INTERNAL_TOKEN`; null closes the internal endpoints. */
  internalToken: string | null;
  /** `PULSE_SERVER_ADDRESS`: the app's public address. */
  serverAddress: string | null;
  /** `PORT`. */
  port: number | null;
  /** `PULSE_RAILWAY_GUARD=1`: requests without the internal token get 404. */
  guard: boolean;
  /** `PULSE_RAILWAY_HEALTH_PATH`: the one path that the guard leaves open, for the platform's own health check. */
  healthPath: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

// The edge knows ids by this shape and treats any other as unknown.
const DEPLOYMENT_ID = /^[a-z0-9][a-z0-9-]{0,23}$/;
const HIGHEST_PORT = 65_535;

/**
 * Reads and checks the settings once.
 * @throws {Error} naming the setting, when one is present and malformed.
 */
export function readSettings(options: Partial<Settings>, env: Environment = environment()): Settings {
  const deploymentId = options.deploymentId ?? present(env["PULSE_DEPLOYMENT_ID"]);
  if (deploymentId !== null && !DEPLOYMENT_ID.test(deploymentId)) {
    throw new Error(
      `PULSE_DEPLOYMENT_ID ${JSON.stringify(deploymentId)} is no deployment id: ` +
        "use 1 to 24 lower-case letters, digits and dashes, not starting with a dash",
    );
  }
  const internalToken = present(options.internalToken ?? env["PULSE_RAILWAY_INTERNAL_TOKEN"]);
  const guard = options.guard ?? readFlag("PULSE_RAILWAY_GUARD", env);
  if (guard && internalToken === null) {
    throw new Error(
      "PULSE_RAILWAY_GUARD is set without PULSE_RAILWAY_INTERNAL_TOKEN: no request could get in. Set both or neither",
    );
  }
  return {
    deploymentId,
    internalToken,
    guard,
    healthPath: options.healthPath ?? present(env["PULSE_RAILWAY_HEALTH_PATH"]) ?? "/_pulse/health",
    serverAddress: present(options.serverAddress ?? env["PULSE_SERVER_ADDRESS"]),
    port: options.port ?? readPort(env["PORT"]),
  };
}

/** The process's environment, or an empty one on a runtime that has none. */
export function environment(): Environment {
  return typeof process === "undefined" ? {} : process.env;
}

function readPort(text: string | undefined): number | null {
  const given = present(text);
  if (given === null) return null;
  const port = Number(given);
  if (!/^\d+$/.test(given) || port > HIGHEST_PORT) {
    throw new Error(`PORT ${JSON.stringify(given)} is no port number: use 0 to ${HIGHEST_PORT}`);
  }
  return port;
}

function readFlag(name: string, env: Environment): boolean {
  const given = present(env[name]);
  if (given !== null && given !== "0" && given !== "1") {
    throw new Error(`${name} ${JSON.stringify(given)} is no switch: use 0 or 1`);
  }
  return given === "1";
}

function present(text: string | null | undefined): string | null {
  return text === undefined || text === null || text === "" ? null : text;
}
