import { sameSecret } from "../auth.ts";
import { clientAddress } from "../client-address.ts";
import type { Config } from "../config.ts";
import { deploymentOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { Problem, problemResponse, wantsHtml } from "../errors.ts";
import { HELD_REQUESTS_LIMIT, URL_LIMIT_BYTES } from "../protocol/limits.ts";
import { requestHost } from "../request-host.ts";
import { forward, isWebSocket, pathAndQuery, type Destination, type ForwardOptions } from "./forward.ts";
import { isInternalPath } from "./internal-paths.ts";
import { pinOf, resolveRoute, stickyDraw } from "./resolve.ts";
import { staleResponse } from "./stale.ts";
import type { RouteTable, RouteTables } from "./table.ts";

export interface EdgeContext {
  config: Config;
  tables: RouteTables;
  fetchTarget: ForwardOptions["fetchTarget"];
  waitUntil: (work: Promise<unknown>) => void;
}

/** A public request: finds its app by host and its deployment by the routing rules, and pipes it there. */
export async function servePublic(request: Request, url: URL, context: EdgeContext): Promise<Response> {
  const { config, tables, waitUntil, fetchTarget } = context;
  if (request.url.length > URL_LIMIT_BYTES) {
    throw new Problem("url_too_long", `The URL is longer than ${URL_LIMIT_BYTES} bytes.`);
  }
  // Before anything is looked up, so that no state of the store lets it through.
  if (isInternalPath(pathOf(request.url))) return notFound(request);

  const host = requestHost(request, url)?.name;
  if (host === undefined) throw new Problem("invalid_request", "The Host header isn't a host name.");
  const appName = nameInDomain(host, config.appDomain);
  const read = (): Promise<RouteTable> => tables.get(host, appName, waitUntil);
  let { app } = await read();
  if (app === null) return unknownHost(request, host);

  const internal = await hasInternalToken(request, config.internalToken);
  const pin = pinOf(url, request.headers);
  if (internal && pin !== null && (deploymentOf(app, pin)?.url ?? null) === null) {
    // A rollout pins what was written a moment ago; anybody else gets there within the time to live.
    app = (await tables.fresh(host, appName, waitUntil)).app ?? app;
  }
  if (app.paused && !internal) {
    app = await whilePaused(app.paused, read);
    if (app === null) return unknownHost(request, host);
  }
  return serveApp(request, url, app, { config, internal, pin, fetchTarget });
}

/** The routing rules on a known table; a rollout verifies through here too. */
export async function serveApp(
  request: Request,
  url: URL,
  app: AppDocument,
  given: { config: Config; internal: boolean; pin: string | null } & ForwardOptions,
): Promise<Response> {
  if (isInternalPath(pathOf(request.url), app.config.paths)) return notFound(request);
  const { config, internal, pin, signal, fetchTarget } = given;
  const address = clientAddress(request, config);
  // Asked for by the canary only, so that other apps don't pay for it.
  let known: string | null = null;
  const client = (): string => (known ??= clientId(request, address));
  const route = resolveRoute(app, {
    pin,
    internal,
    webSocket: isWebSocket(request),
    reloadOnStale: url.search !== "" && url.searchParams.get("pulse_reload_on_stale_affinity") === "1",
    canaryDraw: () => stickyDraw(client(), app.canary?.id ?? ""),
  });
  switch (route.kind) {
    case "none":
      return problemResponse(new Problem("deployment_not_found", "deployment not found"), request);
    case "stale":
      return staleResponse(request, url);
    case "forward": {
      const destination: Destination = { url: route.url, deploymentId: route.deployment.id, via: route.via };
      if (isGuarded(app, route.deployment)) destination.internalToken = config.internalToken;
      const caller = { address, throughCloudflare: config.trustClientAddress };
      const response = await forward(request, url, destination, caller, { signal, fetchTarget });
      if (app.canary && pin === null && isNavigation(request)) rememberClient(request, response, client());
      return response;
    }
  }
}

/** A service on Railway has a public address of its own; with the app contract it answers to nobody but us. */
function isGuarded(app: AppDocument, { target }: Deployment): boolean {
  return target.kind === "railway" && app.config.contract === "pulse";
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

function rememberClient(request: Request, response: Response, client: string): void {
  if (request.headers.get("cookie")?.includes(`${CLIENT_COOKIE}=${client}`)) return;
  response.headers.append(
    "set-cookie",
    `${CLIENT_COOKIE}=${client}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax`,
  );
}

function isNavigation(request: Request): boolean {
  return request.headers.get("sec-fetch-mode") === "navigate" || wantsHtml(request);
}

const HOLD_POLL_MS = 200;
/** A held request that hasn't polled for so long is gone: when its client leaves, not even `finally` runs. */
const HELD_LEASE_MS = 10 * HOLD_POLL_MS;
const heldRequests = new Set<{ seenAt: number }>();

type Pause = NonNullable<AppDocument["paused"]>;

/** Rule 8: refuses, or holds the request until the app resumes. Returns the app as it resumed, null if it's gone. */
async function whilePaused(pause: Pause, read: () => Promise<RouteTable>): Promise<AppDocument | null> {
  refuseIfAsked(pause);
  const held = holdOne(pause);
  try {
    const deadline = Date.now() + pause.maxHoldSeconds * 1_000;
    for (;;) {
      await scheduler.wait(HOLD_POLL_MS);
      held.seenAt = Date.now();
      const { app } = await read();
      if (!app?.paused) return app;
      refuseIfAsked(app.paused);
      if (held.seenAt >= deadline) throw holdTimeout(pause.message, pause.retryAfterSeconds);
    }
  } finally {
    heldRequests.delete(held);
  }
}

function refuseIfAsked(pause: Pause): void {
  if (pause.mode !== "refuse") return;
  throw new Problem("app_paused", pause.message, {
    headers: { "retry-after": String(pause.retryAfterSeconds) },
  });
}

function holdOne(pause: Pause): { seenAt: number } {
  const now = Date.now();
  if (heldRequests.size >= HELD_REQUESTS_LIMIT) {
    for (const held of heldRequests) if (now - held.seenAt > HELD_LEASE_MS) heldRequests.delete(held);
  }
  if (heldRequests.size >= HELD_REQUESTS_LIMIT) throw holdTimeout(pause.message, pause.retryAfterSeconds);
  const held = { seenAt: now };
  heldRequests.add(held);
  return held;
}

function holdTimeout(message: string, retryAfterSeconds: number): Problem {
  return new Problem("hold_timeout", message, { headers: { "retry-after": String(retryAfterSeconds) } });
}

async function hasInternalToken(request: Request, expected: string): Promise<boolean> {
  const given = request.headers.get("x-pulse-railway-internal-token");
  return given !== null && (await sameSecret(given, expected));
}

function nameInDomain(hostname: string, domain: string | null): string | null {
  if (domain === null || !hostname.endsWith(`.${domain}`)) return null;
  const name = hostname.slice(0, -domain.length - 1);
  return name.includes(".") ? null : name;
}

/** As the client spelled it. */
function pathOf(url: string): string {
  const path = pathAndQuery(url);
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
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
