import { once } from "node:events";
import { lookup } from "node:dns/promises";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, BlockList, connect, isIP, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { Duplex } from "node:stream";

/** A way to the outside that leads to listed hosts only; guests are told of it by HTTP_PROXY and its like. */
export class AllowListProxy {
  readonly port: number;
  /** What programs read to find it. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #server: Server;
  readonly #sockets: Set<Duplex>;

  private constructor(server: Server, sockets: Set<Duplex>) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
    const url = `http://127.0.0.1:${this.port}`;
    const direct = "localhost,127.0.0.1,::1";
    this.environment = {
      ...Object.fromEntries(
        ["http_proxy", "https_proxy", "all_proxy"].flatMap((name) => [
          [name, url],
          [name.toUpperCase(), url],
        ]),
      ),
      no_proxy: direct,
      NO_PROXY: direct,
      // Node's own fetch reads the rest only with this.
      NODE_USE_ENV_PROXY: "1",
    };
  }

  /** `allowed`: `example.com`, `*.example.com` with all below it, or either with `:PORT`; without one 80 and 443. */
  static async listen(allowed: readonly string[]): Promise<AllowListProxy> {
    const sockets = new Set<Duplex>();
    const server = createServer((asked, answer) => void forward(asked, answer, allowed));
    server.on("connect", (asked: IncomingMessage, socket: Duplex, head: Buffer) => {
      sockets.add(socket.on("close", () => sockets.delete(socket)));
      socket.on("error", () => socket.destroy());
      void tunnel(asked.url ?? "", socket, head, allowed);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    return new AllowListProxy(server, sockets);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Whether a list allows a host, with its port. */
export function isAllowed(host: string, port: number, allowed: readonly string[]): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  return allowed.some((entry) => {
    const [pattern = "", wanted] = entry.toLowerCase().split(/:(?=\d+$)/);
    if (wanted === undefined ? port !== 80 && port !== 443 : port !== Number(wanted)) return false;
    return pattern.startsWith("*.") ? name.endsWith(pattern.slice(1)) : name === pattern;
  });
}

async function tunnel(
  authority: string,
  socket: Duplex,
  head: Buffer,
  allowed: readonly string[],
): Promise<void> {
  const [, host = "", port = ""] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(authority) ?? [];
  const address = await addressOf(host, Number(port), allowed);
  if (address === null) {
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  const outside: Socket = connect(Number(port), address, () => {
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    outside.write(head);
    socket.pipe(outside).pipe(socket);
  });
  outside.on("error", () => socket.destroy());
  socket.on("close", () => outside.destroy());
}

async function forward(
  asked: IncomingMessage,
  answer: ServerResponse,
  allowed: readonly string[],
): Promise<void> {
  const url = URL.parse(asked.url ?? "");
  const port = Number(url?.port) || 80;
  const address = url?.protocol === "http:" ? await addressOf(url.hostname, port, allowed) : null;
  if (url === null || address === null) {
    answer
      .writeHead(403, { "content-type": "text/plain" })
      .end("This runner's guests may not reach this host.\n");
    return;
  }
  const { "proxy-connection": _c, "proxy-authorization": _a, ...headers } = asked.headers;
  const outside = request(
    {
      host: address,
      port,
      method: asked.method,
      path: url.pathname + url.search,
      headers: { ...headers, host: url.host },
    },
    (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(answer);
    },
  );
  outside.on("error", () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
  answer.on("close", () => outside.destroy());
  asked.pipe(outside);
}

/** Where an allowed host is. Its owner may have its name point at this machine, whose loopback is closed to guests. */
async function addressOf(host: string, port: number, allowed: readonly string[]): Promise<string | null> {
  if (!isAllowed(host, port, allowed)) return null;
  // Whoever lists an address means it.
  if (isIP(host) !== 0) return host;
  const found = await lookup(host, { all: true }).catch(() => []); // there is no such host: as good as forbidden
  return found.find(({ address }) => !isOwn(address))?.address ?? null;
}

function isOwn(address: string): boolean {
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const own = new BlockList();
  for (const [network, bits] of [
    ["127.0.0.0", 8],
    ["0.0.0.0", 8],
    ["169.254.0.0", 16],
  ] as const)
    own.addSubnet(network, bits, "ipv4");
  for (const one of ["::", "::1"]) own.addAddress(one, "ipv6");
  own.addSubnet("fe80::", 10, "ipv6");
  for (const { address: mine, family: kind } of Object.values(networkInterfaces()).flatMap(
    (all) => all ?? [],
  ))
    own.addAddress(mine, kind === "IPv6" ? "ipv6" : "ipv4");
  return own.check(address, family);
}
