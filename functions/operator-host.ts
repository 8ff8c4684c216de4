import type { Config } from "./config.ts";
import { Problem } from "./errors.ts";

/** Where the dashboard is, and nothing else. */
export interface OperatorHost {
  name: string;
  /** Null: any port. */
  port: string | null;
}

/** Host names in lower case as browsers spell them; a port where it isn't the scheme's own. */
export function parseOperatorHost(text: string): OperatorHost | null {
  const spelled = `http://${text}`;
  if (!URL.canParse(spelled)) return null;
  const { host, hostname, port } = new URL(spelled);
  if (host !== text || hostname.endsWith(".") || port === "443") return null;
  return { name: hostname, port: port === "" ? null : port };
}

/** Whether no app may have this host. All ports count: to an app they are one host. */
export function isOperatorName(config: Config, name: string): boolean {
  return config.operatorHost?.name === name;
}

/** Refuses hosts of an app that are the operator's. */
export function refuseOperatorHost(config: Config, hosts: string[]): void {
  const index = hosts.findIndex((host) => isOperatorName(config, host));
  if (index === -1) return;
  throw new Problem(
    "host_reserved",
    `Host ${hosts[index]} is the operator's (OPERATOR_HOST): the dashboard shares it with no app. Give the app another.`,
    { errors: [{ field: `hosts.${index}`, message: "is the operator's host" }] },
  );
}

/** Refuses a new app whose own address below APP_DOMAIN is the operator's host. */
export function refuseOperatorName(config: Config, app: string): void {
  const { appDomain } = config;
  if (appDomain === null || !isOperatorName(config, `${app}.${appDomain}`)) return;
  throw new Problem(
    "host_reserved",
    `An app called ${app} would be at ${app}.${appDomain}, which is the operator's host. Choose another name.`,
    { errors: [{ field: "path.app", message: "is part of the operator's host" }] },
  );
}
