import type { App } from "./api-types.ts";

/** `APP_DOMAIN` of the Worker, as its page says it; empty: apps have the hosts that they list. */
const appDomain = (): string => document.querySelector<HTMLElement>("#dashboard")?.dataset["appDomain"] ?? "";

/** Where an app is, the best address first. */
export function addressesOf({ name, hosts }: Pick<App, "name" | "hosts">): string[] {
  const domain = appDomain();
  const all = domain === "" ? hosts : [...hosts, `${name}.${domain}`];
  return all.map(originOf);
}

/** Where one version of it is, for a look before its promote; null without `APP_DOMAIN`. */
export function addressOfDeployment(app: string, id: string): string | null {
  const domain = appDomain();
  return domain === "" ? null : originOf(`${id}--${app}.${domain}`);
}

/** Apps are reached the way that this page is: same scheme, same port. */
function originOf(host: string): string {
  return `${location.protocol}//${host}${location.port === "" ? "" : `:${location.port}`}/`;
}
