import { setTimeout as sleep } from "node:timers/promises";
import { listeningPorts } from "../processes/listeners.ts";
import type { Quarry } from "../processes/process-table.ts";

const LOOK_MS = 500;
/** Helpers of a server listen before it does: a port counts once nothing else has changed for so many looks. */
const LOOKS_NEEDED = 4;

/**
 * The port on which a command listens instead of the one that it was told, once it is plain that it won't take that one:
 * it keeps one port for a while and no other. Never resolves for one that obeys.
 */
export async function portElsewhere(
  quarry: Quarry,
  told: number,
  signal: AbortSignal,
  portsOf = listeningPorts,
): Promise<number> {
  let candidate: number | null = null;
  for (let looks = 0; ;) {
    await sleep(LOOK_MS, undefined, { signal });
    const ports = await portsOf(quarry);
    const [only] = ports;
    const found = ports.size === 1 && only !== undefined && only !== told ? only : null;
    looks = found !== null && found === candidate ? looks + 1 : 0;
    candidate = found;
    if (candidate !== null && looks >= LOOKS_NEEDED - 1) return candidate;
  }
}
