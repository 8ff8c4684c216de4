import { escapeHtml, Problem, problemResponse, wantsHtml } from "../errors.ts";

/** The answer to a pin that leads nowhere any more. Never cached. */
export function staleResponse(request: Request): Response {
  const url = new URL(request.url);
  const headers = staleHeaders(request);
  if (isPreflight(request)) {
    headers.set("access-control-allow-methods", request.headers.get("access-control-request-method") ?? "");
    const wanted = request.headers.get("access-control-request-headers");
    if (wanted !== null) headers.set("access-control-allow-headers", wanted);
    return new Response(null, { status: 204, headers });
  }
  const location = clientLoaderLocation(request, url);
  if (location !== null) {
    headers.set("location", location);
    return new Response(null, { status: 302, headers });
  }
  const response = wantsHtml(request)
    ? reloadPage(url)
    : problemResponse(new Problem("stale_affinity", "stale affinity"), request);
  for (const [name, value] of headers) response.headers.set(name, value);
  // Next's client tells the page that the action is gone, which apps can handle, rather than of an unexpected answer.
  if (request.headers.has("next-action")) response.headers.set("x-nextjs-action-not-found", "1");
  return response;
}

function staleHeaders(request: Request): Headers {
  const headers = new Headers({
    "cache-control": "no-store",
    "x-pulse-stale-affinity": "1",
    vary: "Origin",
  });
  const origin = request.headers.get("origin");
  if (origin !== null) {
    headers.set("access-control-allow-origin", origin);
    headers.set("access-control-allow-credentials", "true");
    headers.set("access-control-expose-headers", "x-pulse-stale-affinity");
  }
  return headers;
}

function isPreflight(request: Request): boolean {
  return (
    request.method === "OPTIONS" &&
    request.headers.has("origin") &&
    request.headers.has("access-control-request-method")
  );
}

/** Where a client-side loader asked to be sent, if that is on the origin that it came to. */
function clientLoaderLocation(request: Request, url: URL): string | null {
  if (request.headers.get("x-pulse-client-loader") !== "1") return null;
  const wanted = request.headers.get("x-pulse-client-loader-location");
  if (wanted === null || !URL.canParse(wanted, url)) return null;
  const location = new URL(wanted, url);
  if (location.origin !== url.origin) return null;
  // `http:elsewhere` is a relative reference on http and another host on https, which a browser may be on when it is
  // ended before us. What starts with a slash means the same on both.
  return wanted.startsWith("/") ? wanted : location.href;
}

/** For a person who followed a link with a dead pin: the same place without it. */
function reloadPage(url: URL): Response {
  const fresh = new URL(url);
  fresh.searchParams.delete("pulse_deployment");
  const href = escapeHtml(fresh.href);
  const body = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>409 This version is gone</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
code{font-size:.85em;opacity:.7}</style>
<h1>This version is gone</h1><p>The link leads to a version of this app that has been replaced.</p>
<p><a href="${href}">Open the current version</a></p><p><code>409 stale_affinity</code></p></html>`;
  return new Response(body, {
    status: 409,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    },
  });
}
