import { deploymentOf, isRoutable, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { DEPLOYMENT_ID_PATTERN } from "../protocol/limits.ts";
import { queryValue } from "./url.ts";

/** What the routing rules need to know of a request. */
export interface RouteQuery {
  /** The pin as the client sent it; null when there is none. */
  pin: string | null;
  /** Whether the request carried the right internal token: a rollout verifying a pending deployment. */
  internal: boolean;
  webSocket: boolean;
  /** `pulse_reload_on_stale_affinity=1`. */
  reloadOnStale: boolean;
  /** Uniform in [0, 100), the same for each request of a client. */
  canaryDraw: () => number;
}

export type Route =
  | { kind: "forward"; deployment: Deployment; url: string; via: "pinned" | "active" | "canary" | "fallback" }
  | { kind: "stale" }
  | { kind: "none" };

/** Which deployment a request belongs to. Pure; pauses are the caller's business. */
export function resolveRoute(app: AppDocument, query: RouteQuery): Route {
  const active = deploymentOf(app, app.active);
  if (query.pin !== null) {
    const pinned = DEPLOYMENT_ID_PATTERN.test(query.pin) ? deploymentOf(app, query.pin) : undefined;
    if (pinned && (isPinnable(app, pinned) || (query.internal && isVerifiable(pinned)))) {
      return forward(pinned, "pinned");
    }
    if (!active) return { kind: "none" };
    if (query.webSocket && query.reloadOnStale) return forward(active, "fallback");
    return { kind: "stale" };
  }
  if (!active) return { kind: "none" };
  if (app.canary) {
    const canary = deploymentOf(app, app.canary.id);
    if (canary && isRoutable(canary) && query.canaryDraw() < app.canary.weight)
      return forward(canary, "canary");
  }
  return forward(active, "active");
}

function forward(deployment: Deployment, via: "pinned" | "active" | "canary" | "fallback"): Route {
  return deployment.url === null
    ? { kind: "none" }
    : { kind: "forward", deployment, url: deployment.url, via };
}

function isPinnable(app: AppDocument, deployment: Deployment): boolean {
  const tooOld = app.minimum !== null && deployment.sequence < app.minimum.sequence;
  return isRoutable(deployment) && !tooOld;
}

function isVerifiable(deployment: Deployment): boolean {
  return deployment.state === "pending" && deployment.url !== null;
}

const PIN_PARAMETER = "pulse_deployment";
/** Looked at where the query has no pin. */
const PIN_HEADERS: readonly string[] = ["x-pulse-deployment"];

/** The pin of a request, and the headers that could have made it another one. */
export function pinOf(search: string, headers: Headers, names: ReadonlySet<string>): Pin {
  const inQuery = queryValue(search, PIN_PARAMETER);
  if (inQuery !== null) return { pin: inQuery, varies: [] };
  const name = PIN_HEADERS.find((each) => names.has(each));
  return { pin: name === undefined ? null : headers.get(name), varies: PIN_HEADERS };
}

export interface Pin {
  /** As the client sent it; null when there is none. */
  pin: string | null;
  varies: readonly string[];
}

/**
 * Maps a client to [0, 100). Salted with the canary's id, so that another canary picks other clients, and
 * monotonic: raising the weight keeps everybody who was in. FNV-1a with a final mix; nobody gains by forging it.
 */
export function stickyDraw(client: string, canaryId: string): number {
  let hash = 0x811c9dc5;
  for (const text of [canaryId, "/", client]) {
    for (let index = 0; index < text.length; index++) {
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    }
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32) * 100;
}
