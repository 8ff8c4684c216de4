import {
  deploymentOf,
  isRoutable,
  isTooOld,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import { DEPLOYMENT_ID_PATTERN } from "../protocol/limits.ts";
import { queryValue, readUrl } from "./url.ts";

/** Which rule or layer decided: `x-signalbox-route`. */
export type Via =
  | "pinned"
  | "host"
  | "framework"
  | "referer"
  | "page"
  | "visitor"
  | "asset"
  | "active"
  | "canary"
  | "fallback";

/** What the routing rules need to know of a request. */
export interface RouteQuery {
  /** The pin as the client sent it; null when there is none. */
  pin: string | null;
  /** What a framework's own client sent. */
  framework?: readonly FrameworkPin[];
  /** The pin of what made the request; asked for only where the request has none. */
  referer?: () => string | null;
  /** Where the page or the visitor belongs; asked for only where no pin counts. */
  page?: () => PageStay | null;
  /** Whether the request carried the right internal token: a rollout verifying a pending deployment. */
  internal: boolean;
  webSocket: boolean;
  /** `pulse_reload_on_stale_affinity=1`. */
  reloadOnStale: boolean;
  /** Uniform in [0, 100), the same for each request of a client. */
  canaryDraw: () => number;
}

/** A deployment that an earlier page was of. */
export interface PageStay {
  id: string;
  via: "page" | "visitor";
}

export type Route =
  { kind: "forward"; deployment: Deployment; url: string; via: Via } | { kind: "stale" } | { kind: "none" };

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
  for (const { id, inHeader } of query.framework ?? []) {
    const named = deploymentOf(app, id);
    if (named === undefined) continue;
    if (isPinnable(app, named)) return forward(named, "framework");
    // Frameworks ask with the header for data, and load the page afresh where they get none. A file may be elsewhere.
    if (inHeader && hasHadPages(named) && active) return { kind: "stale" };
  }
  const referer = pinnable(app, query.referer?.());
  if (referer) return forward(referer, "referer");
  const page = query.page?.();
  const stayed = pinnable(app, page?.id);
  if (page && stayed) return forward(stayed, page.via);
  if (!active) return { kind: "none" };
  if (app.canary) {
    const canary = deploymentOf(app, app.canary.id);
    if (canary && isRoutable(canary) && query.canaryDraw() < app.canary.weight)
      return forward(canary, "canary");
  }
  return forward(active, "active");
}

/** What a deployment's own host leads to, as if everything there were pinned. */
export function routeToHost(app: AppDocument, id: string, internal: boolean): Route {
  const named = deploymentOf(app, id);
  const isThere = named && (isPinnable(app, named) || (internal && isVerifiable(named)));
  return isThere ? forward(named, "host") : { kind: "none" };
}

function forward(deployment: Deployment, via: Via): Route {
  return deployment.url === null
    ? { kind: "none" }
    : { kind: "forward", deployment, url: deployment.url, via };
}

/** A deployment that a page may be on. */
export function pinnable(app: AppDocument, id: string | null | undefined): Deployment | undefined {
  const named = deploymentOf(app, id);
  return named && isPinnable(app, named) ? named : undefined;
}

function isPinnable(app: AppDocument, deployment: Deployment): boolean {
  return isRoutable(deployment) && !isTooOld(app, deployment);
}

function hasHadPages({ state }: Deployment): boolean {
  return state !== "pending" && state !== "failed";
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

/** What a framework's own client says of the build that it is of: any text, of which only our ids mean something. */
export interface FrameworkPin {
  id: string;
  inHeader: boolean;
}

const FRAMEWORK_PARAMETER = "dpl";
const FRAMEWORK_HEADERS: readonly string[] = ["x-deployment-id", "x-netlify-deploy-id"];
const ALL_PIN_HEADERS = [...PIN_HEADERS, ...FRAMEWORK_HEADERS];
const NO_PINS: readonly FrameworkPin[] = [];

/** The pins of frameworks that name a deployment which the app has or had, and the headers that could have been one. */
export function frameworkPinsOf(
  app: AppDocument,
  search: string,
  headers: Headers,
  names: ReadonlySet<string>,
): { framework: readonly FrameworkPin[]; varies: readonly string[] } {
  const inQuery = queryValue(search, FRAMEWORK_PARAMETER);
  if (pinnable(app, inQuery)) {
    return { framework: [{ id: inQuery ?? "", inHeader: false }], varies: PIN_HEADERS };
  }
  const sent = FRAMEWORK_HEADERS.filter((name) => names.has(name)).map((name) => headers.get(name) ?? "");
  if (sent.length === 0) return { framework: NO_PINS, varies: ALL_PIN_HEADERS };
  return { framework: sent.map((id) => ({ id, inHeader: true })), varies: ALL_PIN_HEADERS };
}

/** The pin in the address of what made a request: of a page, a stylesheet or a worker of the same host. */
export function refererPin(request: Request, host: string): string | null {
  const referer = request.headers.get("referer");
  if (referer === null || !(referer.includes(PIN_PARAMETER) || referer.includes(FRAMEWORK_PARAMETER)))
    return null;
  const from = readUrl(referer);
  // A browser behind a TLS proxy is on https where we are on http.
  if (from?.host !== host) return null;
  return queryValue(from.search, PIN_PARAMETER) ?? queryValue(from.search, FRAMEWORK_PARAMETER);
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
