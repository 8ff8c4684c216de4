import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NAMED, PassOn } from "./pass-on.ts";

/** What leads into a guest's network, and out of it, past pasta. */
export interface Relay {
  /** Where the sockets are that both networks share; the runner's alone. */
  directory: string;
  /** Made once all of them are there. */
  ready: string;
  /** Where the guest listens, if it serves. */
  into: number | null;
  /** What it reaches of the machine's loopback, by the same number on its own. */
  out: readonly number[];
}

export const socketInto = (directory: string, port: number): string => join(directory, `into-${port}`);
/** Leads to any port of that guest. */
export const socketAny = (directory: string, port: number): string => join(directory, `any-${port}`);
export const socketOut = (directory: string, port: number): string => join(directory, `out-${port}`);

export function relayArguments({ directory, ready, into, out }: Relay): string[] {
  return [directory, ready, into === null ? "" : String(into), out.join(",")];
}

/**
 * `signalbox-runner relay`, where there is no perl, in a guest's network and out of its sight. Loopback only: pasta would do it, but Debian 12's
 * moves a large transfer on once a second.
 */
export async function serveRelay(args: readonly string[]): Promise<void> {
  const [directory = "", ready = "", into = "", out = ""] = args;
  // The guest gets the runner's patience, and its connections need this one until then. It ends with its namespace.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  if (into !== "") {
    const port = Number(into);
    await PassOn.listen({ path: socketInto(directory, port) }, { to: { port } });
    await PassOn.listen({ path: socketAny(directory, port) }, { to: NAMED });
  }
  for (const port of out
    .split(",")
    .filter((one) => one !== "")
    .map(Number))
    await PassOn.listen({ port }, { to: { path: socketOut(directory, port) } });
  // Of those that nobody waits for, there is none to delete.
  if (out !== "") await writeFile(ready, "");
}
