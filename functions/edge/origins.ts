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
export function redirectToPublic(headers: Headers, status: number, addresses: Addresses): void {
  const redirects = status === 201 || (status >= 300 && status < 400);
  const location = redirects ? headers.get("location") : null;
  if (location !== null && isAtBackend(location, addresses))
    headers.set("location", atPublic(location, addresses));

  const refresh = headers.get("refresh");
  if (refresh === null) return;
  const [, start = "", url = ""] = /^(\s*[\d.]*\s*[;,]\s*(?:url\s*=\s*)?["']?)(.*)$/is.exec(refresh) ?? [];
  if (isAtBackend(url, addresses)) headers.set("refresh", start + atPublic(url, addresses));
}

/** By its host: behind a TLS proxy a backend takes its scheme for another one. */
function isAtBackend(url: string, { backendOrigin }: Addresses): boolean {
  if (isNoText(url) || !/^\s*(?:https?:)?[\\/]{2}/i.test(url)) return false;
  return URL.parse(url, backendOrigin)?.host === new URL(backendOrigin).host;
}

/** Bytes that aren't UTF-8 pass as they are, but can't be spelled in a new value. */
function isNoText(value: string): boolean {
  return value.includes("\ufffd");
}

function atPublic(value: string, { url }: Addresses): string {
  return atOrigin(value, `${url.protocol}//${url.host}`);
}

/** The rest of the URL stays as it is spelled. */
function atOrigin(url: string, origin: string): string {
  return origin + url.trim().replace(/^(?:[a-z][a-z0-9+.-]*:)?[\\/]{2,}[^\\/?#]*/i, "");
}
