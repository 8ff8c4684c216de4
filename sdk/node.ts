import { IncomingMessage, type Server, ServerResponse } from "node:http";
import type { Server as SecureServer } from "node:https";
import { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import {
  CONTRACT_PREFIX,
  createSignalbox,
  INTERNAL_TOKEN_HEADER,
  NOT_HERE,
  SESSION_PATH,
  type Signalbox,
  type SignalboxOptions,
} from "./contract.ts";

// A page says `bye` and nothing else.
const MAX_MESSAGE_BYTES = 1024;
// A peer that is there answers a close frame in a round trip.
const CLOSE_GRACE_MS = 2_000;

/**
 * Gives a `node:http` server the app contract. Requests and upgrades of the contract's paths never reach the app's
 * listeners, in whatever order both were added; everything else goes to them untouched. `server.close()` ends the
 * control sockets, which would otherwise keep it waiting.
 *
 * @example
 * const signalbox = attachSignalbox(server);
 * @throws {Error} naming the setting, when one is malformed.
 */
export function attachSignalbox(server: Server | SecureServer, options: SignalboxOptions = {}): Signalbox {
  const signalbox = createSignalbox(options);
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
  });

  server.emit = new Proxy(server.emit, {
    apply(emit, self, args: unknown[]) {
      const [event, request, peer, head] = args;
      if (request instanceof IncomingMessage && !isAdmitted(signalbox, request)) {
        if (turnAway(request, peer)) return true;
      }
      if (request instanceof IncomingMessage && isUnderPrefix(request)) {
        if (event === "request" && peer instanceof ServerResponse && answer(signalbox, request, peer))
          return true;
        if (event === "upgrade" && peer instanceof Duplex && head instanceof Buffer && isSession(request)) {
          sockets.handleUpgrade(request, peer, head, (socket) => adopt(signalbox, socket, address(request)));
          return true;
        }
      }
      return Reflect.apply(emit, self, args);
    },
  });
  acceptUpgrades(server);
  const close = server.close.bind(server);
  server.close = (callback) => {
    signalbox.close();
    close(callback);
    return server;
  };
  return signalbox;
}

/** The guard comes before every handler. */
function isAdmitted(signalbox: Signalbox, request: IncomingMessage): boolean {
  const [path = "/"] = (request.url ?? "/").split("?", 1);
  const token = request.headers[INTERNAL_TOKEN_HEADER];
  const isPlain = request.headers.upgrade === undefined;
  return signalbox.admits(
    isPlain ? (request.method ?? "") : "UPGRADE",
    path,
    typeof token === "string" ? token : null,
  );
}

/** Answers 404 like an empty server. False when the event asks for no answer. */
function turnAway(request: IncomingMessage, peer: unknown): boolean {
  if (peer instanceof ServerResponse) {
    request.resume();
    peer.writeHead(404, { "content-type": "application/json", "cache-control": "no-store" });
    peer.end(JSON.stringify(NOT_HERE));
    return true;
  }
  if (!(peer instanceof Duplex)) return false;
  peer.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
  return true;
}

/** Node upgrades only while there is a listener. An app without sockets must still see upgrade requests as plain ones. */
function acceptUpgrades(server: Server | SecureServer): void {
  server.on("upgrade", (_request: IncomingMessage, socket: Duplex) => {
    if (server.listenerCount("upgrade") === 1) socket.destroy();
  });
  const shouldUpgrade: unknown = Reflect.get(server, "shouldUpgradeCallback");
  if (typeof shouldUpgrade !== "function") return;
  Reflect.set(server, "shouldUpgradeCallback", (request: IncomingMessage): boolean => {
    if (isSession(request)) return true;
    return server.listenerCount("upgrade") > 1 && Reflect.apply(shouldUpgrade, server, [request]) === true;
  });
}

function isUnderPrefix(request: IncomingMessage): boolean {
  return request.url?.startsWith(CONTRACT_PREFIX) === true;
}

function isSession(request: IncomingMessage): boolean {
  return (
    isUnderPrefix(request) &&
    request.headers.upgrade?.toLowerCase() === "websocket" &&
    address(request).pathname === SESSION_PATH
  );
}

function address(request: IncomingMessage): URL {
  return new URL(`http://localhost${request.url ?? "/"}`);
}

function answer(signalbox: Signalbox, incoming: IncomingMessage, outgoing: ServerResponse): boolean {
  const headers = Object.entries(incoming.headersDistinct).flatMap(([name, values]) =>
    (values ?? []).map((value): [string, string] => [name, value]),
  );
  // The Request class refuses TRACE; the contract refuses every method that it doesn't know, all alike.
  const method = incoming.method === "TRACE" ? "OPTIONS" : (incoming.method ?? "GET");
  const response = signalbox.respond(new Request(address(incoming), { method, headers }));
  if (response === null) return false;
  incoming.resume();
  void send(response, outgoing);
  return true;
}

async function send(answer: Promise<Response>, outgoing: ServerResponse): Promise<void> {
  const response = await answer;
  const body = Buffer.from(await response.arrayBuffer());
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(body);
}

function adopt(signalbox: Signalbox, socket: WebSocket, url: URL): void {
  const connection = signalbox.connect(
    {
      send: (text) => socket.send(text),
      close(code, reason) {
        socket.close(code, reason);
        setTimeout(() => socket.terminate(), CLOSE_GRACE_MS).unref();
      },
      ping: () => socket.ping(),
      terminate: () => socket.terminate(),
    },
    url,
  );
  socket.on("message", (data, isBinary) => {
    if (!isBinary && Buffer.isBuffer(data)) connection.received(data.toString("utf8"));
  });
  socket.on("pong", () => connection.ponged());
  socket.on("close", (code) => connection.closed(code));
  socket.on("error", () => socket.terminate());
}
