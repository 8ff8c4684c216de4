import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { STALLED_READER_MS } from "../../functions/protocol/limits.ts";
import { buildExecutable, bundleRunner } from "../../scripts/build/runner.ts";
import { bytePattern, hashOfPattern } from "../helpers/byte-pattern.ts";
import { putApp } from "../helpers/deploy.ts";
import { startRunner, viewRunner, type RunnerProcess } from "../helpers/runner.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";
import { standsStill } from "../helpers/stands-still.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const MIB = 1024 * 1024;
const TRANSFER_BYTES = (soak ? 1_024 : 256) * MIB;
const RUNNER_LIMIT_MIB = 100;
const SOCKETS = 1_000;
const HOST = "scale.test";

let stack: TestStack;
let runner: RunnerProcess;
let bundles: string;

beforeAll(async () => {
  stack = await startTestStack();
  // As it is shipped: node's own stripping of types takes 40 MiB.
  bundles = await mkdtemp(join(tmpdir(), "signalbox-bundle-"));
  const executable = await buildExecutable(await bundleRunner(bundles), bundles);
  runner = await startRunner(stack, { id: "r1", command: [executable] });
  await putApp(stack, "scale", { hosts: [HOST] });
  await deployTunnelApp(stack, runner, "scale", "v1");
});

afterAll(async () => {
  await runner.remove();
  await stack.stop();
  await rm(bundles, { recursive: true, force: true });
});

test(`${TRANSFER_BYTES / MIB} MiB go through the tunnel each way whole, and the runner stays small`, async () => {
  const expected = hashOfPattern(TRANSFER_BYTES);
  const before = runner.allocatedMiB();
  const memory = watchMemory();
  const downAt = performance.now();
  const hash = createHash("sha256");
  for await (const chunk of await get(`/bytes?count=${TRANSFER_BYTES}`)) hash.update(chunk);
  expect(hash.digest("hex")).toBe(expected);
  const upAt = performance.now();
  const upload = request(`${stack.origin}/hash`, { method: "PUT", headers: { host: HOST } });
  const answered = answerOf(upload);
  await pipeline(Readable.from(bytePattern(TRANSFER_BYTES)), upload);
  expect(await json(await answered)).toEqual({ sha256: expected, bytes: TRANSFER_BYTES });
  const endAt = performance.now();
  const peak = memory.stop();
  const rate = (ms: number): string => `${(TRANSFER_BYTES / 1e6 / (ms / 1_000)).toFixed(0)} MB/s`;
  console.log(
    `down ${rate(upAt - downAt)}, up ${rate(endAt - upAt)}; the runner from ${before.toFixed(0)} to at most ${peak.toFixed(0)} MiB`,
  );
  expect(peak).toBeLessThan(RUNNER_LIMIT_MIB);
});

test("a reader that doesn't read holds up nobody else", async () => {
  const bytes = 32 * MIB;
  const alone = await timeDownload(bytes);
  // More than the connection's credit holds if each took a window of its own.
  const stuck = await Promise.all(Array.from({ length: 20 }, () => get(`/bytes?count=${64 * MIB}`)));
  try {
    for (const answer of stuck) answer.pause();
    await standsStill(() => stuck.reduce((sum, { socket }) => sum + socket.bytesRead, 0));
    const beside = await timeDownload(bytes);
    console.log(
      `${bytes / MIB} MiB alone ${alone.toFixed(0)} ms, beside 20 stuck readers ${beside.toFixed(0)} ms: ` +
        `ratio ${(beside / alone).toFixed(2)}`,
    );
    // Generous: a stream that waited for a stuck one would take until that is given up.
    expect(beside).toBeLessThan(Math.max(alone * 5, STALLED_READER_MS * 0.75));
  } finally {
    for (const answer of stuck) answer.destroy();
  }
  await streamsAreOver();
});

test(`${SOCKETS} idle public WebSockets stay open and answer`, async () => {
  const before = runner.allocatedMiB();
  const sockets: WebSocket[] = [];
  try {
    while (sockets.length < SOCKETS) {
      sockets.push(...(await Promise.all(Array.from({ length: 50 }, openSocket))));
    }
    const after = runner.allocatedMiB();
    // Nothing happens, which is what they have to outlast.
    await new Promise((resolve) => setTimeout(resolve, soak ? 60_000 : 5_000));
    expect(sockets.filter(({ readyState }) => readyState !== WebSocket.OPEN)).toEqual([]);
    const startedAt = performance.now();
    const echoes = await Promise.all(sockets.map((socket, index) => echo(socket, `message ${index}`)));
    const tookMs = performance.now() - startedAt;
    expect(echoes).toEqual(sockets.map((_, index) => `message ${index}`));
    console.log(
      `${SOCKETS} sockets: the runner from ${before.toFixed(0)} to ${after.toFixed(0)} MiB; ` +
        `all of them echoed within ${tookMs.toFixed(0)} ms`,
    );
  } finally {
    for (const socket of sockets) socket.terminate();
  }
  await streamsAreOver();
});

