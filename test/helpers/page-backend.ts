import {
  createServer,
  request as ask,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { WebSocketServer } from "ws";

/** What a backend was asked. */
export interface Seen {
  method: string;
  url: string;
  /** Which tab asked, where the request could say so: header `x-tab`, or `tab` in the query. */
  tab: string | null;
  /** By `<link rel=prefetch>` or speculation rules. */
  isAhead: boolean;
  /** What it answered; 0 while it hasn't. */
  status: number;
}

/** One version of an app: the framework's server, with what no framework's server does alike (`/probe/…`) in front. */
export interface PageBackend {
  id: string;
  url: string;
  port: number;
  seen: Seen[];
  /** Changes answers of the framework that are pages. */
  dress: ((html: string) => { html: string; headers: Record<string, string> }) | null;
  close: () => Promise<void>;
}

/** `port`: where the framework's server listens. */
export async function startPageBackend(id: string, port: number): Promise<PageBackend> {
  const sockets = new WebSocketServer({ noServer: true });
  const backend: PageBackend = {
    id,
    url: "",
    port: 0,
    seen: [],
    dress: null,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const note = ({ method = "", url = "", headers }: IncomingMessage): Seen => {
    const inHeader = headers["x-tab"];
    const tab = typeof inHeader === "string" ? inHeader : new URL(url, "http://app").searchParams.get("tab");
    const entry = { method, url, tab, isAhead: "sec-purpose" in headers, status: 0 };
    backend.seen.push(entry);
    return entry;
  };
  const server = createServer((request, response) => {
    const entry = note(request);
    response.on("finish", () => (entry.status = response.statusCode));
    if (!probe(id, request, response)) forward(request, response, port, backend);
  });
  server.keepAliveTimeout = 120_000;
  server.on("upgrade", (request, socket, head) => {
    note(request).status = 101;
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => webSocket.terminate());
      webSocket.send(id);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  backend.port = (server.address() as AddressInfo).port;
  backend.url = `http://127.0.0.1:${backend.port}`;
  return backend;
}

function forward(
  request: IncomingMessage,
  response: ServerResponse,
  port: number,
  { dress }: PageBackend,
): void {
  const { method, url, headers } = request;
  const onward = ask({ host: "127.0.0.1", port, method, path: url, headers }, (answer) => {
    const given = answer.headers;
    if (dress === null || given["content-type"]?.startsWith("text/html") !== true) {
      response.writeHead(answer.statusCode ?? 502, given);
      return void answer.pipe(response);
    }
    dressed(answer, dress).then(
      ({ html, headers }) => response.writeHead(answer.statusCode ?? 502, headers).end(html),
      () => response.destroy(),
    );
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

async function dressed(
  answer: IncomingMessage,
  dress: NonNullable<PageBackend["dress"]>,
): Promise<{ html: string; headers: OutgoingHttpHeaders }> {
  const { html, headers } = dress(await text(answer));
  const { "content-length": _, etag: __, ...rest } = answer.headers;
  return { html, headers: { ...rest, ...headers } };
}

/** The same path in every version, and what it says differs: only who was asked decides. */
function probe(id: string, request: IncomingMessage, response: ServerResponse): boolean {
  const { pathname, search } = new URL(request.url ?? "/", "http://app");
  const send = (type: string, body: string): true => {
    response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    return true;
  };
  const script = (body: string): true => send("text/javascript", body);
  switch (pathname) {
    case "/probe/id":
      return send("text/plain", id);
    case "/probe/events": {
      response.writeHead(200, { "content-type": "text/event-stream" }).write(`data: ${id}\n\n`);
      return true;
    }
    case "/probe/logo.svg":
      return send(
        "image/svg+xml",
        `<svg xmlns="http://www.w3.org/2000/svg" width="${id.slice(1)}" height="1"/>`,
      );
    case "/probe/worker.js":
      return script(
        `importScripts("/probe/part.js");
        const ask = async (tell) => tell(["${id}", part, await (await fetch("/probe/id?by=worker")).text()].join(" "));
        if ("onconnect" in self) self.onconnect = ({ ports: [port] }) => ask((text) => port.postMessage(text));
        else ask((text) => postMessage(text));`,
      );
    case "/probe/part.js":
      return script(`self.part = "${id}";`);
    case "/probe/module-worker.js":
      return script(
        `import { part } from "/probe/module-part.js";
        const { part: late } = await import("/probe/module-part.js?late");
        postMessage(["${id}", part, late, await (await fetch("/probe/id?by=module-worker")).text()].join(" "));`,
      );
    case "/probe/module-part.js":
      return script(`export const part = "${id}";`);
    case "/probe/form":
      request.resume();
      return send(
        "text/html",
        `<!doctype html><title>form</title><link rel="icon" href="data:,"><p id="version">${id}</p>`,
      );
    case "/probe/service-worker.js":
      response.setHeader("service-worker-allowed", "/");
      if (search === "?passed") return script(PASSES_ON);
      return script(serviceWorker(search === "?frozen" ? "frozen" : id, search === "?precached"));
    case "/probe/beacon":
      request.resume();
      response.writeHead(204).end();
      return true;
    default:
      return false;
  }
}

const PASSES_ON = `
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(fetch(event.request));
});
`;

/** Serves the pages of its version from a cache: those that were loaded, or the shell, which it has fetched itself. */
const serviceWorker = (id: string, isPrecached: boolean): string => `
const open = caches.open("${id}");
addEventListener("install", (event) => {
  skipWaiting();
  if (${isPrecached}) event.waitUntil(open.then((cache) => cache.add(new Request("/", { cache: "reload" }))));
});
async function forgetOthers() {
  const others = (await caches.keys()).filter((key) => key !== "${id}");
  await Promise.all(others.map((key) => caches.delete(key)));
  await clients.claim();
}
addEventListener("activate", (event) => event.waitUntil(forgetOthers()));
async function page(request) {
  const cache = await open;
  const known = await cache.match("/");
  if (known) return known;
  const answer = await fetch(request);
  await cache.put("/", answer.clone());
  return answer;
}
addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(page(event.request));
});
`;
