import { clientAddress } from "../client-address.ts";
import type { Config } from "../config.ts";
import { headerNames, requestHeaders } from "../edge/request-headers.ts";
import { pathAndQuery, type RequestUrl } from "../edge/url.ts";
import { Problem, PROBLEM_HEADER, problemResponse, wantsHtml } from "../errors.ts";
import { refuseOwnCookies } from "../own-cookies.ts";
import { SLUG_PATTERN } from "../protocol/limits.ts";
import { projectService } from "../protocol/runner-api.ts";
import { runnerOrigin } from "../runners/origin.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import { fetchBackend } from "../runners/tunnel.ts";
import type { StateStore } from "../state/store.ts";
import { grantCookie, grantsIn, readGrant, signGrant } from "./preview-access.ts";
import { waitingPage } from "./preview-pages.ts";
import { readProject, type ProjectRecord } from "./project-record.ts";
import { RunnerProjects } from "./runner-projects.ts";

/** Where a link leads: it sets the cookie and goes on. */
export const PREVIEW_LOGIN_PATH = "/_signalbox/preview";

/** How long an isolate goes by what it read of a project: so late a link is revoked. */
const RECORD_TTL_MS = 5_000;
const RECORDS_KEPT = 1_000;

/** What says that the runner, or the project's server on it, isn't there. An app's own answers have no such mark. */
const ABSENT = new Set([
  "runner_offline",
  "runner_draining",
  "upstream_unreachable",
  "stream_reset",
  "runner_overloaded",
]);

export interface PreviewContext {
  env: HubBinding;
  config: Config;
  store: StateStore;
  now: () => number;
  waitUntil: (work: Promise<unknown>) => void;
}

/** The project whose preview a host is: `NAME.PREVIEW_DOMAIN`; null for every other host. */
export function previewOf(host: string, domain: string | null): string | null {
  if (domain === null || !host.endsWith(`.${domain}`)) return null;
  const label = host.slice(0, -domain.length - 1);
  return SLUG_PATTERN.test(label) ? label : "";
}

const records = new Map<string, { record: ProjectRecord | null; readAt: number }>();

/** Serves a project's dev server to whoever may see it. Nothing else of Signalbox is on that host. */
export async function servePreview(
  request: Request,
  url: RequestUrl,
  slug: string,
  context: PreviewContext,
): Promise<Response> {
  const record = await recordOf(slug, context);
  if (record === null) throw new Problem("unknown_project", "There is no such preview.");
  if (url.pathname === PREVIEW_LOGIN_PATH) return logIn(new URL(request.url), record, context);
  if (url.pathname === "/_signalbox" || url.pathname.startsWith("/_signalbox/")) {
    throw new Problem("not_found", "Nothing of Signalbox is on a preview's host.");
  }
  if (!record.isPublic && !(await isLetIn(request, record, context))) {
    throw new Problem(
      "preview_refused",
      "This preview is private. Open it by a link that was shared with you; it may have expired or been revoked.",
    );
  }
  return ask(request, url, record, context);
}

async function ask(
  request: Request,
  url: RequestUrl,
  record: ProjectRecord,
  context: PreviewContext,
): Promise<Response> {
  const { env, config } = context;
  const names = headerNames(request);
  const headers = requestHeaders(request, names, {
    host: request.headers.get("host") ?? url.host,
    scheme: url.protocol.slice(0, -1),
    caller: { address: clientAddress(request, config), throughCloudflare: config.trustClientAddress },
    overNetwork: false,
  });
  const { method, body } = request;
  const target = runnerOrigin(record.runnerId, projectService(record.slug)) + pathAndQuery(request.url);
  const init: RequestInit = { method, headers, redirect: "manual", signal: request.signal };
  if (body !== null) init.body = body;
  const upstream = await fetchBackend(env)(target, init);
  if (isAbsent(upstream)) return absent(request, record, context);
  const { status, webSocket } = upstream;
  if (webSocket !== null) return upstream;
  const answer = new Response(upstream.body, upstream);
  refuseOwnCookies(answer.headers);
  // Strangers' code: no other site learns where its visitors came from by an address with a link in it.
  if (!answer.headers.has("referrer-policy")) answer.headers.set("referrer-policy", "same-origin");
  return status === 101 ? upstream : answer;
}

/** Starts the server, if its runner is there, and says how it stands. */
async function absent(request: Request, record: ProjectRecord, { env }: PreviewContext): Promise<Response> {
  const projects = new RunnerProjects(env, record.runnerId);
  const view = await projects.wakeServer(record.slug).catch((error: unknown) => {
    if (error instanceof Problem) return error;
    throw error;
  });
  if (wantsHtml(request)) return waitingPage(record.name, view);
  const detail = view instanceof Problem ? view.message : `The dev server of ${record.slug} is starting.`;
  const code = view instanceof Problem ? view.code : "upstream_unreachable";
  return problemResponse(new Problem(code, detail, { headers: { "retry-after": "2" } }), request);
}

/** Whether an answer is the tunnel's own word that nobody is there. A server that says the same is asked to start once more. */
function isAbsent({ status, headers }: Response): boolean {
  return status >= 502 && ABSENT.has(headers.get(PROBLEM_HEADER) ?? "");
}

async function logIn(url: URL, record: ProjectRecord, { config, now }: PreviewContext): Promise<Response> {
  const { slug, previewEpoch: epoch } = record;
  const token = url.searchParams.get("token") ?? "";
  const link = await readGrant(token, { kind: "link", slug, epoch, now: now() }, config.controlToken);
  if (link === null) {
    throw new Problem("preview_refused", "This link has expired, was revoked, or is for another preview.");
  }
  const cookie = await signGrant({ ...link, kind: "cookie" }, config.controlToken);
  const seconds = Math.floor((link.expiresAt - now()) / 1_000);
  return new Response(null, {
    status: 303,
    headers: {
      location: "/",
      "set-cookie": grantCookie(cookie, seconds),
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
    },
  });
}

async function isLetIn(
  request: Request,
  { slug, previewEpoch: epoch }: ProjectRecord,
  { config, now }: PreviewContext,
): Promise<boolean> {
  for (const token of grantsIn(request.headers.get("cookie") ?? "")) {
    const wanted = { kind: "cookie", slug, epoch, now: now() } as const;
    if ((await readGrant(token, wanted, config.controlToken)) !== null) return true;
  }
  return false;
}

async function recordOf(slug: string, { store, now }: PreviewContext): Promise<ProjectRecord | null> {
  const known = records.get(slug);
  if (known !== undefined && now() - known.readAt < RECORD_TTL_MS) return known.record;
  const record = slug === "" ? null : await readProject(store, slug);
  if (records.size >= RECORDS_KEPT) records.clear();
  records.set(slug, { record, readAt: now() });
  return record;
}
