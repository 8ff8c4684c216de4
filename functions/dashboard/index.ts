import { ACCESS_HEADER, identifyPerson } from "../access/cloudflare-access.ts";
import { refuseLogin, requireLookedUp, sameSecret } from "../auth.ts";
import type { ControlContext } from "../control/context.ts";
import { clientAddress } from "../client-address.ts";
import { Problem } from "../errors.ts";
import type { RequestHost } from "../request-host.ts";
import { ASSETS } from "./assets.generated.ts";
import { leavingServiceWorker } from "./leaving-service-worker.ts";
import { framePage, startedPage, type Frame } from "./pages.ts";
import { isPlainText, requireDashboardHost } from "./place.ts";
import { requireSameOrigin } from "./same-origin.ts";
import {
  endedCookies,
  endSignIn,
  findSignIn,
  startSignIn,
  type Person,
  type SignInContext,
} from "./sign-in.ts";

const HOME = "/_signalbox/";
/** What the client has a view for. */
const VIEW = /^\/_signalbox\/(?:(?:apps|audit|janitor|projects|runners|tokens)(?:\/.*)?)?$/;
/** A control token and the words around it. */
const SIGN_IN_BODY_LIMIT_BYTES = 4_096;

interface Visit {
  request: Request;
  url: URL;
  context: ControlContext;
  signIns: SignInContext;
}

/**
 * The dashboard, on the operator's host alone: one page and its assets, the same for everybody, and the sign-in with the
 * control token. Everything else its script asks of the control API.
 */
export async function serveDashboard(
  request: Request,
  { url, host }: { url: URL; host: RequestHost },
  context: ControlContext,
): Promise<Response> {
  await requireDashboardHost(url, host, context);
  const { pathname: path } = url;
  const { config, store, now } = context;
  const visit = { request, url, context, signIns: { config, store, now, authority: host.authority } };
  if (isPlainText(url, config)) {
    if (!isRead(request)) throw new Problem("unauthorized", "Sign in over HTTPS.");
    return redirect(308, `https://${url.host}${path}`);
  }
  if (path === `${HOME}sign-in` && request.method === "POST") return signIn(visit);
  if (path === `${HOME}sign-out`) {
    if (request.method === "POST") return signOut(visit);
    throw new Problem("method_not_allowed", `${path} takes POST.`, { headers: { allow: "POST" } });
  }
  if (!isRead(request)) {
    throw new Problem("method_not_allowed", `${path} takes GET.`, { headers: { allow: "GET, HEAD" } });
  }
  if (path === "/_signalbox") return redirect(308, HOME);
  if (path === `${HOME}sign-in`) return redirect(302, HOME);
  if (VIEW.test(path)) return withPreviews(document(await framePage(frameFor(url, context)), 200), visit);
  const asset = Object.hasOwn(ASSETS, path) ? ASSETS[path] : undefined;
  if (asset === undefined) throw new Problem("not_found", `Signalbox has nothing at ${path}.`);
  const response = answer(asset, 200, path.endsWith(".css") ? "text/css" : "text/javascript");
  // Its name changes with its contents.
  response.headers.set("cache-control", "public, max-age=31536000, immutable");
  return response;
}

/** What isn't below `/_signalbox` on the operator's host: nothing of an app, ever. */
export function serveOperatorHost(request: Request, path: string): Response {
  if (path === "/" && isRead(request)) return redirect(302, HOME);
  if (request.headers.get("service-worker") === "script") {
    return answer(leavingServiceWorker, 200, "text/javascript");
  }
  throw new Problem("not_found", `This host has the dashboard and nothing else: see ${HOME}`);
}

