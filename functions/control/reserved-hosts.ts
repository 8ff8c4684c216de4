import type { Config } from "../config.ts";
import { Problem } from "../errors.ts";
import { previewOf } from "../projects/preview-host.ts";

/** Refuses an app's hosts if a preview's is among them, or the operator's, on any port. */
export function refuseReservedHosts({ operatorHost, previewDomain }: Config, hosts: string[]): void {
  const preview = hosts.findIndex((host) => previewOf(host, previewDomain) !== null);
  if (preview !== -1) {
    throw new Problem(
      "host_reserved",
      `Host ${hosts[preview]} is below ${previewDomain} (PREVIEW_DOMAIN), where previews are. Choose another.`,
      { errors: [{ field: `hosts.${preview}`, message: "is a preview's host" }] },
    );
  }
  const index = hosts.findIndex((host) => host === operatorHost?.name);
  if (index === -1) return;
  throw new Problem(
    "host_reserved",
    `Host ${hosts[index]} is the operator's (OPERATOR_HOST): no app shares it with the dashboard. Choose another.`,
    { errors: [{ field: `hosts.${index}`, message: "is the operator's host" }] },
  );
}

/** Refuses a new app whose own address below APP_DOMAIN is the operator's host. */
export function refuseOperatorName({ operatorHost, appDomain }: Config, app: string): void {
  if (appDomain === null || `${app}.${appDomain}` !== operatorHost?.name) return;
  throw new Problem(
    "host_reserved",
    `An app called ${app} would be at ${app}.${appDomain}, which is the operator's host. Choose another name.`,
    { errors: [{ field: "path.app", message: "is part of the operator's host" }] },
  );
}
