import type { FetchTarget } from "../apps/contract.ts";
import { Problem } from "../errors.ts";
import { refuseOperatorCookie, withholdOperatorCookie } from "../operator-cookie.ts";

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

const TOKEN_HEADER = "x-pulse-railway-internal-token";

/** What only Signalbox may say to a backend; a client's own word for it is dropped at the door. */
const INTERNAL = [
  TOKEN_HEADER,
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

const NEVER_FROM_CLIENTS = new Set([...HOP_BY_HOP, ...INTERNAL]);

/** Every request header with this prefix is ours. */
const OWN_PREFIX = "x-signalbox-";

export interface Destination {
  /** Origin of the backend. */
  url: string;
  deploymentId: string;
  via: "pinned" | "active" | "canary" | "fallback";
  /** What a backend with an address of its own knows us by, so that it can turn away who comes past us. */
  internalToken?: string;
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
  fetchTarget: FetchTarget;
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
  { signal, fetchTarget }: ForwardOptions,
): Promise<Response> {
  const target = destination.url + pathAndQuery(request.url);
  const headers = requestHeaders(request, requestUrl, caller);
  if (destination.internalToken !== undefined) headers.set(TOKEN_HEADER, destination.internalToken);
  const init: RequestInit = { headers, redirect: "manual" };
  if (signal) init.signal = signal;
  // Search engines and their like read the bodies of such requests.
  const isOdd = request.body !== null && (request.method === "GET" || request.method === "HEAD");
  if (!isOdd) {
    init.method = request.method;
    if (request.body !== null) init.body = request.body;
  }
  const send = (): Promise<Response> => fetchTarget(target, init, isOdd ? request : undefined);
  const upstream = await fetchOnce(send, init, canRepeat(request), destination);

  if (upstream.webSocket === null && (upstream.status < 200 || upstream.status > 599)) {
    await upstream.body?.cancel();
    throw badGateway(destination, `answered with status ${upstream.status}, which HTTP doesn't have`);
  }
  const isHandshake = upstream.webSocket !== null;
  // Copied natively, which keeps duplicates such as set-cookie apart and costs half of what a look at each name would.
  const response = isHandshake
    ? new Response(null, { status: 101, webSocket: upstream.webSocket, headers: upstream.headers })
    : new Response(upstream.body, upstream);
  const { headers: own } = response;
  // The handshake of a WebSocket is made of hop-by-hop headers.
  if (!isHandshake) {
    dropListed(own);
    for (const name of HOP_BY_HOP) own.delete(name);
  }
  refuseOperatorCookie(own);
  own.set("x-pulse-selected-deployment", destination.deploymentId);
  own.set("x-signalbox-route", destination.via);
  return response;
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
  withholdOperatorCookie(headers);
  if (isWebSocket(request)) headers.set("upgrade", "websocket");
  if (caller.address !== null) headers.set("x-forwarded-for", caller.address);
  headers.set("x-forwarded-host", request.headers.get("host") ?? url.host);
  headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
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

function unreachable(destination: Destination): Problem {
  return badGateway(destination, "didn't answer. Check that its backend is running and reachable");
}

function badGateway({ deploymentId, via }: Destination, what: string): Problem {
  return new Problem("upstream_unreachable", `Deployment ${deploymentId} ${what}.`, {
    headers: { "x-pulse-selected-deployment": deploymentId, "x-signalbox-route": via },
  });
}
