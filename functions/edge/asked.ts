/** What a browser is going to do with the answer. */
export interface Asked {
  /** A tab or a frame shows the answer as its document. */
  navigation: boolean;
  /** The document is loaded by GET, rather than made by a form's POST. */
  document: boolean;
  /** A frame in a page of the same origin shows it: part of that page rather than a page of its own. */
  frame: boolean;
  /** Loaded before anybody asked to see it, and perhaps never shown. */
  ahead: boolean;
  /** The script of a service worker, which outlives every page. */
  serviceWorker: boolean;
  /** `Sec-Fetch-Dest`; null where there is none. */
  dest: string | null;
}

const SHOWN = new Set(["document", "iframe", "frame", "embed", "object", "fencedframe"]);

/**
 * By what the browser says of it; on plain http it says nothing, and method and `Accept` have to do. A service worker that
 * hands a navigation on (`fetch(event.request)`) takes its destination away. So does a link with `download`, which has no `Accept`.
 */
export function askedOf(request: Request, names: ReadonlySet<string>): Asked {
  const { method, headers } = request;
  const dest = names.has("sec-fetch-dest") ? headers.get("sec-fetch-dest") : null;
  const isShown = dest !== null && SHOWN.has(dest);
  const navigation =
    dest === null
      ? names.has("accept") && !names.has("x-requested-with") && takesPages(headers)
      : (isShown || dest === "empty") &&
        headers.get("sec-fetch-mode") === "navigate" &&
        (isShown || takesPages(headers));
  return {
    navigation,
    document: navigation && (method === "GET" || method === "HEAD"),
    frame: navigation && isShown && dest !== "document" && headers.get("sec-fetch-site") === "same-origin",
    ahead: names.has("sec-purpose") && headers.get("sec-purpose")?.startsWith("prefetch") === true,
    serviceWorker: dest === "serviceworker" || names.has("service-worker"),
    dest,
  };
}

function takesPages(headers: Headers): boolean {
  return headers.get("accept")?.includes("text/html") === true;
}