async function signIn({ request, url, context, signIns }: Visit): Promise<Response> {
  const origin = requireSameOrigin(request, url);
  if (
    Number(request.headers.get("content-length") ?? SIGN_IN_BODY_LIMIT_BYTES + 1) > SIGN_IN_BODY_LIMIT_BYTES
  ) {
    throw new Problem("body_too_large", "A sign-in is a short form.");
  }
  const form = new URLSearchParams(await request.text());
  const token = form.get("token") ?? "";
  const person = form.get("through") === "access" ? await personOf(request, context) : null;
  if (person === null && !(await sameSecret(token.trim(), context.config.controlToken))) {
    try {
      refuseLogin(clientAddress(request, context.config) ?? "", "That isn't the control token.");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return document(await framePage({ ...frameFor(url, context), error: error.message }), error.status);
    }
  }
  const { cookie, key } = await startSignIn(signIns, origin.startsWith("https:"), person);
  const response = document(await startedPage(key), 200);
  response.headers.append("set-cookie", cookie);
  return response;
}

/** Whom Cloudflare Access has let in. Throws `unauthorized` for nobody, and where it isn't set up. */
async function personOf(request: Request, { config, now }: ControlContext): Promise<Person> {
  const client = clientAddress(request, config) ?? "";
  const { access } = config;
  const assertion = request.headers.get(ACCESS_HEADER);
  if (access === null || assertion === null)
    throw new Problem("unauthorized", "Cloudflare Access didn't let anybody in here.");
  const remedy = "This assertion of Cloudflare Access is forged, has expired, or is for another application.";
  const known = await requireLookedUp(client, remedy, () => identifyPerson(assertion, access, now()));
  return { actor: `person ${known.name}`, scopes: access.scopes, until: known.expiresAt };
}

/** Forgetting is the browser's part; the sign-in itself ends in the store, for whoever kept a copy of it. */
async function signOut({ request, url, context, signIns }: Visit): Promise<Response> {
  requireSameOrigin(request, url);
  const known = await findSignIn(request, signIns);
  if (known === null) throw new Problem("unauthorized", "You are not signed in, or no longer.");
  await endSignIn(known.id, context.store);
  const response = new Response(null, { status: 204, headers: guards });
  // Not "cookies": that would take those of all apps below the same domain, too.
  response.headers.set("clear-site-data", '"storage"');
  for (const cookie of endedCookies(signIns.authority)) response.headers.append("set-cookie", cookie);
  return response;
}

function frameFor({ hostname }: URL, { config: { operatorHost, appDomain, access } }: ControlContext): Frame {
  const notice =
    operatorHost !== null
      ? ""
      : "OPERATOR_HOST is not set, so the dashboard is on every host that no app answers for. Set it to a host that no app ever had.";
  return { notice, isLocal: hostname.endsWith("localhost"), appDomain, hasAccess: access !== null };
}

function isRead(request: Request): boolean {
  return request.method === "GET" || request.method === "HEAD";
}

/** No other origin frames, opens, embeds or reads what the dashboard answers, and no cache keeps it. */
const guards = {
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; " +
    "frame-ancestors 'none'; base-uri 'none'; worker-src 'none'",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "origin-agent-cluster": "?1",
  // With `no-referrer` the browser would leave out the Origin of the sign-in, too.
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

function document(html: string, status: number): Response {
  return answer(html, status, "text/html");
}

/**
 * Lets a view show previews in a frame, and nothing else. They aren't asked to say that they may be embedded, so the page
 * can't demand that of all it embeds; its policy names the only thing that it does embed.
 */
function withPreviews(response: Response, { url, context: { config } }: Visit): Response {
  if (config.previewDomain === null) return response;
  const { headers } = response;
  const port = url.port === "" ? "" : `:${url.port}`;
  const frames = `; frame-src ${url.protocol}//*.${config.previewDomain}${port}`;
  headers.set("content-security-policy", guards["content-security-policy"] + frames);
  headers.delete("cross-origin-embedder-policy");
  return response;
}

function answer(body: string, status: number, type: string): Response {
  return new Response(body, { status, headers: { ...guards, "content-type": `${type}; charset=utf-8` } });
}

function redirect(status: number, location: string): Response {
  return new Response(null, { status, headers: { location, "cache-control": "no-store" } });
}
