import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { ILLEGAL_SPELLINGS, INNOCENT_PATHS, INTERNAL_SPELLINGS } from "../helpers/internal-spellings.ts";
import { HANDSHAKE, header, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { INTERNAL_TOKEN, startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let backend: Backend;
let configured: Backend;

beforeAll(async () => {
  stack = await startTestStack();
  [backend, configured] = await Promise.all([startBackend("v1"), startBackend("v1")]);
  await putApp(stack, "shop", { hosts: ["shop.test"] });
  await deployUrl(stack, "shop", "v1", backend.url);
  await putApp(stack, "ops", {
    hosts: ["ops.test"],
    paths: { sessions: "/ops/sessions", reload: "/ops/reload" },
  });
  await deployUrl(stack, "ops", "v1", configured.url);
});

afterAll(async () => {
  await Promise.all([backend.close(), configured.close(), stack.stop()]);
});

function get(host: string, path: string, headers: Record<string, string> = {}): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(host, path, headers));
}

/** Each in turn, so that what a backend saw belongs to one of them. */
async function expectBlocked(host: string, seenBy: Backend, spelling: string, status: number): Promise<void> {
  for (const headers of [{}, HANDSHAKE, { "x-pulse-railway-internal-token": INTERNAL_TOKEN }]) {
    seenBy.seen.length = 0;
    const answer = await get(host, spelling, headers);
    expect(answer.status).toBe(status);
    expect(header(answer, "x-pulse-selected-deployment")).toBeUndefined();
    expect(seenBy.seen).toEqual([]);
  }
}

describe("over HTTP and WebSocket, with or without the token, nobody reaches", () => {
  test.each(INTERNAL_SPELLINGS)("%j", (spelling) => expectBlocked("shop.test", backend, spelling, 404));

  test.each(ILLEGAL_SPELLINGS)("%j, which isn't HTTP", (spelling) =>
    expectBlocked("shop.test", backend, spelling, 400),
  );

  test("a spelling in UTF-8 that isn't encoded", () => {
    const fullwidth = Buffer.from("/\uff3fpulse/internal").toString("latin1");
    return expectBlocked("shop.test", backend, fullwidth, 404);
  });

  test.each(["/ops/sessions", "/OPS%2fReload", "/ops//../sessions", "//x/ops/reload", "/_pulse/internal"])(
    "%j where an app says that its endpoints are there",
    (spelling) => expectBlocked("ops.test", configured, spelling, 404),
  );

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])(
    "the reload endpoint by %s",
    async (method) => {
      backend.seen.length = 0;
      const request = rawGet("shop.test", "/_pulse//../internal/railway/reload", { "content-length": "0" });
      const answer = await rawRequest(stack.port, request.replace(/^GET/, method), { method });
      expect(answer.status).toBe(404);
      expect(backend.seen).toEqual([]);
      expect(backend.reloads).toBe(0);
    },
  );
});

test.each([
  "shop.test/_pulse/internal?",
  "shop.test\\_pulse\\internal",
  "shop.test/_pulse",
  "shop.test#",
  "shop.test?",
  "x@shop.test",
  "shop.test:80/..",
  "shop.test:x",
  "shop test",
  "%73hop.test",
])("a Host header with more than a host in it gets nowhere: %j", async (host) => {
  backend.seen.length = 0;
  const answer = await get(host, "/internal/railway/sessions");
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(backend.seen).toEqual([]);
});

describe("an app's own path arrives as it was sent", () => {
  test.each(INNOCENT_PATHS)("%j", async (path) => {
    backend.seen.length = 0;
    const answer = await get("shop.test", path);
    expect(answer.status).toBe(200);
    expect(backend.seen.map(({ url }) => url)).toEqual([path]);
  });

  test("even where another app has its endpoints there", async () => {
    expect((await get("ops.test", "/ops/session")).status).toBe(200);
    expect((await get("shop.test", "/ops/sessions")).status).toBe(200);
  });
});
