import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A TCP proxy on loopback that makes its ends far from each other. */
export interface FarProxy {
  readonly port: number;
  /** The most that was on its way at a time since the last look: from who connects, and back. */
  mostUnderWay(): { there: number; back: number };
  close(): Promise<void>;
}

export interface FarProxyOptions {
  /** One way. */
  delayMs: number;
  bytesPerSecond?: number;
  /** Now and then nothing moves for so long. */
  stalls?: { everyMs: number; ms: number };
}

/** What waits for a slow link before its sender is held back. */
const QUEUE_MS = 20;

export async function startFarProxy(targetPort: number, options: FarProxyOptions): Promise<FarProxy> {
  const sockets = new Set<Socket>();
  const there: Direction = { bytes: 0, most: 0 };
  const back: Direction = { bytes: 0, most: 0 };
  const server = createServer((near) => {
    const far = connect(targetPort, "127.0.0.1");
    carry(near, far, options, there);
    carry(far, near, options, back);
    for (const socket of [near, far]) {
      sockets.add(socket.setNoDelay(true));
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    mostUnderWay() {
      const most = { there: there.most, back: back.most };
      there.most = there.bytes;
      back.most = back.bytes;
      return most;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Direction {
  bytes: number;
  most: number;
}

function carry(from: Socket, to: Socket, options: FarProxyOptions, direction: Direction): void {
  const { delayMs, bytesPerSecond = Infinity, stalls } = options;
  const queue: { at: number; chunk: Buffer }[] = [];
  let freeAt = 0;
  let timer: NodeJS.Timeout | undefined;
  const deliver = (): void => {
    timer = undefined;
    const now = performance.now();
    for (let [first] = queue; first !== undefined && first.at <= now; [first] = queue) {
      queue.shift();
      direction.bytes -= first.chunk.length;
      to.write(first.chunk);
    }
    const [next] = queue;
    if (next !== undefined) timer = setTimeout(deliver, Math.max(1, next.at - now));
  };
  from.on("data", (chunk: Buffer) => {
    const now = performance.now();
    freeAt = Math.max(freeAt, now);
    if (stalls !== undefined && now % stalls.everyMs < stalls.ms)
      freeAt = Math.max(freeAt, now - (now % stalls.everyMs) + stalls.ms);
    freeAt += (chunk.length / bytesPerSecond) * 1_000;
    direction.bytes += chunk.length;
    direction.most = Math.max(direction.most, direction.bytes);
    queue.push({ at: freeAt + delayMs, chunk });
    timer ??= setTimeout(deliver, delayMs);
    if (freeAt - now <= QUEUE_MS) return;
    from.pause();
    setTimeout(() => from.resume(), freeAt - now - QUEUE_MS / 2);
  });
  from.on("end", () => setTimeout(() => to.end(), delayMs + Math.max(0, freeAt - performance.now())));
  from.on("close", () => {
    clearTimeout(timer);
    direction.bytes -= queue.splice(0).reduce((sum, { chunk }) => sum + chunk.length, 0);
  });
}
