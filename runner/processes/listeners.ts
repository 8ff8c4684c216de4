import { existsSync } from "node:fs";
import { readdir, readFile, readlink } from "node:fs/promises";
import { findProcesses, type Quarry } from "./process-table.ts";

/** Source: Linux, include/net/tcp_states.h. */
const LISTEN = "0A";

/** Whether this host shows who listens. */
export const showsListeners = existsSync("/proc/self/net/tcp");

/** The TCP ports that processes of a command listen on, as its own network has them. */
export async function listeningPorts(quarry: Quarry): Promise<Set<number>> {
  const found = new Set<number>();
  const tables = new Map<string, Map<string, number>>();
  for (const { pid } of await findProcesses(quarry)) {
    const network = await readlink(`/proc/${pid}/ns/net`).catch(() => null); // it ended meanwhile
    if (network === null) continue;
    let table = tables.get(network);
    if (table === undefined) tables.set(network, (table = await listenersSeenBy(pid)));
    if (table.size === 0) continue;
    for (const inode of await socketsOf(pid)) {
      const port = table.get(inode);
      if (port !== undefined) found.add(port);
    }
  }
  return found;
}

/** Ports by the socket's inode. */
async function listenersSeenBy(pid: number): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  for (const name of ["tcp", "tcp6"]) {
    const text = await readFile(`/proc/${pid}/net/${name}`, "latin1").catch(() => ""); // it ended meanwhile
    for (const line of text.split("\n").slice(1)) {
      const [, local = "", , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === LISTEN && inode !== undefined)
        ports.set(inode, Number.parseInt(local.split(":")[1] ?? "", 16));
    }
  }
  return ports;
}

async function socketsOf(pid: number): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch(() => []); // it ended meanwhile, or is another user's
  const links = await Promise.all(names.map((name) => readlink(`${directory}/${name}`).catch(() => ""))); // closed meanwhile
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
}
