import { CLIENT_SCRIPT } from "./client-script.generated.ts";
import {
  type ControlConnection,
  type ControlSocket,
  isStalePin,
  PIN_QUERY,
  serveControlSocket,
} from "./control-socket.ts";
import { Sessions } from "./sessions.ts";
import { type Environment, readSettings, type Settings } from "./settings.ts";

export interface SignalboxOptions extends Partial<Settings> {
  /** Read for every setting that is not given. Default: the process's environment. */
  env?: Environment;
  /** How long a session counts after its connection broke, in milliseconds. Default 20,000. */
  lingerMs?: number;
  /** A control socket that doesn't answer one ping before the next is dropped, in milliseconds. Default 15,000. */
  pingIntervalMs?: number;
  /** What `/_pulse/client.js` serves. Default: the browser helper that came with this package. */
  clientScript?: string;
}

/** The app contract of one deployment, free of any server library. */
export interface Signalbox extends Readonly<Pick<Settings, "deploymentId" | "serverAddress" | "port">> {
  readonly sessions: Sessions;
  /** Where a page loads the browser helper from, pinned to this deployment. */
  readonly scriptUrl: string;
  /** The same as a tag; it belongs before any other script of the page. */
  readonly scriptTag: string;
  /** True when a request's address is pinned to another deployment: its page should reload, not be served. */
  isStale(url: URL | string): boolean;
  /**
   * Whether the guard, where it is on, lets a request in: it has the internal token, or asks for the health path.
   * `path` as it was sent, without the query; `token` from {@link INTERNAL_TOKEN_HEADER}.
   */
  admits(method: string, path: string, token: string | null): boolean;
  /**
   * Answers the contract's own paths, and everything that the guard doesn't let in; null, at once, for every other
   * request. Never rejects.
   */
  respond(request: Request): Promise<Response> | null;
  /** Takes over an accepted control socket. `url` is the address that it asked for. */
  connect(socket: ControlSocket, url: URL): ControlConnection;
  /** Ends all control sockets and timers. */
  close(): void;
}

export const CONTRACT_PREFIX = "/_pulse/";
export const SESSION_PATH = "/_pulse/session";

export const INTERNAL_TOKEN_HEADER = "x-pulse-railway-internal-token";
const DEFAULT_PING_INTERVAL_MS = 15_000;
// A deployment drains for a day by default, and only its own pages ask for the script.
const CLIENT_MAX_AGE_SECONDS = 86_400;

interface Endpoint {
  method: "GET" | "POST";
  internal: boolean;
  answer(request: Request, url: URL): Response | Promise<Response>;
}

/**
 * The endpoints `/_pulse/meta`, `/_pulse/health`, `/_pulse/session`, `/_pulse/client.js` and, behind the internal
 * token, `/_pulse/internal/railway/sessions` and `/_pulse/internal/railway/reload`.
 *
 * The internal ones answer 404 when no token is configured (they are not offered then) and 401 to a missing or wrong
 * token, so that an operator can tell the two apart.
 *
 * @throws {Error} naming the setting, when one is malformed.
 */