test("a server-sent event arrives before the next one is produced", async () => {
  const answer = (await get("/listen")).on("error", () => undefined);
  const chunks = answer[Symbol.asyncIterator]();
  for (let event = 1; event <= 5; event += 1) {
    await (await get(`/say?count=${event}`)).toArray();
    for (let text = ""; !text.includes(`data: ${event}\n\n`);) text += String((await chunks.next()).value);
  }
  // Only a reset is seen while nothing is being sent.
  answer.socket.resetAndDestroy();
  await streamsAreOver();
});

test("a secret is rotated on two runners, one after the other, and no request fails", async () => {
  const former = "runner-secret-before-rotation";
  // As it is once the Worker has both: giving them to it restarts it, which no runner and no test can soften.
  const both = await startTestStack({ settings: { RUNNER_SHARED_SECRET_PREVIOUS: former } });
  const only = await startTestStack();
  const rotated: RunnerProcess[] = [];
  const over = new AbortController();
  const answers = new Map<string, number>();
  try {
    await putApp(both, "rotated", { hosts: [HOST] });
    for (const id of ["r1", "r2"]) {
      const one = await startRunner(both, { id, env: { RUNNER_SHARED_SECRET: former } });
      rotated.push(one);
      await deployTunnelApp(both, one, "rotated", id === "r1" ? "v1" : "v2");
    }
    const visitor = async (): Promise<void> => {
      while (!over.signal.aborted) {
        const { status, text } = await both.request(HOST, "/x");
        const what = status === 200 ? text : `${status} ${text}`;
        answers.set(what, (answers.get(what) ?? 0) + 1);
      }
    };
    const visitors = Promise.all([visitor(), visitor(), visitor(), visitor()]);
    // A deployment is on one runner: what serves is moved to the other before the one restarts.
    const [first, second] = rotated;
    await first?.stop();
    await first?.start({ RUNNER_SHARED_SECRET: RUNNER_SECRET });
    await until(
      () => both.request(HOST, "/y?pulse_deployment=v1"),
      ({ status }) => status === 200,
    );
    await both.api("POST", "/apps/rotated/deployments/v1/promote");
    const served = (): number => answers.get("v1 /x") ?? 0;
    await until(served, (count) => count > 0);
    // Until then a table from before the promotion may lead there.
    await standsStill(() => answers.get("v2 /x") ?? 0);
    await second?.stop();
    await second?.start({ RUNNER_SHARED_SECRET: RUNNER_SECRET });
    over.abort();
    await visitors;
    console.log(`while the secret was rotated: ${JSON.stringify(Object.fromEntries(answers))}`);
    expect([...answers.keys()].sort((one, other) => one.localeCompare(other))).toEqual(["v1 /x", "v2 /x"]);
    expect(await knock(both, former)).toBe(426);
    expect(await knock(only, former)).toBe(401);
    expect(await knock(only, RUNNER_SECRET)).toBe(426);
  } finally {
    over.abort();
    for (const one of rotated) await one.remove();
    await Promise.all([both.stop(), only.stop()]);
  }
});

/** What a runner's socket says to somebody who has a secret and is no WebSocket. */
async function knock(at: TestStack, secret: string): Promise<number> {
  const headers = { authorization: `Bearer ${secret}` };
  return (await fetch(`${at.origin}/_signalbox/socket?runnerId=knock`, { headers })).status;
}

async function timeDownload(bytes: number): Promise<number> {
  const startedAt = performance.now();
  let received = 0;
  for await (const chunk of await get(`/bytes?count=${bytes}`)) received += Buffer.byteLength(chunk);
  expect(received).toBe(bytes);
  return performance.now() - startedAt;
}

/** On a connection of its own, so that no reader shares one with another. */
function get(path: string): Promise<IncomingMessage> {
  const asked = request(`${stack.origin}${path}`, { headers: { host: HOST }, agent: false });
  const answered = answerOf(asked);
  asked.end();
  return answered;
}

function answerOf(asked: ReturnType<typeof request>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    asked.on("error", reject).on("response", (answer) => {
      if (answer.statusCode === 200) resolve(answer);
      else reject(new Error(`It answered ${answer.statusCode}`));
    });
  });
}

function openSocket(): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/socket`, {
      headers: { host: HOST },
      perMessageDeflate: false,
    });
    socket.once("open", () => resolve(socket)).on("error", reject);
  });
}

function echo(socket: WebSocket, text: string): Promise<string> {
  return new Promise((resolve) => {
    socket.once("message", (data: Buffer) => resolve(data.toString()));
    socket.send(text);
  });
}

function watchMemory(): { stop(): number } {
  let peak = runner.allocatedMiB();
  const timer = setInterval(() => {
    peak = Math.max(peak, runner.allocatedMiB());
  }, 50);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}

const openStreams = z.object({ openStreams: z.number() });

async function streamsAreOver(): Promise<void> {
  await until(
    async () => openStreams.parse((await stack.api("GET", "/runners/r1")).body).openStreams,
    (open) => open === 0,
  );
  expect((await viewRunner(stack, "r1")).epoch).toBe(1);
}
