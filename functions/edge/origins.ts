import { publicLocation, publicRefresh } from "../protocol/redirects.ts";
import type { RequestUrl } from "./url.ts";

/** Where a request came in, and where it goes. */
export interface Addresses {
  /** As visitors asked for it. */
  url: Pick<RequestUrl, "protocol" | "host">;
  backendOrigin: string;
}

/**
 * Makes a request look as if the browser had opened the backend itself. The platform sends the backend's own Host
 * anyway; frameworks compare it with these. Another site's Origin stays, so that the backend still refuses it.
 */
export function askUnderOwnHost(headers: Headers, { url, backendOrigin }: Addresses): void {
  headers.delete("x-forwarded-host");
  headers.delete("x-forwarded-proto");
  for (const name of ["origin", "referer"]) {
    const value = headers.get(name);
    if (value === null || isNoText(value) || URL.parse(value)?.host !== url.host) continue;
    headers.set(name, atOrigin(value, backendOrigin));
  }
}

/** `Location` and `Refresh` are where a browser goes next: one at the backend's own host would lead past the edge. */
export function redirectToPublic(headers: Headers, status: number, { url, backendOrigin }: Addresses): void {
  const redirects = status === 201 || (status >= 300 && status < 400);
  const location = redirects ? headers.get("location") : null;
  const refresh = headers.get("refresh");
  if (location === null && refresh === null) return;
  const backend = new URL(backendOrigin).host;
  const isOwn = (host: string): boolean => host === backend;
  const origin = `${url.protocol}//${url.host}`;
  if (location !== null && !isNoText(location)) {
    const moved = publicLocation(location, isOwn, origin);
    if (moved !== location) headers.set("location", moved);
  }
  if (refresh !== null && !isNoText(refresh)) {
    const moved = publicRefresh(refresh, isOwn, origin);
    if (moved !== refresh) headers.set("refresh", moved);
  }
}

/** Bytes that aren't UTF-8 pass as they are, but can't be spelled in a new value. */
function isNoText(value: string): boolean {
  return value.includes("\ufffd");
}

/** The rest of the URL stays as it is spelled. */
function atOrigin(url: string, origin: string): string {
  return origin + url.trim().replace(/^(?:[a-z][a-z0-9+.-]*:)?[\\/]{2,}[^\\/?#]*/i, "");
}
