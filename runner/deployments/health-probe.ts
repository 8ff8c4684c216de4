import { request } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A server that is up answers in milliseconds; a first request that compiles something takes seconds. */
const ATTEMPT_LIMIT_MS = 5_000;
const FIRST_DELAY_MS = 50;
const DELAY_LIMIT_MS = 1_000;

/** Asks until the port accepts a connection, or the path answers 200 to 399; false once the deadline has passed. */
export async function waitUntilReady(options: {
  port: number;
  healthPath: string | undefined;
  limitMs: number;
  signal: AbortSignal;
}): Promise<boolean> {
  const { port, healthPath, signal } = options;
  const deadline = performance.now() + options.limitMs;
  for (let pause = FIRST_DELAY_MS; ; pause = Math.min(2 * pause, DELAY_LIMIT_MS)) {
    const remaining = Math.ceil(deadline - performance.now());
    if (remaining <= 0) return false;
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(Math.min(ATTEMPT_LIMIT_MS, remaining))]);
    const isReady = await (healthPath === undefined
      ? accepts(port, attempt)
      : answers(port, healthPath, attempt));
    if (isReady) return true;
    await sleep(Math.min(pause, remaining), undefined, { signal });
  }
}

function accepts(port: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", signal });
    socket.once("connect", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.once("close", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

function answers(port: number, path: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ port, host: "127.0.0.1", path, agent: false, signal }, (response) => {
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400);
      // The body is of no interest and may never end.
      asked.destroy();
    });
    asked.on("error", () => resolve(false));
    asked.once("close", () => resolve(false));
    asked.end();
  });
}
