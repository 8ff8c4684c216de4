import { stat } from "node:fs/promises";
import { startRunner } from "../helpers/runner.ts";
import { median } from "./load.ts";
import { freePort } from "../../scripts/local/free-port.ts";

const STARTS = 7;
/** By then what only starting needed has been collected, as far as it will be. */
const IDLE_MS = 2_000;

export interface ExecutableResults {
  bytes: number;
  /** Median from the start of the process to the first answer of `/health`. */
  startToHealthMs: number;
  idleResidentMiB: number;
  /** Without the pages of the executable, which every process of it shares. */
  idleAllocatedMiB: number;
}

/** The runner as one executable, on its own: nobody answers where it dials. */
export async function benchExecutable(file: string, directory: string): Promise<ExecutableResults> {
  const starts: number[] = [];
  const resident: number[] = [];
  const allocated: number[] = [];
  for (let turn = 0; turn <= STARTS; turn++) {
    const port = await freePort();
    const startedAt = performance.now();
    const nobody = { url: "ws://127.0.0.1:9/_signalbox/socket" };
    const runner = await startRunner(nobody, {
      command: [file],
      parent: directory,
      env: { HEALTH_PORT: String(port) },
    });
    try {
      await answers(port);
      // The first start reads the file from disk.
      if (turn > 0) starts.push(performance.now() - startedAt);
      if (turn === STARTS) {
        await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
        resident.push(runner.residentMiB());
        allocated.push(runner.allocatedMiB());
      }
    } finally {
      await runner.remove();
    }
  }
  return {
    bytes: (await stat(file)).size,
    startToHealthMs: Math.round(median(starts)),
    idleResidentMiB: Math.round(median(resident)),
    idleAllocatedMiB: Math.round(median(allocated)),
  };
}

export function printExecutable({
  bytes,
  startToHealthMs,
  idleResidentMiB,
  idleAllocatedMiB,
}: ExecutableResults): void {
  console.log(
    `\nThe runner's executable: ${(bytes / 1024 ** 2).toFixed(0)} MiB, ${startToHealthMs} ms from its start to /health, ` +
      `${idleResidentMiB} MiB resident when idle, ${idleAllocatedMiB} MiB of them allocated`,
  );
}

async function answers(port: number): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => null);
    await response?.body?.cancel();
    if (response?.ok === true) return;
    if (Date.now() > deadline) throw new Error("The runner's executable doesn't answer /health.");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
