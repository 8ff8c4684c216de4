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
const INTERNAL_REQUEST = [
  "x-pulse-railway-internal-token",
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-forwarded-server",
  "x-forwarded-scheme",
  "x-forwarded-ssl",
  "x-real-ip",
  "x-client-ip",
  "true-client-ip",
  "x-original-url",
  "x-rewrite-url",
];

/** Every header with this prefix is ours, in both directions. */
const OWN_PREFIX = "x-signalbox-";

export interface Destination {
  /** Origin of the backend. */
  url: string;
  deploymentId: string;
  via: "pinned" | "active" | "canary" | "fallback";
}

/**
 * Sends a request on and returns the answer as it comes: bodies are piped in both directions, and a WebSocket's
 * 101 is returned as it is, so that no script runs per message.
 */
export async function forward(
  request: Request,
  requestUrl: URL,
  destination: Destination,
  clientAddress: string | null,
  signal?: AbortSignal,
): Promise<Response> {
  const webSocket = isWebSocket(request);
  const headers = requestHeaders(request, requestUrl, clientAddress, webSocket);
  const target = destination.url + pathAndQuery(request.url);
  const init: RequestInit = { method: request.method, headers, redirect: "manual" };
  if (signal) init.signal = signal;
  if (request.body !== null) init.body = request.body;
  const upstream = await fetchOnce(target, init, canRepeat(request), destination.deploymentId);

  // Copying the headers keeps duplicates such as set-cookie apart.
  const responseHeaders = new Headers(upstream.headers);
  if (!webSocket) for (const name of HOP_BY_HOP) responseHeaders.delete(name);
  for (const name of [...responseHeaders.keys()]) {
    if (name.startsWith(OWN_PREFIX)) responseHeaders.delete(name);
  }
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

function requestHeaders(
  request: Request,
  url: URL,
  clientAddress: string | null,
  webSocket: boolean,
): Headers {
  const headers = new Headers(request.headers);
  for (const name of headers.get("connection")?.split(",") ?? []) {
    const listed = name.trim().toLowerCase();
    if (listed !== "" && listed !== "upgrade" && /^[\w!#$%&'*+.^`|~-]+$/.test(listed)) headers.delete(listed);
  }
  for (const name of HOP_BY_HOP) if (!(webSocket && name === "upgrade")) headers.delete(name);
  for (const name of INTERNAL_REQUEST) headers.delete(name);
  for (const name of [...headers.keys()]) if (name.startsWith(OWN_PREFIX)) headers.delete(name);
  if (clientAddress !== null) headers.set("x-forwarded-for", clientAddress);
  headers.set("x-forwarded-host", request.headers.get("host") ?? url.host);
  headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
  return headers;
}

/** As the client spelled it, without a detour through a parser. */
function pathAndQuery(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start === -1 ? "/" : url.slice(start);
}

/** Nothing was sent that can't be sent again, and asking twice means the same as asking once. */
function canRepeat(request: Request): boolean {
  return request.body === null && ["GET", "HEAD", "OPTIONS"].includes(request.method);
}

/**
 * A kept-alive connection can be closed by the backend just as it is used again, which looks like an outage and is
 * none: what can be repeated is, once.
 */
async function fetchOnce(
  target: string,
  init: RequestInit,
  repeatable: boolean,
  deploymentId: string,
): Promise<Response> {
  try {
    return await fetch(target, init);
  } catch {
    if (!repeatable) throw unreachable(deploymentId);
  }
  try {
    return await fetch(target, init);
  } catch {
    throw unreachable(deploymentId);
  }
}

function unreachable(deploymentId: string): Problem {
  return new Problem(
    "upstream_unreachable",
    `Deployment ${deploymentId} didn't answer. Check that its backend is running and reachable.`,
    { headers: { "x-pulse-selected-deployment": deploymentId } },
  );
}
