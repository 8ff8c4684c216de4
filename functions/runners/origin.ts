const SCHEME = "runner://";

/** The origin of a service that a runner hosts. A service's slashes are encoded: what follows it is a path. */
export function runnerOrigin(runnerId: string, service: string): string {
  return `${SCHEME}${runnerId}/${encodeURIComponent(service)}`;
}

/** `runner://RUNNERID/SERVICE/path?query` in its parts, the path as it was spelled; null for any other URL. */
export function parseRunnerUrl(url: string): { runnerId: string; service: string; path: string } | null {
  if (!url.startsWith(SCHEME)) return null;
  const [, runnerId, service, rest = ""] = /^runner:\/\/([^/]+)\/([^/?#]+)(.*)$/s.exec(url) ?? [];
  if (runnerId === undefined || service === undefined)
    throw new TypeError("A runner's URL names no service.");
  return { runnerId, service: decodeURIComponent(service), path: rest.startsWith("/") ? rest : `/${rest}` };
}
