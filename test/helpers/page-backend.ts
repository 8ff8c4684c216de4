import { createServer, request as ask, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { WebSocketServer } from "ws";

/** What a backend was asked. */
export interface Seen {
  method: string;
  url: string;
  /** Which tab asked, where the request could say so: header `x-tab`, or `tab` in the query. */
  tab: string | null;
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
    const entry = { method, url, tab, status: 0 };
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
    text(answer).then(
      (html) => {
        const dressed = dress(html);
        const { "content-length": _, etag: __, ...rest } = given;
        response.writeHead(answer.statusCode ?? 502, { ...rest, ...dressed.headers }).end(dressed.html);
      },
      () => response.destroy(),
    );
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

/** The same path in every version, and what it says differs: only who was asked decides. */
function probe(id: string, request: IncomingMessage, response: ServerResponse): boolean {
  const { pathname } = new URL(request.url ?? "/", "http://app");
  const send = (type: string, body: string): true => {
    response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    return true;
  };
  const script = (body: string): true => send("text/javascript", body);
  switch (pathname) {
    case "/probe/id":
      return send("text/plain", id);
    case "/probe/events":
      response.writeHead(200, { "content-type": "text/event-stream" }).write(`data: ${id}\n\n`);
      return true;
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
      return script(SERVICE_WORKER.replaceAll("VERSION", id));
    case "/probe/beacon":
      request.resume();
      response.writeHead(204).end();
      return true;
    default:
      return false;
  }
}

/** Has the shell of its version in a cache and serves it for every page, as those of offline apps do. */
const SERVICE_WORKER = `
addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open("VERSION").then((cache) => cache.add(new Request("/", { cache: "reload" }))));
});
addEventListener("activate", (event) => {
  const others = caches.keys().then((keys) => Promise.all(keys.filter((key) => key !== "VERSION").map((key) => caches.delete(key))));
  event.waitUntil(others.then(() => clients.claim()));
});
addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(caches.match("/").then((shell) => shell ?? fetch(event.request)));
});
`;
