import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** A TCP proxy that misbehaves on demand. */
export interface UnrulyProxy {
  port: number;
  /** What it does with bytes: passes them on, keeps them, or changes one of each chunk. */
  mode: "pass" | "stall" | "corrupt";
  /** Cuts all connections: with a reset, as a crash does, or in order. */
  cut(how: "reset" | "end"): void;
  close(): Promise<void>;
}

export async function startUnrulyProxy(targetPort: number): Promise<UnrulyProxy> {
  const pairs = new Set<[Socket, Socket]>();
  const server: Server = createServer((inner) => {
    const outer = connect(targetPort, "127.0.0.1");
    const pair: [Socket, Socket] = [inner, outer];
    pairs.add(pair);
    for (const [from, to] of [pair, [outer, inner] as const]) {
      from.on("data", (chunk: Buffer) => {
        if (proxy.mode === "stall") return;
        if (proxy.mode === "corrupt") chunk[Math.floor(chunk.length / 2)]! ^= 0xff;
        to.write(chunk);
      });
      from.on("error", () => undefined);
      from.on("close", () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: UnrulyProxy = {
    port: (server.address() as AddressInfo).port,
    mode: "pass",
    cut(how) {
      for (const pair of pairs) {
        for (const socket of pair) {
          if (how === "reset") socket.resetAndDestroy();
          else socket.end();
        }
      }
    },
    async close() {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
