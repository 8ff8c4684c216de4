import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { INTERNAL_TOKEN } from "./stack.ts";

/** A backend that speaks the app contract, tells its id in every answer, and does what a test tells it to. */
export interface Backend {
  id: string;
  url: string;
  server: Server;
  /** What `/_pulse/internal/railway/sessions` answers. */
  sessions: number;
  /** Calls of the reload endpoint so far. */
  reloads: number;
  /** Every request that came, newest last: method, raw URL and headers. */
  seen: { method: string; url: string; headers: IncomingMessage["headers"] }[];
  sockets: Set<WebSocket>;
  /** Answers instead of the defaults where it returns true. */
  handler: (request: IncomingMessage, response: ServerResponse) => boolean;
  close(): Promise<void>;
}

export async function startBackend(id: string, options: { port?: number } = {}): Promise<Backend> {
  const server = createServer();
  // Longer than any proxy keeps a connection, so that no request meets a closing one.
  server.keepAliveTimeout = 120_000;
  const webSockets = new WebSocketServer({ noServer: true });
  const backend: Backend = {
    id,
    url: "",
    server,
    sessions: 0,
    reloads: 0,
    seen: [],
    sockets: new Set(),
    handler: () => false,
    async close() {
      for (const socket of backend.sockets) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on("request", (request, response) => {
    backend.seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    if (backend.seen.length > 1_000) backend.seen.shift();
    if (!backend.handler(request, response)) answer(backend, request, response);
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    backend.seen.push({ method: "UPGRADE", url: request.url ?? "", headers: request.headers });
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      backend.sockets.add(webSocket);
      webSocket.on("close", () => backend.sockets.delete(webSocket));
      webSocket.on("error", () => undefined);
      webSocket.on("message", (data: Buffer, binary) => {
        webSocket.send(binary ? data : `${id}:${data.toString()}`, { binary });
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  backend.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return backend;
}

function answer(backend: Backend, request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? "").split("?", 1)[0];
  const json = (status: number, body: unknown): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
  if (path === "/_pulse/meta") return json(200, { status: "ok", deployment_id: backend.id });
  if (path === "/_pulse/health") return json(200, { status: "ok" });
  if (path?.startsWith("/_pulse/internal/")) {
    if (request.headers["x-pulse-railway-internal-token"] !== INTERNAL_TOKEN) return json(401, {});
    if (path.endsWith("/sessions")) return json(200, { render_session_count: backend.sessions });
    backend.reloads += 1;
    return json(200, { reloaded_socket_count: backend.sessions });
  }
  response
    .writeHead(200, { "content-type": "text/plain", "x-backend": backend.id })
    .end(`${backend.id} ${request.url}`);
}
