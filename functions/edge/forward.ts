import { Problem } from "../errors.ts";

/** Meant for one hop only (RFC 9110, section 7.6.1, and what proxies before it used). */
const HOP_BY_HOP = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** What only Signalbox may say to a backend; a client's own word for it is dropped at the door. */
const INTERNAL = [
  "x-pulse-railway-internal-token",
  "forwarded",
  "x-real-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "true-client-ip",
  "x-original-forwarded-for",
  "x-original-host",
  "x-original-uri",
  "x-original-url",
  "x-rewrite-url",
];

const NEVER_FROM_BACKENDS = new Set(HOP_BY_HOP);
const NEVER_FROM_CLIENTS = new Set([...HOP_BY_HOP, ...INTERNAL]);

/** Every header with this prefix is ours, in both directions. */
const OWN_PREFIX = "x-signalbox-";

export interface Destination {
  /** Origin of the backend. */
  url: string;
  deploymentId: string;
  via: "pinned" | "active" | "canary" | "fallback";
}

/** Who is asking, as far as somebody trustworthy says it. */
export interface Caller {
  address: string | null;
  /** Whether `cf-` headers come from Cloudflare rather than from whoever is calling. */
  throughCloudflare: boolean;
}

export interface ForwardOptions {
  signal?: AbortSignal | undefined;
  /** Reaches backends that have no address on the network. */
  fetchTarget?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/**
 * Sends a request on and returns the answer as it comes: bodies are piped in both directions, and a WebSocket's
 * 101 is returned as it is, so that no script runs per message.
 */
export async function forward(
  request: Request,
  requestUrl: URL,
  destination: Destination,
  caller: Caller,
  { signal, fetchTarget = fetch }: ForwardOptions = {},
): Promise<Response> {
  const target = destination.url + pathAndQuery(request.url);
  const headers = requestHeaders(request, requestUrl, caller);
  const init: RequestInit = { method: request.method, headers, redirect: "manual" };
  if (signal) init.signal = signal;
  if (request.body !== null) init.body = request.body;
  const upstream = await fetchOnce(() => fetchTarget(target, init), init, canRepeat(request), destination);

  const responseHeaders = responseHeadersOf(upstream);
  responseHeaders.set("x-pulse-selected-deployment", destination.deploymentId);
  responseHeaders.set("x-signalbox-route", destination.via);
  if (upstream.webSocket) {
    return new Response(null, { status: 101, webSocket: upstream.webSocket, headers: responseHeaders });
  }
  return new Response(upstream.body, {
    status: upstream.status,
    statusText: upstream.statusText,
    headers: responseHeaders,
  });
}

export function isWebSocket(request: Request): boolean {
  return request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/** The path and query of a URL as the client spelled them, without a detour through a parser. */
export function pathAndQuery(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start === -1 ? "/" : url.slice(start);
}

function requestHeaders(request: Request, url: URL, caller: Caller): Headers {
  const headers = new Headers(request.headers);
  dropListed(headers);
  for (const name of request.headers.keys()) {
    const dropped =
      NEVER_FROM_CLIENTS.has(name) ||
      (name.startsWith("x-") && (name.startsWith("x-forwarded-") || name.startsWith(OWN_PREFIX))) ||
      (!caller.throughCloudflare && name.startsWith("cf-"));
    if (dropped) headers.delete(name);
  }
  if (isWebSocket(request)) headers.set("upgrade", "websocket");
  if (caller.address !== null) headers.set("x-forwarded-for", caller.address);
  headers.set("x-forwarded-host", request.headers.get("host") ?? url.host);
  headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
  return headers;
}

/** Copying the headers keeps duplicates such as set-cookie apart. */
function responseHeadersOf(upstream: Response): Headers {
  const headers = new Headers(upstream.headers);
  // The handshake of a WebSocket is made of hop-by-hop headers.
  const isHandshake = upstream.webSocket !== null;
  if (!isHandshake) dropListed(headers);
  for (const name of upstream.headers.keys()) {
    if (name.startsWith(OWN_PREFIX) || (!isHandshake && NEVER_FROM_BACKENDS.has(name))) headers.delete(name);
  }
  return headers;
}

/** `Connection` names further headers that are meant for one hop. */
function dropListed(headers: Headers): void {
  const options = headers.get("connection");
  if (options === null || options === "keep-alive" || options === "close") return;
  for (const option of options.split(",")) {
    const name = option.trim();
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name)) headers.delete(name);
  }
}

/** Nothing was sent that can't be sent again, and asking twice means the same as asking once. */
function canRepeat(request: Request): boolean {
  const { method } = request;
  return request.body === null && (method === "GET" || method === "HEAD" || method === "OPTIONS");
}

/**
 * A kept-alive connection can be closed by the backend just as it is used again, which looks like an outage and is
 * none: what can be repeated is, once.
 */
async function fetchOnce(
  send: () => Promise<Response>,
  init: RequestInit,
  repeatable: boolean,
  destination: Destination,
): Promise<Response> {
  try {
    return await send();
  } catch (error) {
    // Whoever gave up knows why.
    if (init.signal?.aborted) throw error;
    if (!repeatable) throw unreachable(destination);
  }
  try {
    return await send();
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw unreachable(destination);
  }
}

function unreachable({ deploymentId, via }: Destination): Problem {
  return new Problem(
    "upstream_unreachable",
    `Deployment ${deploymentId} didn't answer. Check that its backend is running and reachable.`,
    { headers: { "x-pulse-selected-deployment": deploymentId, "x-signalbox-route": via } },
  );
}
