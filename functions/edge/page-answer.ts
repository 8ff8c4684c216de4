import type { AppDocument, Deployment } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import type { Asked } from "./asked.ts";
import { markTag } from "./document-tags.ts";
import { setPageCookie, type PageCookie } from "./page-cookie.ts";
import type { PageLayer } from "./page-layer.ts";
import { pinnable } from "./resolve.ts";
import type { RequestUrl } from "./url.ts";

/** An answer that a tab or a frame shows as its document. */
export interface PageAnswer {
  request: Request;
  url: RequestUrl;
  app: AppDocument;
  deployment: Deployment;
  /** What the request brought; undefined where the app's pages have none. */
  cookie: PageCookie | null | undefined;
  pageLayer: PageLayer | undefined;
}

/** Has what a page asks for follow it: the cookie names its deployment, its tag does, and the helper may be put in. */
export function keepPage(response: Response, page: PageAnswer): Response {
  const { request, url, app, deployment, cookie, pageLayer } = page;
  const isUnchanged = response.status === 304;
  if (!isUnchanged && !isPage(response)) return response;
  if (cookie !== undefined) {
    const isVisitor = app.config.stickiness === "visitor";
    const next = { id: deployment.id, loadedAt: isVisitor ? Math.floor(Date.now() / 1_000) : null };
    if (isVisitor || cookie?.id !== next.id) setPageCookie(response.headers, next, url);
  }
  if (isUnchanged) return response;
  markTag(response.headers, deployment.id);
  return pageLayer === undefined ? response : pageLayer.document(response, { request, url, app, deployment });
}

/** Error pages are pages. A download, a picture in a tab and a redirect leave the tab's page where it is. */
function isPage({ status, headers, webSocket }: Response): boolean {
  if (webSocket !== null || (status > 203 && status < 207) || (status >= 300 && status < 400)) return false;
  if (!/^\s*(?:text\/html|application\/xhtml\+xml)\s*(?:;|$)/i.test(headers.get("content-type") ?? ""))
    return false;
  return !/^\s*attachment/i.test(headers.get("content-disposition") ?? "");
}

/** Paths at which no page is, so that what a browser has of them can be compared as it is. */
const OTHER_FILE = /\.(?!x?html?$|php$|aspx?$|jsp$|cgi$|do$)[a-z][a-z0-9]{1,4}$/i;

/** Whether an answer could be a page, as far as the request tells. */
export function mayBePage(asked: Asked, path: string): boolean {
  return asked.document && !OTHER_FILE.test(path);
}

/**
 * A page that is loaded ahead of the visitor's click comes without a moment at which the cookie could change: before the
 * click it would move the page that is open, after it nobody asks. So one of another version isn't loaded ahead; the
 * click then loads it. Browsers take a 503 for that.
 */
export function refuseAhead(
  app: AppDocument,
  deployment: Deployment,
  asked: Asked,
  cookie: PageCookie | null | undefined,
): void {
  if (!asked.ahead || !asked.document || !cookie || cookie.id === deployment.id) return;
  if (pinnable(app, cookie.id) === undefined) return;
  throw new Problem(
    "prefetch_refused",
    `The open page is of ${cookie.id} and this one would be of ${deployment.id}: it isn't loaded ahead.`,
    { headers: { "x-pulse-selected-deployment": deployment.id, vary: "Sec-Purpose, Cookie" } },
  );
}
