import { Problem } from "../errors.ts";

/**
 * Lets through what a page of the dashboard itself sent. Browsers name the origin of whatever can change something;
 * of a read they say `Sec-Fetch-Site`, or nothing over plain HTTP. Returns the page's origin.
 */
export function requireSameOrigin(request: Request, url: URL): string {
  const site = request.headers.get("sec-fetch-site");
  const origin = request.headers.get("origin");
  const isRead = request.method === "GET" || request.method === "HEAD";
  const isOurs = origin === null ? isRead : isOriginOf(origin, url);
  if (!isOurs || (site !== null && site !== "same-origin")) {
    throw new Problem("cross_origin", "Only the dashboard's own pages may ask for that.");
  }
  return origin ?? url.origin;
}

/** A proxy of the operator's own may end TLS before us; the other way round nothing that came over HTTP counts. */
function isOriginOf(origin: string, url: URL): boolean {
  return origin === url.origin || (url.protocol === "http:" && origin === `https://${url.host}`);
}
