import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import type { Signalbox, SignalboxOptions } from "../../sdk/index.ts";
import { attachSignalbox } from "../../sdk/node.ts";

export const TOKEN = "internal-token";

/** A small app with the sdk: a page, an echo, an event stream and a socket of its own. */
export interface TestBackend {
  id: string;
  origin: string;
  signalbox: Signalbox;
  /** How often the page was rendered. */
  pageLoads(): number;
  endStreams(): void;
  /** Goes through the internal endpoint, as the janitor does. */
  tellToReload(): Promise<number>;
  close(): Promise<void>;
}

export async function startBackend(
  id: string,
  page: { jitterMs?: number; options?: SignalboxOptions } = {},
): Promise<TestBackend> {
  let loads = 0;
  const streams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (url.pathname === "/") {
      loads += 1;
      response.setHeader("content-type", "text/html");
      const tag = signalbox.scriptTag.replace(
        "<script",
        `<script data-reload-jitter-ms="${page.jitterMs ?? 0}"`,
      );
      response.end(`<!doctype html><link rel="icon" href="data:,">${tag}<h1 id="version">${id}</h1>`);
    } else if (url.pathname === "/events") {
      streams.add(response);
      response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
      response.write("retry: 1\ndata: hello\n\n");
    } else void echo(id, request, response);
  });
  const signalbox = attachSignalbox(server, {
    deploymentId: id,
    internalToken: TOKEN,
    env: {},
    ...page.options,
  });
  const sockets = new WebSocketServer({ server, path: "/socket" });
  sockets.on("connection", (socket: WebSocket, request: IncomingMessage) =>
    socket.send(JSON.stringify({ id, url: request.url, protocol: socket.protocol })),
  );
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    id,
    origin,
    signalbox,
    pageLoads: () => loads,
    endStreams() {
      for (const stream of streams) stream.end();
      streams.clear();
    },
    async tellToReload() {
      const response = await fetch(`${origin}/_pulse/internal/railway/reload`, {
        method: "POST",
        headers: { "x-pulse-railway-internal-token": TOKEN },
      });
      return Number(Object.values((await response.json()) as object)[0]);
    },
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function echo(id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: string[] = [];
  for await (const chunk of request) chunks.push(String(chunk));
  const cors = { "access-control-allow-origin": "*" };
  response.writeHead(200, { "content-type": "application/json", ...cors });
  response.end(
    JSON.stringify({
      id,
      method: request.method,
      url: request.url,
      headers: request.headers,
      body: chunks.join(""),
    }),
  );
}
