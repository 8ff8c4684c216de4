import { sameSecret } from "../auth.ts";
import { clientAddress } from "../client-address.ts";
import type { Config } from "../config.ts";
import { contractOf, deploymentOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { Problem, problemResponse, wantsHtml } from "../errors.ts";
import { URL_LIMIT_BYTES } from "../protocol/limits.ts";
import { forward, type Destination, type ForwardOptions } from "./forward.ts";
import type { RouteTable } from "./hosts.ts";
import { isInternalPath } from "./internal-paths.ts";
import { whilePaused } from "./pause.ts";
import { headerNames, isWebSocket, TOKEN_HEADER } from "./request-headers.ts";
import { pinOf, resolveRoute, stickyDraw } from "./resolve.ts";
import { staleResponse } from "./stale.ts";
import type { RouteTables } from "./table.ts";
import type { PageLayer } from "./page-layer.ts";
import { pathOf, queryValue, type RequestUrl } from "./url.ts";

export interface EdgeContext {
  config: Config;
  tables: RouteTables;
  fetchTarget: ForwardOptions["fetchTarget"];
  waitUntil: (work: Promise<unknown>) => void;
  pages?: PageLayer;
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
  if (!app || app.paused || names.has(TOKEN_HEADER)) return serveWithCare(request, url, host, names, context);
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
  const { config, tables, waitUntil, fetchTarget, pages } = context;
  // Before anything is looked up, so that no state of the store lets it through.
  if (isInternalPath(pathOf(request.url))) return notFound(request);
  const appName = nameInDomain(host, config.appDomain);
  const read = (): Promise<RouteTable> => tables.get(host, appName, waitUntil);
  let { app } = await read();
  if (app === null) return unknownHost(request, host);

  const internal = names.has(TOKEN_HEADER) && (await hasInternalToken(request, config.internalToken));
  const { pin, varies } = pinOf(url.search, request.headers, names);
  if (internal && pin !== null && (deploymentOf(app, pin)?.url ?? null) === null) {
    // A rollout pins what was written a moment ago; anybody else gets there within the time to live.
    app = (await tables.fresh(host, appName, waitUntil)).app ?? app;
  }
  // A pause doesn't stop a rollout: it must reach the app to verify what comes after the pause.
  if (app.paused && !internal) {
    app = await whilePaused(app.name, app.paused, read);
    if (app === null) return unknownHost(request, host);
  }
  return serveApp(request, url, app, { config, names, internal, pin, varies, fetchTarget, pages });
}

interface Given extends ForwardOptions {
  config: Config;
  pages?: PageLayer | undefined;
  internal: boolean;
  pin: string | null;
  varies?: readonly string[];
  names?: ReadonlySet<string>;
}

/** The routing rules on a known table; a rollout verifies through here too. */
export function serveApp(
  request: Request,
  url: RequestUrl,
  app: AppDocument,
  given: Given,
): Promise<Response> {
  if (isInternalPath(pathOf(request.url), app.config.paths)) return Promise.resolve(notFound(request));
  const {
    config,
    internal,
    pin,
    signal,
    fetchTarget,
    pages,
    varies = [],
    names = headerNames(request),
  } = given;
  const address = clientAddress(request, config);
  // Asked for by the canary only, so that other apps don't pay for it.
  let known: string | null = null;
  const client = (): string => (known ??= clientId(request, address));
  const route = resolveRoute(app, {
    pin,
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
      const destination: Destination = { url: route.url, deploymentId: deployment.id, via };
      if (isGuarded(app, deployment)) destination.internalToken = config.internalToken;
      if (deployment.target.host === "own") destination.ownHost = true;
      const caller = { address, throughCloudflare: config.trustClientAddress };
      const forwarded = forward({ request, url, names, caller, varies }, destination, {
        signal,
        fetchTarget,
      });
      const answer = pages
        ? forwarded.then((response) => pages.document(response, { request, url, app, deployment }))
        : forwarded;
      if (!app.canary || pin !== null || !isNavigation(request)) return answer;
      return answer.then((response) => rememberClient(request, response, client()));
    }
  }
}

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

export function nameInDomain(hostname: string, domain: string | null): string | null {
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
