import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, request as send, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";

const HOST = "big.test";
const MIB = 2 ** 20;
const BODY_MIB = process.env["SIGNALBOX_SOAK"] === "1" ? 1_024 : 256;
const BODY_BYTES = BODY_MIB * MIB;
/** A pipe needs a few buffers; a body that is kept shows as hundreds of megabytes. */
const GROWTH_LIMIT_BYTES = 150 * MIB;

let stack: TestStack;
let backend: Server;

beforeAll(async () => {
  stack = await startTestStack();
  backend = createServer((request, response) => {
    if (request.url === "/down")
      return void pipeline(body(BODY_BYTES), response.setHeader("content-length", BODY_BYTES));
    if (request.url === "/down-in-chunks") return void pipeline(body(BODY_BYTES), response);
    void digest(request).then((sha256) => response.end(sha256));
  });
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  await putApp(stack, "big", { hosts: [HOST], contract: "none", healthPath: "/health" });
  await deployUrl(stack, "big", "v1", `http://127.0.0.1:${(backend.address() as AddressInfo).port}`);
});

afterAll(async () => {
  backend.closeAllConnections();
  backend.close();
  await stack.stop();
});

/** Bytes that no compression and no repeated block could stand for: each block carries its number. */
function body(size: number): Readable {
  const block = Buffer.alloc(64 * 1024, "0123456789abcdefghijklmnopqrstuvwxyz-");
  let sent = 0;
  return new Readable({
    read() {
      if (sent >= size) return void this.push(null);
      const next = Buffer.from(block);
      next.writeDoubleBE(sent);
      sent += next.length;
      this.push(next);
    },
  });
}

async function digest(stream: Readable): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Resident memory of workerd itself, which is a child of the shell that guards it. */
async function residentBytes(): Promise<number> {
  const { pid } = stack.workerd;
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(/\s+/);
  for (const child of children) {
    const status = await readFile(`/proc/${child}/status`, "utf8");
    if (!/^Name:\s+workerd/m.test(status)) continue;
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024;
  }
  throw new Error(`The guard ${pid} has no workerd among its children ${children.join()}.`);
}

/** Runs a transfer and says by how much workerd's memory grew at most while it ran. */
async function growthDuring<T>(transfer: Promise<T>): Promise<{ result: T; before: number; growth: number }> {
  const before = await residentBytes();
  let most = before;
  const done = new AbortController();
  const watching = (async () => {
    while (!done.signal.aborted) {
      most = Math.max(most, await residentBytes());
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  try {
    const result = await transfer;
    return { result, before, growth: most - before };
  } finally {
    done.abort();
    await watching;
  }
}

async function open(
  method: string,
  path: string,
  source: Readable | null,
  length: boolean,
): Promise<IncomingMessage> {
  const request = send({
    host: "127.0.0.1",
    port: stack.port,
    method,
    path,
    headers: { host: HOST, ...(length ? { "content-length": BODY_BYTES } : {}) },
  });
  const answered = once(request, "response");
  if (source) await pipeline(source, request);
  else request.end();
  const [response]: IncomingMessage[] = await answered;
  if (!response) throw new Error("no answer");
  return response;
}

async function upload(length: boolean): Promise<string> {
  const response = await open("POST", "/up", body(BODY_BYTES), length);
  return Buffer.concat(await response.toArray()).toString();
}

async function download(path: string): Promise<string> {
  return digest(await open("GET", path, null, false));
}

const transfers: [string, () => Promise<string>][] = [
  ["up, of known length", () => upload(true)],
  ["up, in chunks", () => upload(false)],
  ["down, of known length", () => download("/down")],
  ["down, in chunks", () => download("/down-in-chunks")],
];

test.each(transfers)(
  `${BODY_MIB} MiB %s arrives byte for byte while workerd's memory stays flat`,
  async (name, transfer) => {
    const expected = await digest(body(BODY_BYTES));
    await (await open("GET", "/health", null, false)).toArray();
    const start = performance.now();
    const { result, before, growth } = await growthDuring(transfer());
    const seconds = (performance.now() - start) / 1_000;
    console.log(
      `${BODY_MIB} MiB ${name}: ${(BODY_MIB / seconds).toFixed(0)} MiB/s, workerd ${(before / MIB).toFixed(0)} MiB + ${(growth / MIB).toFixed(1)} MiB`,
    );
    expect(result).toBe(expected);
    expect(growth).toBeLessThan(GROWTH_LIMIT_BYTES);
  },
);
