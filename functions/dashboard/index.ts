import { refuseLogin, sameSecret } from "../auth.ts";
import type { ControlContext } from "../control/context.ts";
import { parseAppDocument } from "../apps/app-document.ts";
import { clientAddress } from "../client-address.ts";
import { Problem } from "../errors.ts";
import { lastRun } from "../janitor/sweep.ts";
import { loginPage, overviewPage, stylesheet } from "./pages.ts";
import { endedSessionCookie, hasSession, sessionCookie } from "./session.ts";

const HOME = "/_signalbox/";
/** Apps on one page; more are a matter for the control API. */
const APPS_SHOWN = 100;
/** A control token and the words around it. */
const LOGIN_BODY_LIMIT_BYTES = 4_096;

/** The dashboard: pages for people, read-only, behind a login with the control token. */
export async function serveDashboard(
  request: Request,
  path: string,
  context: ControlContext,
): Promise<Response> {
  const { config, now } = context;
  const url = new URL(request.url);
  if (path === "/_signalbox") return new Response(null, { status: 308, headers: { location: HOME } });
  if (path === `${HOME}login` && request.method === "POST") return logIn(request, url, context);
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new Problem("method_not_allowed", `${path} takes GET.`, { headers: { allow: "GET, HEAD" } });
  }
  if (path === `${HOME}style.css`) {
    return new Response(stylesheet, {
      headers: { "content-type": "text/css; charset=utf-8", "cache-control": "public, max-age=300" },
    });
  }
  if (path === `${HOME}logout`) {
    return new Response(null, { status: 303, headers: { location: HOME, "set-cookie": endedSessionCookie } });
  }
  if (path !== HOME) throw new Problem("not_found", `Signalbox has nothing at ${path}.`);
  if (!(await hasSession(request, config.controlToken, now()))) return page(await loginPage(""), 200);

  const names = await context.store.listApps({ after: null, limit: APPS_SHOWN });
  const stored = await Promise.all(names.map((name) => context.store.readApp(name)));
  const apps = stored
    .filter((app) => app !== null)
    .map((app) => ({ document: parseAppDocument(app.body), isDefault: app.isDefault }));
  return page(await overviewPage(apps, await lastRun(context.store, now()), now()), 200);
}

async function logIn(request: Request, url: URL, context: ControlContext): Promise<Response> {
  const { config, now } = context;
  const origin = request.headers.get("origin");
  if (origin !== null && origin !== "null" && (!URL.canParse(origin) || new URL(origin).host !== url.host)) {
    throw new Problem("unauthorized", "Log in from the dashboard itself.");
  }
  if (Number(request.headers.get("content-length") ?? LOGIN_BODY_LIMIT_BYTES + 1) > LOGIN_BODY_LIMIT_BYTES) {
    throw new Problem("body_too_large", "A login is a short form.");
  }
  const token = new URLSearchParams(await request.text()).get("token") ?? "";
  if (!(await sameSecret(token.trim(), config.controlToken))) {
    try {
      refuseLogin(clientAddress(request, config) ?? "", "That isn't the control token.");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return page(await loginPage(error.message), error.status);
    }
  }
  const cookie = await sessionCookie(config.controlToken, now(), url.protocol === "https:");
  return new Response(null, { status: 303, headers: { location: HOME, "set-cookie": cookie } });
}

function page(html: string, status: number): Response {
  return new Response(html, {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy":
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    },
  });
}
