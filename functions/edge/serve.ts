import { sameSecret } from "../auth.ts";
import type { Config } from "../config.ts";
import type { AppDocument } from "../deployments/app-document.ts";
import { Problem, problemResponse, wantsHtml } from "../errors.ts";
import { HELD_REQUESTS_LIMIT, URL_LIMIT_BYTES } from "../protocol/limits.ts";
import { forward, isWebSocket } from "./forward.ts";
import { isInternalPath } from "./internal-paths.ts";
import { pinOf, resolveRoute, stickyDraw } from "./resolve.ts";
import { staleResponse } from "./stale.ts";
import type { RouteTable, RouteTables } from "./table.ts";

export interface EdgeContext {
  config: Config;
  tables: RouteTables;
  waitUntil: (work: Promise<unknown>) => void;
}

/** A public request: finds its app by host and its deployment by the routing rules, and pipes it there. */
export async function servePublic(request: Request, context: EdgeContext): Promise<Response> {
  const { config, tables } = context;
  const url = new URL(request.url);
  if (request.url.length > URL_LIMIT_BYTES) {
    throw new Problem("url_too_long", `The URL is longer than ${URL_LIMIT_BYTES} bytes.`);
  }
  // Before anything is looked up, so that no state of the store lets it through.
  if (isInternalPath(rawPath(request.url))) return notFound(request);

  const appName = nameInDomain(url.hostname, config.appDomain);
  const read = (): Promise<RouteTable> => tables.get(url.hostname, appName, context.waitUntil);
  let { app } = await read();
  if (app === null) return unknownHost(request, url);

  const internal = await hasInternalToken(request, config.internalToken);
  const pin = pinOf(url, request.headers);
  if (internal && pin !== null && app.deployments[pin]?.url == null) {
    // A rollout pins what was written a moment ago; anybody else gets there within the time to live.
    app = (await tables.fresh(url.hostname, appName)).app ?? app;
  }
  if (app.paused && !internal) app = await whilePaused(app, read);
  return serveApp(request, url, app, { config, internal, pin });
}

/** The routing rules on a known table; a rollout verifies through here too. */
export async function serveApp(
  request: Request,
  url: URL,
  app: AppDocument,
  given: { config: Config; internal: boolean; pin: string | null; signal?: AbortSignal },
): Promise<Response> {
  if (isInternalPath(rawPath(request.url), app.config.paths)) return notFound(request);
  const address = clientAddress(request, given.config);
  const client = clientId(request, address);
  const route = resolveRoute(app, {
    pin: given.pin,
    internal: given.internal,
    webSocket: isWebSocket(request),
    reloadOnStale: url.searchParams.get("pulse_reload_on_stale_affinity") === "1",
    canaryDraw: () => stickyDraw(client, app.canary?.id ?? ""),
  });
  switch (route.kind) {
    case "none":
      return problemResponse(new Problem("deployment_not_found", "deployment not found"), request);
    case "stale":
      return staleResponse(request, url);
    case "forward": {
      const destination = { url: route.url, deploymentId: route.deployment.id, via: route.via };
      const response = await forward(request, url, destination, address, given.signal);
      if (app.canary && given.pin === null && isNavigation(request))
        rememberClient(request, response, client);
      return response;
    }
  }
}

/** The address of the caller, where somebody trustworthy says it; null where nobody does. */
export function clientAddress(request: Request, config: Config): string | null {
  return config.trustClientAddress ? request.headers.get("cf-connecting-ip") : "127.0.0.1";
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

let heldRequests = 0;
const HOLD_POLL_MS = 200;

/** Rule 8: refuses, or holds the request until the app resumes. Returns the table that it resumed with. */
async function whilePaused(paused: AppDocument, read: () => Promise<RouteTable>): Promise<AppDocument> {
  const { paused: pause } = paused;
  if (!pause) return paused;
  if (pause.mode === "refuse") {
    throw new Problem("app_paused", pause.message, {
      headers: { "retry-after": String(pause.retryAfterSeconds) },
    });
  }
  if (heldRequests >= HELD_REQUESTS_LIMIT) throw holdTimeout(pause.message, pause.retryAfterSeconds);
  heldRequests += 1;
  try {
    const deadline = Date.now() + pause.maxHoldSeconds * 1_000;
    for (;;) {
      await scheduler.wait(HOLD_POLL_MS);
      const { app } = await read();
      if (app && !app.paused) return app;
      if (app?.paused?.mode === "refuse") return await whilePaused(app, read);
      if (Date.now() >= deadline) throw holdTimeout(pause.message, pause.retryAfterSeconds);
    }
  } finally {
    heldRequests -= 1;
  }
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

function rawPath(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start === -1 ? "/" : (url.slice(start).split(/[?#]/, 1)[0] ?? "/");
}

function notFound(request: Request): Response {
  return problemResponse(new Problem("not_found", "Nothing is here."), request);
}

function unknownHost(request: Request, url: URL): Response {
  const host = url.hostname;
  return problemResponse(
    new Problem(
      "unknown_host",
      `No app answers for ${host}. Create one with PUT /_signalbox/api/v1/apps/NAME {"hosts":["${host}"]}, then ` +
        `deploy to it with POST /_signalbox/api/v1/apps/NAME/deployments {"target":{"kind":"url","url":"https://…"}}.`,
    ),
    request,
  );
}
