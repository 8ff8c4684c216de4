import { sameSecret } from "../auth.ts";
import { clientAddress } from "../client-address.ts";
import type { Config } from "../config.ts";
import { contractOf, deploymentOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { Problem, problemResponse, wantsHtml } from "../errors.ts";
import type { Served } from "../observability/counters.ts";
import { URL_LIMIT_BYTES } from "../protocol/limits.ts";
import { askedOf, type Asked } from "./asked.ts";
import { AssetFallback, assetKindOf, isMissing, othersAlive } from "./asset-fallback.ts";
import { deploymentHostOf, tableKeyOf, type DeploymentHost } from "./deployment-host.ts";
import { forward, type Arrival, type Destination, type ForwardOptions } from "./forward.ts";
import type { RouteTable } from "./hosts.ts";
import { isInternalPath } from "./internal-paths.ts";
import { keepPage, mayBePage, refuseAhead } from "./page-answer.ts";
import { pageCookieOf, type PageCookie } from "./page-cookie.ts";
import type { PageLayer } from "./page-layer.ts";
import { whilePaused } from "./pause.ts";
import { headerNames, isWebSocket, TOKEN_HEADER } from "./request-headers.ts";
import {
  frameworkPinsOf,
  pinOf,
  refererPin,
  resolveRoute,
  routeToHost,
  stickyDraw,
  type PageStay,
  type Via,
} from "./resolve.ts";
import { ServiceWorkers } from "./service-workers.ts";
import { staleResponse } from "./stale.ts";
import type { RouteTables } from "./table.ts";
import { pathOf, queryValue, type RequestUrl } from "./url.ts";

export interface EdgeContext {
  config: Config;
  tables: RouteTables;
  fetchBackend: ForwardOptions["fetchBackend"];
  pageLayer?: PageLayer;
  waitUntil: (work: Promise<unknown>) => void;
  served?: Served;
  traceparent?: string | undefined;
}

/** A public request: finds its app by the host's name and its deployment by the routing rules, and pipes it there. */
export function servePublic(
  request: Request,
  url: RequestUrl,
  host: string,
  context: EdgeContext,
): Promise<Response> {
  if (request.url.length > URL_LIMIT_BYTES) {
    throw new Problem("url_too_long", `The URL is longer than ${URL_LIMIT_BYTES} bytes.`);
  }
  const names = headerNames(request);
  const app = context.tables.cached(host)?.app;
  const isOfDeployment = host.includes("--") && deploymentAt(host, context.config) !== null;
  if (!app || app.paused || isOfDeployment || names.has(TOKEN_HEADER))
    return serveWithCare(request, url, host, names, context);
  const { pin, varies } = pinOf(url.search, request.headers, names);
  return serveApp(request, url, app, { ...context, names, internal: false, pin, varies });
}

/** What takes more than a look at a cached table: the store, a pause, a rollout. */
async function serveWithCare(
  request: Request,
  url: RequestUrl,
  host: string,
  names: ReadonlySet<string>,
  context: EdgeContext,
): Promise<Response> {
  const { config, tables, waitUntil } = context;
  // Before anything is looked up, so that no state of the store lets it through.
  if (isInternalPath(pathOf(request.url))) return notFound(request);
  const place = await placeOf(host, context);
  const read = (): Promise<RouteTable> => tables.get(place.key, place.appName, waitUntil);
  let { app } = await read();
  if (app === null) return unknownHost(request, host);

  const internal = names.has(TOKEN_HEADER) && (await hasInternalToken(request, config.internalToken));
  const { pin, varies } = pinOf(url.search, request.headers, names);
  const wanted = place.deployment ?? pin;
  if (internal && wanted !== null && (deploymentOf(app, wanted)?.url ?? null) === null) {
    // A rollout pins what was written a moment ago; anybody else gets there within the time to live.
    app = (await tables.fresh(place.key, place.appName, waitUntil)).app ?? app;
  }
  // A pause doesn't stop a rollout: it must reach the app to verify what comes after the pause.
  if (app.paused && !internal) {
    app = await whilePaused(app.name, app.paused, read);
    if (app === null) return unknownHost(request, host);
  }
  return serveApp(request, url, app, { ...context, names, internal, pin, varies, host: place.deployment });
}

/** What a host stands for: what the tables know its app by, and the one deployment that it is for, if it is. */
interface Place {
  key: string;
  appName: string | null;
  deployment: string | null;
}

export async function placeOf(
  host: string,
  { config, tables, waitUntil }: Pick<EdgeContext, "config" | "tables" | "waitUntil">,
): Promise<Place> {
  const appName = nameInDomain(host, config.appDomain);
  const place = { key: host, appName, deployment: null };
  const named = deploymentAt(host, config);
  if (named === null) return place;
  const { app } = await tables.get(host, appName, waitUntil);
  if (app !== null && (app.name === appName || app.config.hosts.includes(host))) return place;
  const key = tableKeyOf(named);
  const owner = (await tables.get(key, named.app, waitUntil)).app;
  return owner?.name === named.app ? { key, appName: named.app, deployment: named.id } : place;
}

function deploymentAt(host: string, { appDomain }: Config): DeploymentHost | null {
  const label = nameInDomain(host, appDomain);
  return label === null ? null : deploymentHostOf(label);
}

interface Given extends ForwardOptions {
  config: Config;
  internal: boolean;
  pin: string | null;
  varies?: readonly string[];
  names?: ReadonlySet<string>;
  /** The deployment that the request's host is for. */
  host?: string | null;
  pageLayer?: PageLayer;
  /** Told what the request is for. */
  served?: Served;
  traceparent?: string | undefined;
}

/** One for each isolate: it limits what 404s cost. */
const assetFallback = new AssetFallback();

/** One for each isolate, too. Most have names that tell. */
const serviceWorkers = new ServiceWorkers();

/** The routing rules on a known table; a rollout verifies through here too. */
export function serveApp(
  request: Request,
  url: RequestUrl,
  app: AppDocument,
  given: Given,
): Promise<Response> {
  const path = pathOf(request.url);
  if (isInternalPath(path, app.config.paths)) return Promise.resolve(notFound(request));
  const { config, internal, pin, host = null, names = headerNames(request), served } = given;
  if (served !== undefined) served.app = app.name;
  const address = clientAddress(request, config);
  // Asked for by the canary only, so that other apps don't pay for it.
  let known: string | null = null;
  const client = (): string => (known ??= clientId(request, address));

  const asked = askedOf(request, names);
  if (asked.serviceWorker) serviceWorkers.note(app.name, path);
  const hasPages = app.config.contract !== "none" && !internal;
  const cookie =
    hasPages && host === null && app.config.stickiness !== "off" ? pageCookieOf(request, names) : undefined;
  const pins = pin === null ? frameworkPinsOf(app, url.search, request.headers, names) : NONE;
  const route =
    host !== null
      ? routeToHost(app, host, internal)
      : resolveRoute(app, {
          pin,
          framework: pins.framework,
          referer: () => (mayFollow(asked) && names.has("referer") ? refererPin(request, url.host) : null),
          page: () => {
            if (!cookie || isOfServiceWorker(request, names, app, url.host)) return null;
            return stayOf(app, cookie, asked);
          },
          internal,
          webSocket: names.has("upgrade") && isWebSocket(request),
          reloadOnStale: queryValue(url.search, "pulse_reload_on_stale_affinity") === "1",
          canaryDraw: () => stickyDraw(client(), app.canary?.id ?? ""),
        });
  switch (route.kind) {
    case "none":
      return Promise.resolve(
        problemResponse(new Problem("deployment_not_found", "deployment not found"), request),
      );
    case "stale":
      return Promise.resolve(staleResponse(request));
    case "forward": {
      const { deployment, via } = route;
      if (served !== undefined) served.deployment = deployment.id;
      // Versions of one app may differ in it.
      const isKept = hasPages && contractOf(app, deployment) !== "none";
      const byCookie = isKept && cookie !== undefined && CHOSEN_LAST.has(via);
      if (asked.ahead) refuseAhead(app, deployment, asked, cookie);
      const arrival: Arrival = {
        request,
        url,
        names,
        caller: { address, throughCloudflare: config.trustClientAddress },
        varies: host === null ? (pin === null ? pins.varies : (given.varies ?? [])) : [],
        ledBy: via === "referer" ? via : byCookie ? "cookie" : null,
        isPage: isKept && mayBePage(asked, path),
        traceparent: given.traceparent,
      };
      let answer = send(arrival, app, deployment, via, given);
      const kind = byCookie ? assetKindOf(request, path, asked, names) : null;
      const others = kind === null ? [] : othersAlive(app, deployment);
      if (kind !== null && others.length > 0) {
        const isRange = names.has("range");
        const again = { ...arrival, isUnconditional: true };
        answer = answer.then((first) =>
          isMissing(first)
            ? assetFallback.find(
                first,
                { app: app.name, path: url.pathname + url.search, kind, isRange, others },
                (other, signal) => send(again, app, other, "asset", { ...given, signal }),
              )
            : first,
        );
      }
      // What is prefetched by a link is shown later as it came, though it isn't asked for as a document.
      if (isKept && (asked.navigation || asked.ahead)) {
        const { pageLayer } = given;
        answer = answer.then((response) =>
          keepPage(response, { request, url, app, deployment, cookie, pageLayer }),
        );
      }
      if (!app.canary || pin !== null || !isNavigation(request)) return answer;
      return answer.then((response) => rememberClient(request, response, client()));
    }
  }
}

const NONE = { framework: [], varies: [] };

function send(
  arrival: Arrival,
  app: AppDocument,
  deployment: Deployment,
  via: Via,
  { config, signal, fetchBackend }: Given,
): Promise<Response> {
  const destination: Destination = { url: deployment.url ?? "", deploymentId: deployment.id, via };
  if (isGuarded(app, deployment)) destination.internalToken = config.internalToken;
  if (deployment.target.host === "own") destination.ownHost = true;
  return forward(arrival, destination, { signal, fetchBackend });
}

function isOfServiceWorker(
  request: Request,
  names: ReadonlySet<string>,
  app: AppDocument,
  host: string,
): boolean {
  return names.has("referer") && serviceWorkers.isAsking(app.name, request.headers.get("referer"), host);
}

/** A page of its own belongs to nothing that was there before, and a service worker outlives every page. */
function mayFollow(asked: Asked): boolean {
  return !(asked.document && !asked.frame) && !asked.serviceWorker;
}

/** Where a request with this cookie belongs. */
function stayOf(app: AppDocument, cookie: PageCookie, asked: Asked): PageStay | null {
  if (mayFollow(asked)) return { id: cookie.id, via: "page" };
  if (asked.serviceWorker || app.config.stickiness !== "visitor" || cookie.loadedAt === null) return null;
  const idleSeconds = Date.now() / 1_000 - cookie.loadedAt;
  return idleSeconds <= app.config.visitIdleSeconds ? { id: cookie.id, via: "visitor" } : null;
}

/**
 * Where another page cookie could have led a request for the same URL. A page's own load, too: a page from the browser's
 * cache would come without its cookie.
 */
const CHOSEN_LAST: ReadonlySet<Via> = new Set(["page", "visitor", "active", "canary"]);

/**
 * A service on Railway has a public address of its own; with the app contract it answers to nobody but us. Null: the
 * verification asks whether it has the contract.
 */
function isGuarded(app: AppDocument, deployment: Deployment): boolean {
  const contract = contractOf(app, deployment);
  return deployment.target.kind === "railway" && (contract === "pulse" || contract === null);
}

const CLIENT_COOKIE = "signalbox-client";

/**
 * Who a request comes from, for the canary: the cookie of an earlier visit, else address and browser. The cookie
 * holds a client's hash, never a deployment, so it pins nothing; it is only there while a canary is.
 */
function clientId(request: Request, address: string | null): string {
  const cookie = /(?:^|;\s*)signalbox-client=([0-9a-f]{8})(?:;|$)/.exec(
    request.headers.get("cookie") ?? "",
  )?.[1];
  if (cookie !== undefined) return cookie;
  const seen = `${address ?? ""}|${request.headers.get("user-agent") ?? ""}`;
  const draw = stickyDraw(seen, "client");
  return Math.floor((draw / 100) * 2 ** 32)
    .toString(16)
    .padStart(8, "0");
}

function rememberClient(request: Request, response: Response, client: string): Response {
  if (request.headers.get("cookie")?.includes(`${CLIENT_COOKIE}=${client}`)) return response;
  response.headers.append(
    "set-cookie",
    `${CLIENT_COOKIE}=${client}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax`,
  );
  return response;
}

function isNavigation(request: Request): boolean {
  return request.headers.get("sec-fetch-mode") === "navigate" || wantsHtml(request);
}

async function hasInternalToken(request: Request, expected: string): Promise<boolean> {
  const given = request.headers.get(TOKEN_HEADER);
  return given !== null && (await sameSecret(given, expected));
}

function nameInDomain(hostname: string, domain: string | null): string | null {
  if (domain === null || !hostname.endsWith(`.${domain}`)) return null;
  const name = hostname.slice(0, -domain.length - 1);
  return name.includes(".") ? null : name;
}

function notFound(request: Request): Response {
  return problemResponse(new Problem("not_found", "Nothing is here."), request);
}

function unknownHost(request: Request, host: string): Response {
  return problemResponse(
    new Problem(
      "unknown_host",
      `No app answers for ${host}. Create one with PUT /_signalbox/api/v1/apps/NAME {"hosts":["${host}"]}, then ` +
        `deploy to it with POST /_signalbox/api/v1/apps/NAME/deployments {"target":{"kind":"url","url":"https://…"}}.`,
    ),
    request,
  );
}
