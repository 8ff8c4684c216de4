import { WebSocket } from "ws";
import { RUNNER_SUBPROTOCOL } from "../../functions/protocol/limits.ts";
import { startRedis } from "../helpers/redis.ts";
import { commandOf, residentMiB } from "../helpers/program.ts";
import { viewRunner } from "../helpers/runner.ts";
import { RUNNER_SECRET, startTestStack, until } from "../helpers/stack.ts";
import { startUpstashFront } from "../helpers/upstash-front.ts";

const RUNNERS = Number(process.env["BENCH_RUNNERS"] ?? 2_000);
const CONNECTING_AT_ONCE = 50;
/** A quarter of the production values, so that a run takes a minute and not five. */
const STATUS_INTERVAL_MS = 4_000;
const LOST_AFTER_MS = 20_000;
const QUIET_SECONDS = 15;

export interface FleetResults {
  runners: number;
  connectSeconds: number;
  /** workerd's growth by each idle runner. */
  kibPerRunner: number;
  /** While all of them send heartbeats and nothing changes. */
  storeCommandsInQuiet: number;
  quietSeconds: number;
  lostAfterMs: number;
  /** From a runner's last word until it is shown as lost. */
  shownLostAfterMs: number;
}

/** Many runners on one workerd: real sockets, clients that do nothing but live. */
export async function benchFleet(): Promise<FleetResults> {
  const cleanUps: (() => Promise<unknown> | void)[] = [];
  try {
    const redis = await startRedis();
    cleanUps.push(() => redis.stop());
    const front = await startUpstashFront({ redisPort: redis.port, token: "token-for-the-bench" });
    cleanUps.push(() => front.close());
    const stack = await startTestStack({
      upstash: front,
      settings: { RUNNER_LOST_AFTER_MS: String(LOST_AFTER_MS) },
    });
    cleanUps.push(() => stack.stop());
    const edge = commandOf(stack.workerd.pid);
    // A first one has everything loaded that all of them share.
    const silent = await connect(stack.port, "silent");
    const before = residentMiB(edge);
    const startedAt = performance.now();
    const sockets = [silent];
    cleanUps.push(() => sockets.forEach((socket) => socket.terminate()));
    // Spread evenly, as those of real runners are by their starts.
    let turn = 0;
    const every = STATUS_INTERVAL_MS / 100;
    const beats = setInterval(() => {
      for (let index = turn % every; index < sockets.length; index += every) tell(sockets[index]);
      turn += 1;
    }, 100);
    cleanUps.push(() => clearInterval(beats));
    while (sockets.length <= RUNNERS) {
      const first = sockets.length;
      const batch = Math.min(CONNECTING_AT_ONCE, RUNNERS + 1 - first);
      const ids = Array.from({ length: batch }, (_, index) => `runner-${first + index}`);
      sockets.push(...(await Promise.all(ids.map((id) => connect(stack.port, id)))));
    }
    const connectSeconds = (performance.now() - startedAt) / 1_000;
    const after = residentMiB(edge);
    await sleep(STATUS_INTERVAL_MS);
    sockets.shift();
    tell(silent);
    const lastWordAt = Date.now();
    const commands = front.commands();
    await sleep(QUIET_SECONDS * 1_000);
    const storeCommandsInQuiet = front.commands() - commands;
    await until(
      () => viewRunner(stack, "silent"),
      ({ state }) => state === "lost",
      LOST_AFTER_MS * 2,
    );
    const shownLostAfterMs = Date.now() - lastWordAt;
    const open = sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length;
    if (open < RUNNERS) throw new Error(`Only ${open} of ${RUNNERS} runners are still connected.`);
    return {
      runners: RUNNERS,
      connectSeconds: Math.round(connectSeconds * 10) / 10,
      kibPerRunner: Math.round(((after - before) * 1_024) / RUNNERS),
      storeCommandsInQuiet,
      quietSeconds: QUIET_SECONDS,
      lostAfterMs: LOST_AFTER_MS,
      shownLostAfterMs,
    };
  } finally {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  }
}

export function printFleet(fleet: FleetResults): void {
  console.log(
    `\n${fleet.runners} runners on one workerd: connected in ${fleet.connectSeconds} s, ${fleet.kibPerRunner} KiB each; ` +
      `${fleet.storeCommandsInQuiet} store commands in ${fleet.quietSeconds} s of heartbeats; ` +
      `a silent one is shown lost after ${(fleet.shownLostAfterMs / 1_000).toFixed(1)} s ` +
      `(the limit was set to ${fleet.lostAfterMs / 1_000} s)`,
  );
}

function connect(port: number, id: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const url = `ws://127.0.0.1:${port}/_signalbox/socket?runnerId=${id}`;
    const socket = new WebSocket(url, RUNNER_SUBPROTOCOL, {
      headers: { authorization: `Bearer ${RUNNER_SECRET}` },
      perMessageDeflate: false,
    });
    socket.on("error", reject);
    socket.once("open", () => {
      tell(socket);
      resolve(socket);
    });
  });
}

function tell(socket: WebSocket | undefined): void {
  const timestamp = new Date().toISOString();
  socket?.send(JSON.stringify({ type: "runner-status", timestamp, payload: { status: "online" } }));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
