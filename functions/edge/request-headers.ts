import { withholdOwnCookies } from "../own-cookies.ts";

/** Who is asking, as far as somebody trustworthy says it. */
export interface Caller {
  address: string | null;
  /** Whether `cf-` headers come from Cloudflare rather than from whoever is calling. */
  throughCloudflare: boolean;
}

export const TOKEN_HEADER = "x-pulse-railway-internal-token";

/** What only Signalbox may say to a backend. */
const INTERNAL = [
  TOKEN_HEADER,
  "forwarded",
  "x-real-ip",
  "client-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "true-client-ip",
  // CGI makes HTTP_PROXY of it, which programs take for their own setting. Source: httpoxy.org
  "proxy",
  "x-original-forwarded-for",
  "x-original-host",
  "x-original-uri",
  "x-original-url",
  "x-rewrite-url",
];

/** Meant for one hop (RFC 9110, section 7.6.1) and dropped by the platform where it sends a request over the network. */
const DROPPED_BY_PLATFORM = new Set([
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const NEVER_FROM_CLIENTS = new Set([
  ...DROPPED_BY_PLATFORM,
  // Meant for one hop, too, but passed on by the platform.
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  ...INTERNAL,
]);

/**
 * The names of a request's headers, in lower case. Each look at a `Headers` object crosses into the runtime and costs
 * up to a microsecond; a look at this set is free.
 */
export function headerNames(request: Request): ReadonlySet<string> {
  return new Set(request.headers.keys());
}

/**
 * The headers that a backend gets: the client's, without those that belong to one hop or that only Signalbox may say,
 * and with where the request came in. `overNetwork`: the platform itself sends them on, rather than a tunnel.
 */
export function requestHeaders(
  request: Request,
  names: ReadonlySet<string>,
  place: { host: string; scheme: string; caller: Caller; overNetwork: boolean },
): Headers {
  const { host, scheme, caller, overNetwork } = place;
  const headers = new Headers(request.headers);
  if (names.has("connection")) dropListed(headers);
  for (const name of names) {
    if (overNetwork && DROPPED_BY_PLATFORM.has(name)) continue;
    if (isOurs(name, caller)) headers.delete(name);
  }
  if (names.has("cookie")) withholdOwnCookies(headers);
  if (names.has("upgrade") && isWebSocket(request)) headers.set("upgrade", "websocket");
  if (caller.address !== null) headers.set("x-forwarded-for", caller.address);
  headers.set("x-forwarded-host", host);
  headers.set("x-forwarded-proto", scheme);
  return headers;
}

/** Whether a client's own word for it is dropped at the door. */
function isOurs(name: string, { throughCloudflare }: Caller): boolean {
  // CGI and what descends from it (WSGI, Rack, PHP) make one variable of `x-real-ip`, `x_real_ip` and `x.real.ip`.
  const dashed = /[^a-z0-9-]/.test(name) ? name.replace(/[^a-z0-9]/g, "-") : name;
  if (NEVER_FROM_CLIENTS.has(dashed)) return true;
  if (dashed.startsWith("x-")) return dashed.startsWith("x-forwarded-") || dashed.startsWith("x-signalbox-");
  // Cloudflare's own come with dashes.
  return dashed.startsWith("cf-") && !(throughCloudflare && dashed === name);
}

export function isWebSocket(request: Request): boolean {
  return request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/** `Connection` names further headers that are meant for one hop. */
export function dropListed(headers: Headers): void {
  const options = headers.get("connection");
  if (options === null || /^(?:keep-alive|close|upgrade)$/i.test(options)) return;
  for (const option of options.split(",")) {
    const name = option.trim();
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name)) headers.delete(name);
  }
}
