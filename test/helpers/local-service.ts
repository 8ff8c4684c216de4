import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable, type Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { WebSocketServer } from "ws";
import { messageBytes } from "../../runner/web-socket.ts";

/** What a deployment or a development server would be: answers by path, and keeps what it saw. */
export interface LocalService {
  port: number;
  server: Server;
  seen: { method: string; url: string; rawHeaders: string[]; body: string }[];
  /** Requests whose connection broke before their answer was whole. */
  broken: string[];
  /** WebSockets that are open, and the close codes of those that were. */
  sockets: { open: number; closeCodes: number[] };
  /** Requests of `/held` that wait for `release`. */
  readonly held: number;
  release(): void;
  close(): Promise<void>;
}

export const GZIPPED = gzipSync("hello ".repeat(100));
export const BLOCK = randomBytes(256 * 1024);
/** SHA-256 of so many BLOCKs. */
export function blocksHash(blocks: number): string {
  const hash = createHash("sha256");
  for (let n = 0; n < blocks; n += 1) hash.update(BLOCK);
  return hash.digest("hex");
}

export async function startLocalService(host = "127.0.0.1"): Promise<LocalService> {
  const server = createServer({ keepAlive: true });
  const webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: 64 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has("vite-hmr") ? "vite-hmr" : false),
  });
  const held: ServerResponse[] = [];
  const service: LocalService = {
    port: 0,
    server,
    seen: [],
    broken: [],
    sockets: { open: 0, closeCodes: [] },
    get held() {
      return held.length;
    },
    release() {
      for (const response of held.splice(0)) response.end("held");
    },
    async close() {
      for (const socket of webSockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on("request", (request, response) => {
    const url = request.url ?? "";
    response.on("close", () => {
      if (!response.writableFinished) service.broken.push(url);
    });
    request.on("error", () => undefined);
    if (url === "/held") return void held.push(response);
    answer(service, request, response).catch(() => response.destroy());
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    service.seen.push({
      method: "UPGRADE",
      url: request.url ?? "",
      rawHeaders: request.rawHeaders,
      body: "",
    });
    if (request.url?.startsWith("/refused") === true) {
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 7\r\n\r\nnot you");
      return;
    }
    if (request.url?.startsWith("/never") === true) return;
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      service.sockets.open += 1;
      if (request.url?.startsWith("/deaf") === true) webSocket.pause();
      webSocket.on("error", () => undefined);
      webSocket.on("close", (code) => {
        service.sockets.open -= 1;
        service.sockets.closeCodes.push(code);
      });
      webSocket.on("message", (data, isBinary) => {
        const bytes = messageBytes(data);
        const [order = "", argument = ""] = isBinary ? [] : bytes.toString().split(" ");
        if (order === "close") webSocket.close(Number(argument), "as you wish");
        else if (order === "abort") webSocket.terminate();
        else if (order === "send") webSocket.send(Buffer.alloc(Number(argument), 7));
        else if (order === "flood") for (let n = 0; n < Number(argument); n += 1) webSocket.send(BLOCK);
        else if (order === "empty") for (let n = 0; n < Number(argument); n += 1) webSocket.send("");
        else webSocket.send(bytes, { binary: isBinary });
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  service.port = (server.address() as AddressInfo).port;
  return service;
}

async function answer(
  service: LocalService,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://local");
  const { method = "", rawHeaders } = request;
  const note = (body: string): void => {
    service.seen.push({ method, url: request.url ?? "", rawHeaders, body });
  };
  switch (url.pathname) {
    case "/headers":
      note("");
      response.writeHead(200, "Quite Fine", [
        ["Set-Cookie", "a=1; Path=/"],
        ["X-Odd-CASE", "caf\u00e9"],
        ["set-cookie", "b=2"],
        ["Connection", "x-hop"],
        ["X-Hop", "1"],
        ["Content-Length", "2"],
      ]);
      // As bytes: Node would encode the head like a text that follows it.
      response.end(Buffer.from("ok"));
      return;
    case "/status":
      note("");
      response.writeHead(Number(url.searchParams.get("code")), { etag: '"x"', "content-length": "5" });
      response.end(method === "HEAD" ? undefined : "hello");
      return;
    case "/bare":
      note("");
      response.writeHead(Number(url.searchParams.get("code")), { etag: '"x"' }).end();
      return;
    case "/gzip":
      response.writeHead(200, { "content-encoding": "gzip", "content-length": GZIPPED.length }).end(GZIPPED);
      return;
    case "/events":
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: first\n\n");
      return;
    case "/late":
      await sleep(Number(url.searchParams.get("ms")));
      response.end("late");
      return;
    case "/blocks":
      await writeBlocks(response, Number(url.searchParams.get("count")));
      return;
    case "/abort":
      response.writeHead(200, { "content-length": "1000" });
      response.write("some of it");
      await sleep(50);
      response.destroy();
      return;
    case "/early":
      // Answers before it has read the body, and hangs up.
      response.writeHead(413, { connection: "close" }).end("too much");
      return;
    case "/deaf":
      // Never reads the body.
      return;
    case "/hash": {
      const hash = createHash("sha256");
      try {
        for await (const chunk of request) hash.update(chunk as Buffer);
      } catch {
        note("cut");
        return;
      }
      response.end(hash.digest("hex"));
      return;
    }
    default: {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      note(Buffer.concat(chunks).toString());
      response.setHeader("content-type", "text/plain");
      response.end(`${method} ${request.url} ${Buffer.concat(chunks).toString()}`);
    }
  }
}

async function writeBlocks(response: ServerResponse, count: number): Promise<void> {
  const blocks = Readable.from(Array.from({ length: count }, () => BLOCK));
  // The client may well go away in between.
  await pipeline(blocks, response).catch(() => undefined);
}
