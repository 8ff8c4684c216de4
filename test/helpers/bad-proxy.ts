import { createServer, connect, type AddressInfo, type Socket } from "node:net";

/** What a network may do to connections: cut them, hold them, let them trickle, damage them, cut one side only. */
export const faults = ["drop", "stall", "trickle", "corrupt", "half-open"] as const;
export type Fault = (typeof faults)[number];

export interface BadProxy {
  readonly port: number;
  /** Connections that are open at this moment. */
  readonly connections: number;
  /** Does it to every open connection, for so long; a dropped one can't be made anew before that. */
  inflict(fault: Fault, ms: number): Promise<void>;
  close(): Promise<void>;
}

/** Far below what any load needs, and enough for a heartbeat to come through. */
const TRICKLE_BYTES_PER_SECOND = 20_000;
/** No WebSocket frame begins like this: reserved bits and a reserved opcode. */
const GARBAGE = Buffer.alloc(32, 0xff);

interface Link {
  near: Socket;
  far: Socket;
}

/** A real TCP proxy on the loopback interface. */
export async function startBadProxy(targetPort: number): Promise<BadProxy> {
  const links = new Set<Link>();
  let refusing = false;
  const server = createServer((near) => {
    near.on("error", () => near.destroy());
    if (refusing) {
      near.destroy();
      return;
    }
    const far = connect(targetPort, "127.0.0.1");
    const link = { near, far };
    links.add(link);
    far.on("error", () => far.destroy());
    near.pipe(far).pipe(near);
    near.on("close", () => end(link));
    far.on("close", () => end(link));
  });
  const end = (link: Link): void => {
    links.delete(link);
    link.near.destroy();
    link.far.destroy();
  };
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });

  async function drop(ms: number): Promise<void> {
    refusing = true;
    for (const link of links) end(link);
    await sleep(ms);
    refusing = false;
  }

  async function stall({ near, far }: Link, ms: number): Promise<void> {
    unpipe({ near, far });
    await sleep(ms);
    near.pipe(far).pipe(near);
  }

  async function trickle({ near, far }: Link, ms: number): Promise<void> {
    unpipe({ near, far });
    const until = Date.now() + ms;
    for (; Date.now() < until; await sleep(20)) {
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        const waiting = Math.min(from.readableLength, TRICKLE_BYTES_PER_SECOND / 50);
        const part: unknown = waiting > 0 ? from.read(waiting) : from.read(0);
        if (part instanceof Buffer && to.writable) to.write(part);
      }
    }
    near.pipe(far).pipe(near);
  }

  /** Nothing follows the damage: no answer may be put together around it. */
  async function corrupt(link: Link, ms: number): Promise<void> {
    unpipe(link);
    for (const to of [link.near, link.far]) if (to.writable) to.write(GARBAGE);
    for (const from of [link.near, link.far]) from.resume();
    await sleep(ms);
    end(link);
  }

  /** The near side's end is gone, and the far side doesn't hear of it. */
  async function halfOpen(link: Link, ms: number): Promise<void> {
    unpipe(link);
    link.near.removeAllListeners("close");
    link.near.destroy();
    link.far.resume();
    await sleep(ms);
    // Kept for the far side to end: it is replaced by the next connection.
  }

  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return links.size;
    },
    async inflict(fault, ms) {
      if (fault === "drop") return drop(ms);
      const inflictions = { stall, trickle, corrupt, "half-open": halfOpen };
      const whole = [...links].filter(({ near }) => !near.destroyed);
      await Promise.all(whole.map((link) => inflictions[fault](link, ms)));
      // While there was no connection there was nothing to do anything to.
      if (whole.length === 0) await sleep(ms);
    },
    async close() {
      for (const link of links) end(link);
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function unpipe({ near, far }: Link): void {
  near.unpipe(far);
  far.unpipe(near);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
