import type { AppDocument, Deployment } from "../apps/app-document.ts";
import type { RequestUrl } from "./url.ts";

/** What keeps a page on its version beyond headers and cookies; pages/ implements it, index.ts and rollouts/ wire it. */
export interface PageLayer {
  /** May put the page helper into the answer to the load of a document. */
  document(
    response: Response,
    of: { request: Request; url: RequestUrl; app: AppDocument; deployment: Deployment },
  ): Response;
}
