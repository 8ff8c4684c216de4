import type { FetchBackend } from "../apps/contract.ts";
import { Problem } from "../errors.ts";
import { TRACEPARENT } from "../protocol/telemetry/traceparent.ts";
import { refuseOwnCookies } from "../own-cookies.ts";
import { addVary, dropHopByHop } from "./answer-headers.ts";
import { isReusedAcrossVersions } from "./cache-rules.ts";
import { dropConditions, markTag, unmarkTags } from "./document-tags.ts";
import { askUnderOwnHost, redirectToPublic } from "./origins.ts";
import { requestHeaders, TOKEN_HEADER, type Caller } from "./request-headers.ts";
import type { Via } from "./resolve.ts";
import { pathAndQuery, type RequestUrl } from "./url.ts";

export interface Destination {
  /** Origin of the backend. */
  url: string;
  deploymentId: string;
  via: Via;
  /** What a backend with an address of its own knows us by, so that it can turn away who comes past us. */
  internalToken?: string;
  /** Whether the backend sees requests as if it had been opened under its own host. */
  ownHost?: boolean;
}

export interface ForwardOptions {
  signal?: AbortSignal | undefined;
  /** Reaches backends that have no address on the network. */
  fetchBackend: FetchBackend;
}

/** A public request, with what was read of it on its way here. */
export interface Arrival {
  request: Request;
  url: RequestUrl;
  /** Of its headers, in lower case. */
  names: ReadonlySet<string>;
  caller: Caller;
  /** Headers that could have led it to another deployment. */
  varies: readonly string[];
  /** The header that led it here and that browsers send with everything: named only where a cache could mix versions. */
  ledBy?: "cookie" | "referer" | null;
  /** The answer may be the document of a tab or a frame. */
  isPage?: boolean;
  /** Where the backend's part of the trace goes; without one, what the client says is passed on. */
  traceparent?: string | undefined;
  /** Only a whole answer will do. */
  isUnconditional?: boolean;
}

/**
 * Sends a request on and returns the answer as it comes: bodies are piped in both directions, and a WebSocket's
 * 101 is returned as it is, so that no script runs per message.
 */
export function forward(
  arrival: Arrival,
  destination: Destination,
  { signal, fetchBackend }: ForwardOptions,
): Promise<Response> {
  const { request, names, url, caller } = arrival;
  const overNetwork = destination.url.startsWith("http");
  const headers = requestHeaders(request, names, {
    host: request.headers.get("host") ?? url.host,
    scheme: url.protocol.slice(0, -1),
    caller,
    overNetwork,
  });
  if (arrival.traceparent !== undefined) headers.set(TRACEPARENT, arrival.traceparent);
  if (destination.internalToken !== undefined) headers.set(TOKEN_HEADER, destination.internalToken);
  if (destination.ownHost === true && overNetwork)
    askUnderOwnHost(headers, { url, backendOrigin: destination.url });

  const isPage = arrival.isPage === true;
  let hasOwnTag = false;
  if (arrival.isUnconditional === true) dropConditions(headers);
  else if (names.has("if-none-match")) hasOwnTag = unmarkTags(headers, destination.deploymentId, isPage);
  else if (isPage && names.has("if-modified-since")) dropConditions(headers);

  const init: RequestInit = { headers, redirect: "manual" };
  if (signal) init.signal = signal;
  const { method, body } = request;
  // Search engines and their like read the bodies of such requests.
  const isOdd = body !== null && (method === "GET" || method === "HEAD");
  if (!isOdd) {
    init.method = method;
    if (body !== null) init.body = body;
  }
  const target = destination.url + pathAndQuery(request.url);
  const send = (): Promise<Response> => fetchBackend(target, init, isOdd ? request : undefined);
  const failed = (error: unknown): never => {
    // Whoever gave up knows why.
    if (signal?.aborted) throw error;
    throw badGateway(destination, "didn't answer. Check that its backend is running and reachable");
  };
  const finish = (upstream: Response): Response | Promise<Response> =>
    answerOf(upstream, arrival, destination, hasOwnTag);
  return send().then(finish, (error: unknown) => {
    // A kept-alive connection can be closed by the backend just as it is used again, which looks like an outage and is
    // none: what can be repeated is, once.
    if (signal?.aborted || !canRepeat(method, body)) return failed(error);
    return send().then(finish, failed);
  });
}

function answerOf(
  upstream: Response,
  { url, varies, ledBy }: Arrival,
  destination: Destination,
  hasOwnTag: boolean,
): Response | Promise<Response> {
  const { status, webSocket } = upstream;
  if (webSocket === null && (status < 200 || status > 599)) return refuseStatus(upstream, destination);
  // Copied natively, which keeps duplicates such as set-cookie apart and costs half of what a look at each name would.
  const response =
    webSocket === null
      ? copyOf(upstream)
      : new Response(null, { status: 101, webSocket, headers: upstream.headers });
  const { headers } = response;
  // The handshake of a WebSocket is made of hop-by-hop headers.
  if (webSocket === null) {
    dropHopByHop(headers);
    const isMixable = ledBy != null && isReusedAcrossVersions(status, headers, url.pathname);
    if (isMixable) addVary(headers, [...varies, ledBy]);
    else if (varies.length > 0) addVary(headers, varies);
    if (hasOwnTag && status === 304) markTag(headers, destination.deploymentId);
    if (destination.url.startsWith("http"))
      redirectToPublic(headers, status, { url, backendOrigin: destination.url });
  }
  refuseOwnCookies(headers);
  headers.set("x-pulse-selected-deployment", destination.deploymentId);
  headers.set("x-signalbox-route", destination.via);
  return response;
}

function copyOf(upstream: Response): Response {
  try {
    return new Response(upstream.body, upstream);
  } catch {
    // HTTP allows a tab in a status text; the platform doesn't.
    const { body, status, headers } = upstream;
    return new Response(body, { status, headers });
  }
}

/** Nothing was sent that can't be sent again, and asking twice means the same as asking once. */
function canRepeat(method: string, body: unknown): boolean {
  return body === null && (method === "GET" || method === "HEAD" || method === "OPTIONS");
}

async function refuseStatus(upstream: Response, destination: Destination): Promise<never> {
  await upstream.body?.cancel();
  throw badGateway(destination, `answered with status ${upstream.status}, which HTTP doesn't have`);
}

function badGateway({ deploymentId, via }: Destination, what: string): Problem {
  return new Problem("upstream_unreachable", `Deployment ${deploymentId} ${what}.`, {
    headers: { "x-pulse-selected-deployment": deploymentId, "x-signalbox-route": via },
  });
}
