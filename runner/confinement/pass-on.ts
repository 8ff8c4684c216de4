import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { loopback } from "../tunnel/services.ts";

/** One end of a way for connections: a port of loopback, or a Unix socket, which another network can share. */
export type Place = { port: number } | { path: string };

/** A port of loopback that each connection names in its first line. */
export const NAMED = "named";
/** Five digits and the line's end. */
const NAME_BYTES = 6;

interface To {
  to: Place | typeof NAMED;
  /** Sent first, to a place that wants a port's name. */
  preface?: string;
}

/** Joins each connection to `from` with a new one to `to`, until it is closed. */
export class PassOn {
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
  }

  static async listen(from: Place, { to, preface = "" }: To): Promise<PassOn> {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      sockets.add(socket.on("close", () => sockets.delete(socket)));
      const goOn = (place: Place): void => {
        const other = join(socket, place, preface);
        sockets.add(other.on("close", () => sockets.delete(other)));
      };
      if (to !== NAMED) return goOn(to);
      readName(socket, (port) => goOn({ port }));
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

function join(socket: Socket, to: Place, preface: string): Socket {
  const other = connect({
    ...("path" in to ? { path: to.path } : { ...loopback, port: to.port }),
    allowHalfOpen: true,
    noDelay: true,
  });
  if (preface !== "") other.write(preface);
  for (const [one, peer] of [
    [socket, other],
    [other, socket],
  ] as const) {
    one.on("error", () => peer.destroy());
    // The peer's last bytes may still be on their way to whoever reads them.
    one.on("close", () => (peer.writableEnded ? peer.destroySoon() : peer.destroy()));
    one.pipe(peer);
  }
  return other;
}

function readName(socket: Socket, named: (port: number) => void): void {
  let said = Buffer.alloc(0);
  const read = (chunk: Buffer): void => {
    said = Buffer.concat([said, chunk]);
    const end = said.indexOf("\n");
    if (end === -1 && said.length < NAME_BYTES) return;
    socket.off("data", read).pause();
    const port = Number(said.toString("latin1", 0, Math.max(0, end)));
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return void socket.destroy();
    socket.unshift(said.subarray(end + 1));
    named(port);
  };
  socket.on("error", () => socket.destroy()).on("data", read);
}
