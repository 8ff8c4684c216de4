import { request, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES } from "../../functions/protocol/limits.ts";
import { bytePattern } from "../helpers/byte-pattern.ts";
import { putApp } from "../helpers/deploy.ts";
import { startFarProxy, type FarProxy } from "../helpers/far-proxy.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** A runner that is 300 ms away, so that a window of 1 MiB would be used up and waited for. */
const MIB = 1024 * 1024;
const HOST = "far.test";

let stack: TestStack;
let proxy: FarProxy;
let runner: RunnerProcess;

beforeAll(async () => {
  stack = await startTestStack();
  proxy = await startFarProxy(stack.port, { delayMs: 150 });
  runner = await startRunner(stack, { id: "far", port: proxy.port });
  await putApp(stack, "far", { hosts: [HOST] });
  await deployTunnelApp(stack, runner, "far", "v1");
});

afterAll(async () => {
  await runner.remove();
  await proxy.close();
  await stack.stop();
});

function ask(method: string, path: string, body?: Readable): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(`${stack.origin}${path}`, { method, headers: { host: HOST }, agent: false });
    asked.on("response", resolve).on("error", reject);
    if (body === undefined) asked.end();
    else pipeline(body, asked).catch(reject);
  });
}

async function download(bytes: number): Promise<void> {
  let received = 0;
  for await (const chunk of await ask("GET", `/bytes?count=${bytes}`)) received += Buffer.byteLength(chunk);
  expect(received).toBe(bytes);
}

describe.each([
  ["alone", 0],
  ["beside readers that take nothing", 3],
])("the window of a stream that is taken, %s,", (_, stuckReaders) => {
  test("grows in both directions, and the connection's is kept", async () => {
    const stuck = await Promise.all(
      Array.from({ length: stuckReaders }, () => ask("GET", `/bytes?count=${64 * MIB}`)),
    );
    try {
      for (const answer of stuck) answer.pause();
      // What those take up is there before anything is counted.
      if (stuckReaders > 0)
        await until(
          () => proxy.mostUnderWay().there,
          (bytes) => bytes < MIB / 4,
        );
      proxy.mostUnderWay();
      await download(24 * MIB);
      const { there } = proxy.mostUnderWay();
      expect(there).toBeGreaterThan(1.25 * STREAM_WINDOW_BYTES);
      expect(there).toBeLessThan(CONNECTION_WINDOW_BYTES);
      const answer = await ask("PUT", "/nonce?nonce=1", Readable.from(bytePattern(24 * MIB)));
      expect(await json(answer)).toMatchObject({ bytes: 24 * MIB });
      const { back } = proxy.mostUnderWay();
      expect(back).toBeGreaterThan(1.25 * STREAM_WINDOW_BYTES);
      expect(back).toBeLessThan(CONNECTION_WINDOW_BYTES);
    } finally {
      for (const answer of stuck) answer.destroy();
    }
    await until(
      async () => (await stack.api("GET", "/runners/far")).body["openStreams"],
      (open) => open === 0,
    );
  });
});
