import { once } from "node:events";
import { createServer } from "node:net";

/** Below every common system's range for outgoing connections, which take ports at any moment; above the runner's. */
const FIRST_PORT = 25_000;
const PORTS = 7_000;
const ATTEMPTS = 50;

/** Given to a program that may not listen yet: to everybody else they look free. */
const given = new Set<number>();
/** The longest that a program takes to listen, on a busy machine. */
const START_MS = 60_000;

/** A loopback port for a program that can't be told to find one itself. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (given.has(port)) continue;
    given.add(port);
    setTimeout(() => given.delete(port), START_MS).unref();
    const server = createServer();
    try {
      await once(server.listen(port, "127.0.0.1"), "listening");
    } catch {
      continue; // somebody has it
    }
    server.close();
    await once(server, "close");
    return port;
  }
  throw new Error(`None of ${ATTEMPTS} ports from ${FIRST_PORT} on was free.`);
}
