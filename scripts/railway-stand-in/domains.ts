import { once } from "node:events";
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Duplex } from "node:stream";

/** Where a domain's requests go: a port, `waking` (try again soon), or nowhere. */
export type Destination = { port: number } | "failed" | "none";

/** A public domain: an address of its own on this machine, passed on to whatever runs the service then. */
export class PublicDomain {
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();

  private constructor(destination: () => Promise<Destination>) {
    this.#server = createServer((incoming, outgoing) => {
      destination()
        .then((to) => forward(to, incoming, outgoing))
        .catch(() => refuse(outgoing, 502, "Application failed to respond"));
    });
    this.#server.on("connection", (socket) => this.#keep(socket));
    this.#server.on("upgrade", (incoming, socket, head) => {
      socket.on("error", () => undefined);
      destination()
        .then((to) => upgrade(to, incoming, socket, head, (upstream) => this.#keep(upstream)))
        .catch(() => socket.destroy());
    });
  }

  static async open(destination: () => Promise<Destination>): Promise<PublicDomain> {
    const domain = new PublicDomain(destination);
    domain.#server.listen(0, "127.0.0.1");
    await once(domain.#server, "listening");
    return domain;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => this.#sockets.delete(socket));
  }
}

function forward(to: Destination, incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (to === "none") return refuse(outgoing, 404, "The train has not arrived at the station.");
  if (to === "failed") return refuse(outgoing, 502, "Application failed to respond");
  const upstream = request(
    {
      host: "127.0.0.1",
      port: to.port,
      method: incoming.method,
      path: incoming.url,
      headers: forwardedHeaders(incoming),
      agent: false,
    },
    (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
      answer.on("error", () => outgoing.destroy());
    },
  );
  upstream.on("error", () => {
    if (outgoing.headersSent) outgoing.destroy();
    else refuse(outgoing, 502, "Application failed to respond");
  });
  outgoing.on("close", () => upstream.destroy());
  // A body may come much later than its headers.
  upstream.flushHeaders();
  incoming.pipe(upstream);
}

function upgrade(
  to: Destination,
  incoming: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  keep: (upstream: Socket) => void,
): void {
  if (typeof to === "string") {
    const status = to === "none" ? "404 Not Found" : "502 Bad Gateway";
    socket.end(
      `HTTP/1.1 ${status}\r\nx-railway-fallback: true\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
    );
    return;
  }
  const upstream = connect(to.port, "127.0.0.1", () => {
    const headers = Object.entries(forwardedHeaders(incoming)).flatMap(([name, value]) =>
      [value ?? []].flat().map((one) => `${name}: ${one}`),
    );
    upstream.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
    upstream.write(head);
    upstream.pipe(socket);
    socket.pipe(upstream);
  });
  keep(upstream);
  upstream.on("close", () => socket.destroy());
  socket.on("close", () => upstream.destroy());
}

function forwardedHeaders(incoming: IncomingMessage): NodeJS.Dict<string | string[]> {
  return {
    ...incoming.headers,
    "x-forwarded-host": incoming.headers["x-forwarded-host"] ?? incoming.headers.host,
    "x-forwarded-proto": incoming.headers["x-forwarded-proto"] ?? "http",
    "x-real-ip": incoming.socket.remoteAddress,
  };
}

/** Railway marks its own answers, so that nobody takes them for the service's. */
function refuse(outgoing: ServerResponse, status: number, message: string): void {
  const body = JSON.stringify({ status: "error", code: status, message });
  outgoing.writeHead(status, { "content-type": "application/json", "x-railway-fallback": "true" });
  outgoing.end(body);
}
