import type { Config } from "../config.ts";
import { Problem } from "../errors.ts";
import type { OperatorHost } from "../operator-host.ts";
import type { RequestHost } from "../request-host.ts";
import type { StateStore } from "../state/store.ts";

/**
 * Throws where the dashboard isn't: an app on its origin would act as the operator. Without OPERATOR_HOST it is on hosts
 * that no app answers for, which takes a look into the store.
 */
export async function requireDashboardHost(
  url: URL,
  host: RequestHost,
  { config, store }: { config: Config; store: StateStore },
): Promise<void> {
  const { operatorHost } = config;
  if (operatorHost !== null) {
    // With a dot behind the name or at another port it is another origin.
    const isHere = url.hostname === operatorHost.name && (operatorHost.port ?? url.port) === url.port;
    if (isHere) return;
    throw elsewhere(dashboardAddress(operatorHost, url));
  }
  if (config.appDomain !== null && host.name.endsWith(`.${config.appDomain}`)) {
    throw nowhere(`Hosts below ${config.appDomain} are for apps`);
  }
  if ((await store.resolve(host.name, null)) !== null) throw nowhere(`An app answers for ${host.name}`);
}

function dashboardAddress({ name, port }: OperatorHost, url: URL): string {
  const at = port ?? url.port;
  return `${url.protocol}//${name}${at === "" ? "" : `:${at}`}/_signalbox/`;
}

function elsewhere(address: string): Problem {
  return new Problem("not_operator_host", `The dashboard isn't on this host. It is at ${address}`, {
    headers: { link: `<${address}>; rel="alternate"` },
  });
}

function nowhere(why: string): Problem {
  return new Problem(
    "not_operator_host",
    `${why}, so the dashboard isn't here. Set OPERATOR_HOST to a host that no app uses; the dashboard is there then.`,
  );
}

/** Over Cloudflare the scheme is the visitor's own; elsewhere a proxy may have ended TLS before us. */
export function isPlainText(url: URL, config: Config): boolean {
  const isHere = /(?:^|\.)localhost$|^127\.|^\[::1\]$/.test(url.hostname);
  return url.protocol === "http:" && config.trustClientAddress && !isHere;
}
