import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

/** A server as people write them, with no word about Signalbox in it: a page, and `/echo`, which says who answered. */
export interface PlainApp {
  id: string;
  url: string;
  /** Paths of requests, newest last. */
  seen: string[];
  /** Answers instead of the defaults where it returns true. */
  handler: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Breaks every connection, as a crash would. */
  closeConnections(): void;
  close(): Promise<void>;
}

export async function startPlainApp(id: string): Promise<PlainApp> {
  const server = createServer();
  server.keepAliveTimeout = 120_000;
  const sockets = new WebSocketServer({ noServer: true });
  const app: PlainApp = {
    id,
    url: "",
    seen: [],
    handler: () => false,
    closeConnections: () => server.closeAllConnections(),
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on("request", (request, response) => {
    app.seen.push(`${request.method} ${request.url}`);
    if (!app.handler(request, response)) answer(id, request, response);
  });
  server.on("upgrade", (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.send(id);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  app.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return app;
}

function answer(id: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? "/", "http://app");
  const send = (type: string, body: string, status = 200): void => {
    response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
  };
  switch (pathname) {
    case "/":
    case "/form":
      return send("text/html; charset=utf-8", page(id));
    case "/echo":
      return send("application/json", JSON.stringify({ id, method: request.method, url: request.url }));
    case "/events":
      response.writeHead(200, { "content-type": "text/event-stream" }).write(`data: ${id}\n\n`);
      return;
    case "/worker.js":
      return send("text/javascript", WORKER);
    case "/module.js":
      return send("text/javascript", `export const id = ${JSON.stringify(id)};`);
    case "/favicon.ico":
      response.writeHead(204).end();
      return;
    default:
      return send("text/plain", "nothing is here", 404);
  }
}

function page(id: string): string {
  return `<!doctype html><html><head><title>${id}</title></head><body><p id="version">${id}</p>
<form method="post" action="/form"><input name="field"><button>Send</button><button formaction="/form?other=1" id="other">Other</button></form>
</body></html>`;
}

/** Tells who answers its own requests; as a shared worker, too. */
const WORKER = `
const ask = async (send) => send((await (await fetch("/echo")).json()).id);
if ("onconnect" in self) self.onconnect = ({ ports: [port] }) => ask((id) => port.postMessage(id));
else ask((id) => postMessage(id));
`;
