import http, { type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** One request as the router saw it. */
export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  header: string | undefined;
  upgrade: boolean;
}

/** A stand-in for the edge: follows the pin between backends, with the stale answers of the routing rules. */
export class TestRouter {
  /** Deployment id to origin. */
  readonly backends = new Map<string, string>();
  readonly seen: SeenRequest[] = [];
  active: string;
  /** Lets a test declare a pin stale for some paths only. */
  isStale: (pin: string, path: string) => boolean = () => false;
  #sockets = new Set<Duplex>();
  readonly #server = http.createServer((request, response) => {
    const target = this.#resolve(request);
    if (target === null) {
      response.writeHead(409, { "x-pulse-stale-affinity": "1", "cache-control": "no-store" });
      response.end(JSON.stringify({ detail: "stale affinity" }));
      return;
    }
    const { method, headers, url: path } = request;
    const upstream = http.request(target, { method, headers, path }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => upstream.destroy());
    request.pipe(upstream);
  });

  constructor(active: string) {
    this.active = active;
    this.#server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const target = this.#resolve(request);
      if (target === null) {
        socket.end("HTTP/1.1 409 Conflict\r\nx-pulse-stale-affinity: 1\r\ncontent-length: 0\r\n\r\n");
        return;
      }
      this.#pipeUpgrade(target, request, socket, head);
    });
  }

  get origin(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  async listen(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    return this;
  }

  /** Breaks every WebSocket without a closing handshake, as a restarted proxy does. */
  dropSockets(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Keeps every WebSocket open and forwards nothing any more, as a half-dead network does. New ones are fine. */
  silenceSockets(): void {
    for (const socket of this.#sockets) socket.unpipe().resume();
  }

  async close(): Promise<void> {
    this.dropSockets();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  #resolve(request: IncomingMessage): string | null {
    const url = new URL(request.url ?? "/", this.origin);
    const header = request.headers["x-pulse-deployment"]?.toString();
    const upgrade = request.headers.upgrade !== undefined;
    this.seen.push({
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      header,
      upgrade,
    });
    const pin = url.searchParams.get("pulse_deployment") ?? header;
    const active = this.backends.get(this.active) ?? null;
    if (pin === undefined) return active;
    const pinned = this.backends.get(pin);
    if (pinned !== undefined && !this.isStale(pin, url.pathname)) return pinned;
    return upgrade && url.searchParams.get("pulse_reload_on_stale_affinity") === "1" ? active : null;
  }

  #pipeUpgrade(target: string, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const upstream = http.request(target, { headers: request.headers, path: request.url });
    upstream.on("response", (answer) => socket.end(`HTTP/1.1 ${answer.statusCode} Refused\r\n\r\n`));
    upstream.on("error", () => socket.destroy());
    upstream.on("upgrade", (answer: IncomingMessage, backend: Duplex, first: Buffer) => {
      const lines = answer.rawHeaders.map((text, index) => (index % 2 === 0 ? `\r\n${text}: ` : text));
      socket.write(`HTTP/1.1 101 Switching Protocols${lines.join("")}\r\n\r\n`);
      socket.write(first);
      backend.write(head);
      for (const [from, to] of [
        [socket, backend],
        [backend, socket],
      ] as const) {
        this.#sockets.add(from);
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
    upstream.end();
  }
}
