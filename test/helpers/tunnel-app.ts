import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { WebSocketServer } from "ws";
import { bytePattern } from "./byte-pattern.ts";

/** An app for a runner to host: speaks the app contract, and does what tests of a tunnel need. */
const id = process.env["PULSE_DEPLOYMENT_ID"] ?? "";
const held = new Set<ServerResponse>();
const listening = new Set<ServerResponse>();
let sessions = 0;

// A request that is broken off ends alone.
const server = createServer(
  (request, response) => void serve(request, response).catch(() => response.destroy()),
);
// A kept-alive connection that this end closes is a request lost, and not the tunnel's fault.
server.keepAliveTimeout = 120_000;
server.requestTimeout = 0;
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => {
  socket.on("error", () => socket.terminate());
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(Number(process.env["PORT"]), process.env["HOST"] ?? "127.0.0.1", () => {
  console.log(`${id} listens`);
});

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://app");
  const count = Number(url.searchParams.get("count") ?? 0);
  switch (url.pathname) {
    case "/_pulse/meta":
      return json(response, { status: "ok", deployment_id: id });
    case "/_pulse/health":
      return json(response, { status: "ok" });
    case "/_pulse/internal/railway/sessions":
      return json(response, { render_session_count: sessions });
    case "/_pulse/internal/railway/reload":
      return json(response, { reloaded_socket_count: sessions });
    case "/sessions":
      sessions = count;
      return json(response, { sessions });
    case "/environment":
      return json(response, process.env);
    case "/nonce":
      return json(response, { id, nonce: url.searchParams.get("nonce"), bytes: await drain(request) });
    case "/hash":
      return json(response, await hash(request));
    case "/bytes":
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": count });
      return pipeline(Readable.from(bytePattern(count)), response);
    case "/hold":
      held.add(response.on("close", () => held.delete(response)));
      response.write("held\n");
      return;
    case "/release":
      for (const waiting of held) waiting.end("released\n");
      return json(response, {});
    case "/listen":
      listening.add(response.on("close", () => listening.delete(response)));
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      return;
    case "/say":
      for (const listener of listening) listener.write(`data: ${count}\n\n`);
      return json(response, {});
    case "/crash":
      process.exit(3);
      break;
    default:
      response.end(`${id} ${request.url}`);
  }
}

async function drain(request: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of request) bytes += Buffer.byteLength(chunk);
  return bytes;
}

async function hash(request: IncomingMessage): Promise<{ sha256: string; bytes: number }> {
  const sum = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request) {
    sum.update(chunk);
    bytes += Buffer.byteLength(chunk);
  }
  return { sha256: sum.digest("hex"), bytes };
}

function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}
