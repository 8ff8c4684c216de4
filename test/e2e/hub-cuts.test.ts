import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { until } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

const HOST = "cuts.test";
const CUTS = process.env["SIGNALBOX_SOAK"] === "1" ? 200 : 20;
const CLIENTS = 16;

let world: UpstashStack;
let backend: Server;
const download = randomBytes(400_000);
const upload = randomBytes(300_000);

function sha(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

beforeAll(async () => {
  world = await onUpstash();
  backend = createServer((request, response) => {
    const received: Buffer[] = [];
    request.on("data", (chunk: Buffer) => received.push(chunk));
    request.on("end", () => {
      if (request.url === "/down")
        response.writeHead(200, { "content-length": download.length }).end(download);
      else if (request.url === "/chunked") {
        response.write(download.subarray(0, 200_000));
        setTimeout(() => response.end(download.subarray(200_000)), 5);
      } else if (request.url === "/up") response.end(sha(Buffer.concat(received)));
      else response.end(`small ${request.url}`);
    });
    request.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
  await putRunnerApp(world.store, { app: "cuts", host: HOST, runnerId: "r1", service: "web" });
});

afterAll(async () => {
  await world.stop();
  backend.closeAllConnections();
  backend.close();
});

type Outcome = "right" | "broken off" | "refused cleanly";

async function visit(path: string): Promise<Outcome> {
  const body = path === "/up" ? upload : Buffer.alloc(0);
  const head =
    `${path === "/up" ? "POST" : "GET"} ${path} HTTP/1.1\r\nhost: ${HOST}\r\n` +
    (path === "/up" ? `content-length: ${body.length}\r\n\r\n` : "\r\n");
  let answer: RawAnswer;
  try {
    answer = await rawRequest(world.stack.port, Buffer.concat([Buffer.from(head), body]));
  } catch {
    return "broken off"; // before there was a head
  }
  if (answer.status === 502 || answer.status === 503) {
    expect(answer.complete).toBe(true);
    expect(["stream_reset", "runner_offline", "upstream_unreachable"]).toContain(
      JSON.parse(answer.body.toString()).code,
    );
    return "refused cleanly";
  }
  expect(answer.status).toBe(200);
  if (!answer.complete) return "broken off";
  const wanted =
    path === "/up" ? sha(upload) : path.startsWith("/small") ? `small ${path}` : download.toString("latin1");
  expect(answer.body.toString("latin1") === wanted, `a wrong body that looked complete: ${path}`).toBe(true);
  return "right";
}

test(`${CUTS} cuts of the runner's connection under load leave no request without its end`, async () => {
  const { port } = backend.address() as AddressInfo;
  let runner: TunnelClient = await connectRunner(world.stack, "r1", { web: port });
  const outcomes = new Map<Outcome, number>();
  const over = new AbortController();
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let number = client; !over.signal.aborted; number++) {
      const path = ["/down", "/up", "/chunked", `/small${number}`][number % 4] ?? "/";
      const outcome = await visit(path);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
  for (let cut = 0; cut < CUTS; cut++) {
    await new Promise((resolve) => setTimeout(resolve, 30 + Math.random() * 120));
    // A cable that is pulled, an orderly end and a second connection, in turn.
    const former = runner;
    if (cut % 3 === 0) former.socket.terminate();
    if (cut % 3 === 1) void former.close();
    runner = await connectRunner(world.stack, "r1", { web: port });
  }
  // Those that are under way end before it does.
  const right = outcomes.get("right") ?? 0;
  await until(
    () => outcomes.get("right") ?? 0,
    (count) => count >= right + 2 * CLIENTS,
  );
  over.abort();
  await Promise.all(clients);
  console.log(`${CUTS} cuts:`, Object.fromEntries(outcomes));
  expect(outcomes.get("right")).toBeGreaterThan(CUTS);
  expect((outcomes.get("refused cleanly") ?? 0) + (outcomes.get("broken off") ?? 0)).toBeGreaterThan(0);
  // Nothing is left behind, and all credit is back: as much goes through as before.
  await until(
    async () => (await world.stack.api("GET", "/runners/r1")).body["openStreams"],
    (open) => open === 0,
  );
  for (let number = 0; number < 60; number++) expect(await visit("/down")).toBe("right");
  await runner.close();
});
