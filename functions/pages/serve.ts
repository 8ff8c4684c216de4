import {
  contractOf,
  deploymentOf,
  isRoutable,
  isTooOld,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { isPageId, type PageHubBinding } from "./hub.ts";
import { noteDocument, openPage } from "./hubs.ts";
import { PAGE_SCRIPT, PAGE_SCRIPT_HASH } from "./page-script.generated.ts";

const SCRIPT_PATH = "/_signalbox/page.js";
const SOCKET_PATH = "/_signalbox/page";

export interface PagesContext {
  env: PageHubBinding;
  /** The app of the request's host; `fresh`: not from a table that may be some seconds old. */
  app: (fresh: boolean) => Promise<AppDocument | null>;
  /** Has what a page asks for without a pin follow this deployment from now on. */
  follow: (headers: Headers, app: AppDocument, deployment: Deployment) => void;
  waitUntil: (work: Promise<unknown>) => void;
}

export function isPagePath(path: string): boolean {
  return path === SCRIPT_PATH || path === SOCKET_PATH;
}

/** The page helper and its socket, on the hosts of apps. Nobody has to sign in. */
export function servePages(request: Request, url: URL, context: PagesContext): Promise<Response> {
  if (url.pathname === SCRIPT_PATH) return Promise.resolve(script(request));
  return socket(request, url, context);
}

function script(request: Request): Response {
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new Problem("method_not_allowed", "The page helper is there to be read.", {
      headers: { allow: "GET, HEAD" },
    });
  }
  const headers = {
    "content-type": "text/javascript; charset=utf-8",
    // Its address has its hash.
    "cache-control": "public, max-age=31536000, immutable",
    etag: `"${PAGE_SCRIPT_HASH}"`,
    "x-content-type-options": "nosniff",
    // For frames with an origin of their own.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
  };
  if (request.headers.get("if-none-match") === headers.etag)
    return new Response(null, { status: 304, headers });
  return new Response(request.method === "HEAD" ? null : PAGE_SCRIPT, { headers });
}

/** What closes a page's socket, with a code that says what to do: the page's console stays clean. */
const STALE_CODE = 4409;
const UNCOUNTED_CODE = 4404;
const TRY_LATER_CODE = 1013;
const STALE = JSON.stringify({ type: "reload", reason: "stale-affinity" });

/**
 * `?deployment=ID&page=PAGE`: hears when the page is to reload, and counts it for as long as it is open. A plain GET says
 * whether the deployment is still there; with `uncounted` it says that the page can have no socket.
 */
async function socket(
  request: Request,
  url: URL,
  { env, app: read, follow, waitUntil }: PagesContext,
): Promise<Response> {
  const page = url.searchParams.get("page") ?? "";
  const id = url.searchParams.get("deployment");
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    const place = placeOf(await read(false), id) ?? placeOf(await read(true), id);
    const headers = new Headers({ "cache-control": "no-store" });
    if (place === null) headers.set("x-pulse-stale-affinity", "1");
    // Another site's page can't send that header.
    else if (request.headers.get("x-pulse-deployment") === id) {
      const { app, deployment } = place;
      if (!url.searchParams.has("uncounted")) follow(headers, app, deployment);
      else if (contractOf(app, deployment) === "edge")
        waitUntil(noteDocument(env, { app: app.name, deployment }, "uncounted").catch(() => undefined));
    }
    return new Response(null, { status: place === null ? 409 : 204, headers });
  }
  if (!isSameOrigin(request, url)) {
    throw new Problem("cross_origin", "A page's socket is for pages of the same origin.");
  }
  if (!isPageId(page)) throw new Problem("invalid_request", "page: must be 32 characters of a-f and 0-9.");
  try {
    // A page may be younger than the table that is known here.
    const place = placeOf(await read(false), id) ?? placeOf(await read(true), id);
    if (place === null) return closed(STALE_CODE, STALE);
    const { app, deployment } = place;
    if (contractOf(app, deployment) !== "edge") return closed(UNCOUNTED_CODE);
    const reload = deployment.retirement?.reload != null;
    const answer = await openPage(env, { app: app.name, deployment }, { page, reload });
    return answer.webSocket ? answer : closed(TRY_LATER_CODE);
  } catch {
    // Store or hub; the page comes back.
    return closed(TRY_LATER_CODE);
  }
}

function placeOf(
  app: AppDocument | null,
  id: string | null,
): { app: AppDocument; deployment: Deployment } | null {
  const deployment = app === null ? undefined : deploymentOf(app, id);
  if (app === null || !deployment || !isRoutable(deployment) || isTooOld(app, deployment)) return null;
  return { app, deployment };
}

function closed(code: number, message?: string): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  if (message !== undefined) server.send(message);
  server.close(code);
  return new Response(null, { status: 101, webSocket: client });
}

function isSameOrigin(request: Request, { host }: URL): boolean {
  return URL.parse(request.headers.get("origin") ?? "")?.host === host;
}
