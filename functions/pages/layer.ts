import { contractOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import type { DocumentNote, PageHubBinding } from "./hub.ts";
import { noteDocument } from "./hubs.ts";
import { injected } from "./injection.ts";
import { PAGE_SCRIPT_HASH } from "./page-script.generated.ts";
import { scriptPermission } from "./script-policy.ts";

interface Arrival {
  request: Request;
  url: Pick<URL, "protocol" | "host">;
  app: AppDocument;
  deployment: Deployment;
}

/** Puts the page helper into documents (pages in a tab or a frame) of deployments whose contract is `edge`, and says which pages can't be counted. */
export function pageLayer(env: PageHubBinding, waitUntil: (work: Promise<unknown>) => void) {
  return {
    document(response: Response, { request, url, app, deployment }: Arrival): Response {
      if (contractOf(app, deployment) !== "edge" || !isDocument(request, response)) return response;
      const note = (kind: DocumentNote): void => {
        // A hub that can't be reached can't be asked by the janitor either.
        waitUntil(noteDocument(env, { app: app.name, deployment }, kind).catch(() => undefined));
      };
      if (deployment.state === "draining") note("served");
      const uncounted = (): void => note("uncounted");
      const address = new URL(
        `/_signalbox/page.js?pulse_deployment=${deployment.id}&v=${PAGE_SCRIPT_HASH}`,
        origin(url),
      );
      const permission = scriptPermission(response.headers, address);
      const markup =
        permission.kind === "forbidden" || !isHtml(response) || mayNotTransform(response.headers)
          ? null
          : scriptTag(address, permission);
      const answer = markup === null ? null : injected(response, markup, uncounted);
      if (answer === null || (permission.kind === "allowed" && !permission.socket)) uncounted();
      return answer ?? response;
    },
  };
}

function scriptTag(address: URL, { nonce, socket }: { nonce: string | null; socket: boolean }): string {
  const source = `${address.pathname}${address.search}`.replaceAll("&", "&amp;");
  return `<script src="${source}"${nonce === null ? "" : ` nonce="${nonce}"`}${socket ? "" : " data-no-socket"}></script>`;
}

/** Whether it is the whole of one; that it is shown in a tab or a frame is known. */
function isDocument({ method }: Request, { status, headers, body }: Response): boolean {
  return body !== null && method !== "HEAD" && status !== 206 && !headers.has("content-range");
}

/** XHTML's parser forgives nothing, and there is no way to be sure of its beginning. */
function isHtml({ headers }: Pick<Response, "headers">): boolean {
  return /^\s*text\/html\s*(?:;|$)/i.test(headers.get("content-type") ?? "");
}

function mayNotTransform(headers: Headers): boolean {
  return /(?:^|,)\s*no-transform\s*(?:,|$)/i.test(headers.get("cache-control") ?? "");
}

function origin({ protocol, host }: Pick<URL, "protocol" | "host">): string {
  return `${protocol}//${host}`;
}
