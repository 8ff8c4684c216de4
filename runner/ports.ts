import { createServer } from "node:net";
import { isSystemError, RunnerError } from "./runner-error.ts";

/** Below every common system's range for outgoing connections (Linux from 32768, others from 49152). */
const FIRST_PORT = 21_000;
const LAST_PORT = 24_999;
/** Programs listen on one or both. On a port taken on either, a stranger would answer. */
const LOOPBACKS = ["127.0.0.1", "::1"];

/** SentryVibe's event names, ready to be sent. */
export type PortEvent =
  | { type: "port-conflict"; owner: string; port: number; message: string }
  | { type: "port-reallocated"; owner: string; originalPort: number; newPort: number; message: string };

export interface PortRange {
  first: number;
  last: number;
}

/**
 * Hands out free loopback ports. A port belongs to its owner from reservation to release, whether or not anything
 * listens on it.
 */
export class Ports {
  readonly #range: PortRange;
  readonly #owners = new Map<number, string>();
  readonly #onEvent: (event: PortEvent) => void;
  #next: number;

  constructor(
    options: { range?: PortRange | undefined; onEvent?: ((event: PortEvent) => void) | undefined } = {},
  ) {
    this.#range = options.range ?? { first: FIRST_PORT, last: LAST_PORT };
    this.#onEvent = options.onEvent ?? (() => undefined);
    // Two runners on one machine should rarely meet.
    const { first, last } = this.#range;
    this.#next = first + Math.floor(Math.random() * (last - first + 1));
  }

  /**
   * Reserves a free port, the preferred one if it is free. Answers the same one while it is reserved.
   * Throws {@link RunnerError} `no_free_port`.
   */
  async reserve(
    owner: string,
    options: { preferred?: number | undefined; range?: PortRange } = {},
  ): Promise<number> {
    const { preferred } = options;
    const held = this.portOf(owner);
    if (held !== null && (preferred === undefined || preferred === held)) return held;
    if (held !== null) this.release(owner);
    if (preferred === undefined) return this.#find(owner, options.range);
    if (await this.#take(owner, preferred)) return preferred;
    this.#onEvent({ type: "port-conflict", owner, port: preferred, message: `Port ${preferred} is in use.` });
    return this.#replace(owner, preferred, options.range);
  }

  /** Gives up a port that another program took, and reserves a new one. */
  async reallocate(owner: string, range?: PortRange): Promise<number> {
    const lost = this.portOf(owner);
    if (lost === null) return this.#find(owner, range);
    this.release(owner);
    this.#onEvent({ type: "port-conflict", owner, port: lost, message: `Port ${lost} is in use.` });
    return this.#replace(owner, lost, range);
  }

  /** The owner's program took another port than it was told. */
  adopt(owner: string, newPort: number): void {
    const originalPort = this.portOf(owner) ?? newPort;
    this.release(owner);
    this.#owners.set(newPort, owner);
    const message = `Told to use port ${originalPort}, it listens on ${newPort}.`;
    this.#onEvent({ type: "port-reallocated", owner, originalPort, newPort, message });
  }

  release(owner: string): void {
    const port = this.portOf(owner);
    if (port !== null) this.#owners.delete(port);
  }

  portOf(owner: string): number | null {
    for (const [port, holder] of this.#owners) if (holder === owner) return port;
    return null;
  }

  async #replace(owner: string, originalPort: number, range?: PortRange): Promise<number> {
    const newPort = await this.#find(owner, range, originalPort);
    const message = `Port ${originalPort} is in use, ${newPort} takes its place.`;
    this.#onEvent({ type: "port-reallocated", owner, originalPort, newPort, message });
    return newPort;
  }

  async #find(owner: string, range: PortRange = this.#range, except?: number): Promise<number> {
    const { first, last } = range;
    const count = last - first + 1;
    // In turn, not the lowest: visitors of its former owner may still come to a port just released.
    const start = range === this.#range ? this.#next : first;
    for (let step = 0; step < count; step++) {
      const port = first + ((start - first + step) % count);
      if (port === except || !(await this.#take(owner, port))) continue;
      if (range === this.#range) this.#next = port === last ? first : port + 1;
      return port;
    }
    throw new RunnerError("no_free_port", `No port between ${first} and ${last} is free.`);
  }

  async #take(owner: string, port: number): Promise<boolean> {
    if (this.#owners.has(port)) return false;
    // Reserve first, look second: two callers at the same time must not find the same port.
    this.#owners.set(port, owner);
    if (await isFree(port)) return true;
    this.#owners.delete(port);
    return false;
  }
}

/** Whether nothing listens on a port of this machine's loopback addresses. */
export async function isFree(port: number): Promise<boolean> {
  for (const host of LOOPBACKS) if (!(await canListen(port, host))) return false;
  return true;
}

async function canListen(port: number, host: string): Promise<boolean> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, host, exclusive: true }, resolve);
    });
    return true;
  } catch (error) {
    // This machine has no such address, so nobody listens on it.
    return isSystemError(error, "EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL");
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}
