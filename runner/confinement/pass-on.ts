import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { loopback } from "../tunnel/services.ts";

/** One end of a way for connections: a port of loopback, or a Unix socket, which another network can share. */
export type Place = { port: number } | { path: string };

/** Joins each connection to `from` with a new one to `to`, until it is closed. */
export class PassOn {
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
  }

  static async listen(from: Place, to: Place): Promise<PassOn> {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const other = connect({
        ...("path" in to ? { path: to.path } : { ...loopback, port: to.port }),
        allowHalfOpen: true,
        noDelay: true,
      });
      for (const [one, peer] of [
        [socket, other],
        [other, socket],
      ] as const) {
        sockets.add(one.on("close", () => sockets.delete(one)));
        one.on("error", () => peer.destroy());
        // The peer's last bytes may still be on their way to whoever reads them.
        one.on("close", () => (peer.writableEnded ? peer.destroySoon() : peer.destroy()));
        one.pipe(peer);
      }
    });
    // A visitor shouldn't be refused for the others who come at the same moment.
    const where = "path" in from ? { path: from.path } : { port: from.port, host: "127.0.0.1" };
    if ("path" in from) await rm(from.path, { force: true });
    await once(server.listen({ ...where, exclusive: true, backlog: 4_096 }), "listening");
    if ("path" in from) await chmod(from.path, 0o600);
    return new PassOn(server, sockets);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
