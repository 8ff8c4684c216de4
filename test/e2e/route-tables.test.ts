import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { header, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Stands in for the store's REST front where only its silence matters; what it says is that there is no app. */
let front: Server;
let waiting: ServerResponse[] = [];
let calls = 0;
let mode: "answer" | "hang" | "fail" = "answer";
let stack: TestStack;
/** Keeps its tables for longer than any machine takes to let a hundred visitors in. */
let lasting: TestStack;

beforeAll(async () => {
  front = createServer((request, response) => {
    request.resume();
    calls += 1;
    if (mode === "hang") waiting.push(response);
    else respond(response);
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  const url = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
  [stack, lasting] = await Promise.all([
    startTestStack({ upstash: { url, token: "x" } }),
    startTestStack({ upstash: { url, token: "x" }, settings: { ROUTE_TTL_MS: "60000" } }),
  ]);
});

beforeEach(() => {
  mode = "answer";
  waiting = [];
  calls = 0;
});

afterAll(async () => {
  front.closeAllConnections();
  front.close();
  await Promise.all([stack.stop(), lasting.stop()]);
});

function respond(response: ServerResponse): void {
  response.writeHead(mode === "fail" ? 500 : 200, { "content-type": "application/json" });
  response.end(mode === "fail" ? '{"error":"down"}' : '{"result":null}');
}

function get(host: string, from = stack): Promise<RawAnswer> {
  return rawRequest(from.port, rawGet(host, "/"));
}

test("a hundred visitors of a new host make one store call between them", async () => {
  mode = "hang";
  const visitors = Array.from({ length: 100 }, () => get("busy.test", lasting));
  await until(
    () => waiting.length,
    (count) => count > 0,
  );
  mode = "answer";
  for (const response of waiting) respond(response);
  for (const answer of await Promise.all(visitors)) expect(answer.status).toBe(404);
  expect(calls).toBe(1);
});

test("a visitor who leaves while the store is asked doesn't take the host along", async () => {
  mode = "hang";
  const socket = connect(stack.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(rawGet("left.test", "/"));
  await until(
    () => waiting.length,
    (count) => count > 0,
  );
  const others = Array.from({ length: 10 }, () => get("left.test"));
  socket.resetAndDestroy();
  for (const answer of await Promise.all(others)) expect([404, 503]).toContain(answer.status);
  mode = "answer";
  for (const response of waiting) respond(response);
  await until(
    () => get("left.test"),
    ({ status }) => status === 404,
  );
});

test("a store that hangs and then fails leaves a known host served and is tried now and then", async () => {
  expect((await get("known.test")).status).toBe(404);
  for (const outage of ["hang", "fail"] as const) {
    mode = outage;
    calls = 0;
    const end = Date.now() + 5_000;
    while (Date.now() < end) expect((await get("known.test")).status).toBe(404);
    expect(calls).toBeGreaterThan(0);
    expect(calls).toBeLessThanOrEqual(6);
  }
  const unknown = await get("unknown.test");
  expect(unknown.status).toBe(503);
  expect(header(unknown, "retry-after")).toBeDefined();
});