export function createSignalbox(options: SignalboxOptions = {}): Signalbox {
  const settings = readSettings(options, options.env);
  const { deploymentId, internalToken, serverAddress, port } = settings;
  const sessions = new Sessions(options.lingerMs === undefined ? {} : { lingerMs: options.lingerMs });
  const pingIntervalMs = options.pingIntervalMs ?? DEFAULT_PING_INTERVAL_MS;
  const connections = new Set<ControlConnection>();
  const scriptUrl = `/_pulse/client.js${deploymentId === null ? "" : `?${PIN_QUERY}=${deploymentId}`}`;
  const guard = settings.guard ? { token: internalToken ?? "", openPath: settings.healthPath } : null;
  const admits = (method: string, path: string, token: string | null): boolean =>
    guard === null ||
    isSame(token ?? "", guard.token) ||
    (path === guard.openPath && (method === "GET" || method === "HEAD"));
  const isStale = (url: URL | string) => isStalePin(new URL(url, "http://localhost"), deploymentId);

  const endpoints = new Map<string, Endpoint>([
    [
      "/_pulse/meta",
      open(() => json({ status: "ok", deployment_id: deploymentId, server_address: serverAddress })),
    ],
    ["/_pulse/health", open(() => json({ status: "ok" }))],
    [
      SESSION_PATH,
      open(() =>
        json({ detail: "this is a WebSocket" }, 426, { connection: "upgrade", upgrade: "websocket" }),
      ),
    ],
    [
      "/_pulse/client.js",
      open((request, url) =>
        client(options.clientScript ?? CLIENT_SCRIPT, request, deploymentId !== null && !isStale(url)),
      ),
    ],
    [
      "/_pulse/internal/railway/sessions",
      {
        method: "GET",
        internal: true,
        answer: () => json({ render_session_count: sessions.count, deployment_id: deploymentId }),
      },
    ],
    [
      "/_pulse/internal/railway/reload",
      { method: "POST", internal: true, answer: () => json({ reloaded_socket_count: sessions.reloadAll() }) },
    ],
  ]);

  return {
    deploymentId,
    serverAddress,
    port,
    sessions,
    scriptUrl,
    scriptTag: `<script src="${scriptUrl}"></script>`,
    isStale,
    admits,
    respond(request) {
      const url = new URL(request.url);
      if (!admits(request.method, url.pathname, request.headers.get(INTERNAL_TOKEN_HEADER))) {
        return Promise.resolve(json(NOT_HERE, 404));
      }
      const endpoint = endpoints.get(url.pathname);
      return endpoint === undefined ? null : guarded(endpoint, request, url, internalToken);
    },
    connect(socket, url) {
      const connection = serveControlSocket(socket, url, { deploymentId, sessions, pingIntervalMs });
      connections.add(connection);
      return {
        ...connection,
        closed(code) {
          connections.delete(connection);
          connection.closed(code);
        },
      };
    },
    close() {
      for (const connection of connections) connection.end();
      connections.clear();
      sessions.clear();
    },
  };
}

function open(answer: Endpoint["answer"]): Endpoint {
  return { method: "GET", internal: false, answer };
}

async function guarded(
  endpoint: Endpoint,
  request: Request,
  url: URL,
  internalToken: string | null,
): Promise<Response> {
  if (endpoint.internal) {
    if (internalToken === null)
      return json({ detail: "not found: no PULSE_RAILWAY_INTERNAL_TOKEN is set" }, 404);
    const given = request.headers.get(INTERNAL_TOKEN_HEADER);
    if (given === null || !(await sameSecret(given, internalToken))) {
      return json({ detail: `missing or wrong ${INTERNAL_TOKEN_HEADER}` }, 401);
    }
  }
  const method = request.method === "HEAD" ? "GET" : request.method;
  if (method !== endpoint.method)
    return json({ detail: "method not allowed" }, 405, { allow: endpoint.method });
  return endpoint.answer(request, url);
}

/** The answer to whoever comes past Signalbox. */
export const NOT_HERE = { detail: "not found" };

/** Takes as long for every guess, whatever its length. A digest would do that too, but not synchronously. */
function isSame(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let index = 0; index < expected.length; index++) {
    difference |= expected.charCodeAt(index) ^ (given.charCodeAt(index) | 0);
  }
  return difference === 0;
}

/** Compares digests, so that the time taken tells neither the secret's bytes nor its length. */
async function sameSecret(given: string, expected: string): Promise<boolean> {
  const [left, right] = await Promise.all([sha256(given), sha256(expected)]);
  let difference = 0;
  for (const [index, byte] of left.entries()) difference |= byte ^ (right[index] ?? 0);
  return difference === 0;
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

async function client(script: string, request: Request, pinned: boolean): Promise<Response> {
  const hash = await sha256(script);
  const etag = `"${Array.from(hash.subarray(0, 12), (byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
  // Only an address that names this deployment gets the same bytes tomorrow.
  const lasting = pinned && new URL(request.url).searchParams.has(PIN_QUERY);
  const headers = {
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": lasting ? `public, max-age=${CLIENT_MAX_AGE_SECONDS}, immutable` : "no-cache",
    etag,
  };
  if (request.headers.get("if-none-match") === etag) return new Response(null, { status: 304, headers });
  return new Response(script, { headers });
}

function json(body: object, status = 200, headers: Record<string, string> = {}): Response {
  return Response.json(body, { status, headers: { "cache-control": "no-store", ...headers } });
}
