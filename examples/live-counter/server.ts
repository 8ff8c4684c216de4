import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { attachSignalbox } from "@signalbox/sdk/node";
import { pageStyle, renderPage } from "./page.ts";
import { CounterSessions } from "./sessions.ts";

const SESSION_ID = /^[0-9a-f-]{36}$/;
const STALE_CLOSE_CODE = 4409;
const SERVICE_RESTART = 1012;
const STOP_GRACE_MS = 5_000;

const style = pageStyle(process.env);
const counters = new CounterSessions();
const live = new WebSocketServer({ noServer: true, maxPayload: 1024 });

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  if (pathname !== "/") {
    response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("not found\n");
    return;
  }
  response
    .writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" })
    .end(renderPage({ ...style, signalbox, sessionId: randomUUID() }));
});
const signalbox = attachSignalbox(server);

server.on("upgrade", (request, socket, head) => {
  const url = new URL(request.url ?? "/", "http://localhost");
  const session = url.searchParams.get("session") ?? "";
  if (url.pathname !== "/live" || !SESSION_ID.test(session)) {
    socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    return;
  }
  live.handleUpgrade(request, socket, head, (accepted) => {
    accepted.on("error", () => accepted.terminate());
    // The page's deployment is gone, and its session with that process's memory.
    if (signalbox.isStale(url)) accepted.close(STALE_CLOSE_CODE, "stale affinity");
    else counters.attach(session, accepted);
  });
});

const host = process.env["HOST"] ?? "127.0.0.1";
server.listen(signalbox.port ?? 0, host, () => {
  const { port } = server.address() as AddressInfo;
  console.log(`live-counter ${signalbox.deploymentId ?? "dev"} listening on http://${host}:${port}`);
});

function stop(): void {
  counters.stop();
  for (const socket of live.clients) socket.close(SERVICE_RESTART, "service restart");
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(0), STOP_GRACE_MS).unref();
}
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
// A parent that is killed sends no signal, but its end of the pipe closes.
if (process.env["SIGNALBOX_PARENT_PIPE"] === "1") process.stdin.once("close", stop).resume();
