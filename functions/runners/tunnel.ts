import type { Env } from "../config.ts";
import type { FetchTarget } from "../deployments/contract.ts";
import { fetchHub } from "./hub-call.ts";

const SCHEME = "runner://";

/** The origin of a service that a runner hosts. A service's slashes are encoded: what follows it is a path. */
export function runnerOrigin(runnerId: string, service: string): string {
  return `${SCHEME}${runnerId}/${encodeURIComponent(service)}`;
}

/** Fetches `runner://RUNNERID/SERVICE/path` through the runner's hub, and anything else as usual. */
export function fetchTarget(env: Pick<Env, "RUNNER_HUB">): FetchTarget {
  return (url, init) => {
    if (!url.startsWith(SCHEME)) return fetch(url, init);
    const [, runnerId = "", service = "", rest = ""] = /^runner:\/\/([^/]+)\/([^/?#]+)(.*)$/s.exec(url) ?? [];
    const path = rest.startsWith("/") ? rest : `/${rest}`;
    return fetchHub(env, { kind: "tunnel", runnerId, service: decodeURIComponent(service), path }, init);
  };
}
