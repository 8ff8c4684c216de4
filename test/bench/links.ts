import { get, request, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { putApp } from "../helpers/deploy.ts";
import { startFarProxy, type FarProxyOptions } from "../helpers/far-proxy.ts";
import { startRunner } from "../helpers/runner.ts";
import { archiveOf } from "../helpers/archive.ts";
import { deploy, TUNNEL_APP, uploadSource } from "../helpers/runner-deployments.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";
import { median } from "./load.ts";
import { BIG_BYTES, type Nginx } from "./nginx.ts";

const MB = 1e6;
const UPLOAD_BYTES = 128 * 1024 * 1024;

const LINKS: { name: string; proxy: FarProxyOptions }[] = [
  // The same proxy without a distance: what this machine can do today.
  { name: "0 ms, 50 MB/s", proxy: { delayMs: 0, bytesPerSecond: 50 * MB } },
  { name: "100 ms, 50 MB/s", proxy: { delayMs: 50, bytesPerSecond: 50 * MB } },
  {
    name: "300 ms, 50 MB/s, 200 ms of each second lost",
    proxy: { delayMs: 150, bytesPerSecond: 50 * MB, stalls: { everyMs: 1_000, ms: 200 } },
  },
];

interface LinkRow {
  link: string;
  /** Of one stream alone. */
  downMegabytesPerSecond: number;
  upMegabytesPerSecond: number;
  /** Beside one that nobody reads. */
  besideMegabytesPerSecond: number;
}

/** What one stream gets out of a link that is long, or long and bad: its window has to grow. */
export async function benchLinks(options: {
  nginx: Nginx;
  runner: string;
  rounds: number;
}): Promise<LinkRow[]> {
  const { nginx, runner: executable, rounds } = options;
  const rows: LinkRow[] = [];
  for (const { name, proxy: link } of LINKS) {
    const stack = await startTestStack({ settings: { ROUTE_TTL_MS: "5000" } });
    const proxy = await startFarProxy(stack.port, link);
    const runner = await startRunner(stack, { id: "far", command: [executable], port: proxy.port });
    try {
      const sha256 = await uploadSource(stack, "far", await archiveOf({ "README.md": "A bench.\n" }));
      for (const [app, start] of [
        ["far", nginx.backendCommand],
        ["sink", TUNNEL_APP],
      ] as const) {
        await putApp(stack, app, { hosts: [`${app}.test`], contract: "none" });
        await deploy(stack, app, "v1", { sha256, runnerId: "far", start });
        await stack.control.until(app, "v1", ["active"], 60_000);
      }
      const down: number[] = [];
      const up: number[] = [];
      const beside: number[] = [];
      for (let round = 0; round < rounds; round++) {
        down.push(await download(stack));
        up.push(await upload(stack));
        const stuck = await ask(stack);
        stuck.pause();
        beside.push(await download(stack));
        stuck.destroy();
      }
      rows.push({
        link: name,
        downMegabytesPerSecond: Math.round(median(down)),
        upMegabytesPerSecond: Math.round(median(up)),
        besideMegabytesPerSecond: Math.round(median(beside)),
      });
    } finally {
      await runner.remove();
      await proxy.close();
      await stack.stop();
    }
  }
  return rows;
}

export function printLinks(rows: LinkRow[]): void {
  console.log(
    "\none stream over a link, MB/s                     down      up   down beside one that is stuck",
  );
  for (const row of rows) {
    console.log(
      row.link.padEnd(46),
      String(row.downMegabytesPerSecond).padStart(6),
      String(row.upMegabytesPerSecond).padStart(7),
      String(row.besideMegabytesPerSecond).padStart(31),
    );
  }
}

function ask(stack: TestStack): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(`${stack.origin}/big`, { headers: { host: "far.test" }, agent: false }, resolve).on("error", reject);
  });
}

async function download(stack: TestStack): Promise<number> {
  const startedAt = performance.now();
  const answer = await ask(stack);
  let received = 0;
  answer.on("data", (chunk: Buffer) => (received += chunk.length));
  await new Promise((resolve, reject) => answer.on("end", resolve).on("error", reject));
  if (received !== BIG_BYTES) throw new Error(`${received} bytes arrived instead of ${BIG_BYTES}.`);
  return BIG_BYTES / MB / ((performance.now() - startedAt) / 1_000);
}

async function upload(stack: TestStack): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024);
  const startedAt = performance.now();
  const sent = request(`${stack.origin}/nonce`, {
    method: "PUT",
    headers: { host: "sink.test", "content-length": UPLOAD_BYTES },
    agent: false,
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    sent.on("response", resolve).on("error", reject);
  });
  await pipeline(
    Readable.from(
      (function* chunks() {
        for (let bytes = 0; bytes < UPLOAD_BYTES; bytes += chunk.length) yield chunk;
      })(),
    ),
    sent,
  );
  (await answered).resume();
  return UPLOAD_BYTES / MB / ((performance.now() - startedAt) / 1_000);
}
