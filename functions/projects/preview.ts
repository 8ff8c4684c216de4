import { clientAddress } from "../client-address.ts";
import type { Config } from "../config.ts";
import { headerNames, requestHeaders } from "../edge/request-headers.ts";
import { pathAndQuery, type RequestUrl } from "../edge/url.ts";
import { Problem, PROBLEM_HEADER, problemResponse, wantsHtml } from "../errors.ts";
import { refuseOwnCookies } from "../own-cookies.ts";
import { projectService } from "../protocol/runner-api.ts";
import { runnerOrigin } from "../runners/origin.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import { fetchBackend } from "../runners/tunnel.ts";
import type { StateStore } from "../state/store.ts";
import { grantCookie, grantsIn, readGrant, signGrant, type Grant } from "./preview-access.ts";
import type { PreviewHost } from "./preview-host.ts";
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

const RETRY = { headers: { "retry-after": "2" } };

const records = new Map<string, { record: ProjectRecord | null; readAt: number }>();

/** Serves a project's dev server to whoever may see it. Nothing else of Signalbox is on that host. */
export async function servePreview(
  request: Request,
  url: RequestUrl,
  { slug, port }: PreviewHost,
  context: PreviewContext,
): Promise<Response> {
  const record = await recordOf(slug, context);
  if (record === null) throw new Problem("unknown_project", "There is no such preview.");
  if (url.pathname === PREVIEW_LOGIN_PATH) return logIn(new URL(request.url), record, port, context);
  if (url.pathname === "/_signalbox" || url.pathname.startsWith("/_signalbox/")) {
    throw new Problem("not_found", "Nothing of Signalbox is on a preview's host.");
  }
  if (!record.isPublic && !(await isLetIn(request, record, port, context))) {
    throw new Problem(
      "preview_refused",
      "This preview is private. Open it by a link that was shared with you; it may have expired or been revoked.",
    );
  }
  return ask(request, url, { record, port }, context);
}

/** What is shown: a project's dev server, or another port of it. */
interface Shown {
  record: ProjectRecord;
  port: number | null;
}

async function ask(
  request: Request,
  url: RequestUrl,
  { record, port }: Shown,
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
  const target = runnerOrigin(record.runnerId, projectService(record.slug, port)) + pathAndQuery(request.url);
  const init: RequestInit = { method, headers, redirect: "manual", signal: request.signal };
  if (body !== null) init.body = body;
  const upstream = await fetchBackend(env)(target, init);
  if (isAbsent(upstream)) return absent(request, { record, port }, context);
  const { status, webSocket } = upstream;
  if (webSocket !== null) return upstream;
  const answer = new Response(upstream.body, upstream);
  refuseOwnCookies(answer.headers);
  // Strangers' code: no other site learns where its visitors came from by an address with a link in it.
  if (!answer.headers.has("referrer-policy")) answer.headers.set("referrer-policy", "same-origin");
  return status === 101 ? upstream : answer;
}

/** Starts the server, if its runner is there, and says how it stands. */
async function absent(request: Request, { record, port }: Shown, { env }: PreviewContext): Promise<Response> {
  // Pages in forgotten tabs try their sockets again for ever: nobody has come.
  if (request.headers.get("upgrade")?.toLowerCase() === "websocket") {
    const detail = `The dev server of ${record.slug} doesn't run.`;
    return problemResponse(new Problem("upstream_unreachable", detail, RETRY), request);
  }
  const projects = new RunnerProjects(env, record.runnerId);
  const view = await projects.wakeServer(record.slug).catch((error: unknown) => {
    if (error instanceof Problem) return error;
    throw error;
  });
  if (wantsHtml(request)) return waitingPage(record.name, view, port);
  const detail = view instanceof Problem ? view.message : `The dev server of ${record.slug} is starting.`;
  const code = view instanceof Problem ? view.code : "upstream_unreachable";
  return problemResponse(new Problem(code, detail, RETRY), request);
}

/** Whether an answer is the tunnel's own word that nobody is there. A server that says the same is asked to start once more. */
function isAbsent({ status, headers }: Response): boolean {
  return status >= 502 && ABSENT.has(headers.get(PROBLEM_HEADER) ?? "");
}

async function logIn(
  url: URL,
  record: ProjectRecord,
  port: number | null,
  { config, store, now }: PreviewContext,
): Promise<Response> {
  const { slug, previewEpoch: epoch } = record;
  const token = url.searchParams.get("token") ?? "";
  const link = await readGrant(token, { kind: "link", slug, port, epoch, now: now() }, config.controlToken);
  if (link === null || !(await isFirstUse(link, store, now()))) {
    throw new Problem(
      "preview_refused",
      "This link has expired, was revoked or used, or is for another preview.",
    );
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
  port: number | null,
  { config, now }: PreviewContext,
): Promise<boolean> {
  for (const token of grantsIn(request.headers.get("cookie") ?? "")) {
    const wanted = { kind: "cookie", slug, port, epoch, now: now() } as const;
    if ((await readGrant(token, wanted, config.controlToken)) !== null) return true;
  }
  return false;
}

/** False for a link that opens once and did. */
async function isFirstUse({ nonce, expiresAt }: Grant, store: StateStore, now: number): Promise<boolean> {
  if (nonce === null) return true;
  // Nobody releases it, and it ends when the link does.
  return (await store.acquireLease(`preview-link:${nonce}`, crypto.randomUUID(), expiresAt - now)).acquired;
}

async function recordOf(slug: string, { store, now }: PreviewContext): Promise<ProjectRecord | null> {
  const known = records.get(slug);
  if (known !== undefined && now() - known.readAt < RECORD_TTL_MS) return known.record;
  const record = slug === "" ? null : await readProject(store, slug);
  if (records.size >= RECORDS_KEPT) records.clear();
  records.set(slug, { record, readAt: now() });
  return record;
}
