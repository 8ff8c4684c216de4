import { once } from "node:events";
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, request as send, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RUNNER_SERVICE } from "../../functions/protocol/runner-api.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";
import { UnconnectedRunner } from "../helpers/unconnected-runner.ts";

/** The runner is real; only the way to it loses answers. */
let stack: TestStack;
let root: string;
let runner: UnconnectedRunner;
let way: Server;
let client: TunnelClient;
/** While it is bad, deletions don't get through, and the runner's answers to creations are lost. */
let isBad = false;

beforeAll(async () => {
  stack = await startTestStack();
  root = await mkdtemp(join(tmpdir(), "signalbox-creation-"));
  runner = await UnconnectedRunner.start({ root, confinement: { level: "none" } });
  way = createServer((request, response) => {
    const { method = "GET", url = "/", headers } = request;
    if (isBad && method === "DELETE") return void response.destroy();
    const onward = send(`${runner.origin}${url}`, { method, headers }, (answer) => {
      if (isBad && method === "PUT") {
        answer.resume().once("end", () => response.destroy());
        return;
      }
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  client = await connectRunner(stack, "far", { [RUNNER_SERVICE]: (way.address() as AddressInfo).port });
  await until(
    () => stack.api("GET", "/runners/far"),
    ({ body }) => body["connected"] === true,
  );
});
afterAll(async () => {
  await client?.close();
  way?.close();
  await runner?.stop();
  await stack?.stop();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
});

const create = (slug: string) => stack.api("POST", "/projects", { slug, runnerId: "far" });

async function exists(path: string): Promise<boolean> {
  return access(join(root, path)).then(
    () => true,
    () => false,
  );
}

test("a creation doesn't take over what a failed one left on the runner", async () => {
  isBad = true;
  expect((await create("shop")).status).toBeGreaterThanOrEqual(500);
  isBad = false;
  expect((await stack.api("GET", "/projects/shop")).status).toBe(404);
  await writeFile(join(root, "shop/old.txt"), "of the failed one");
  expect((await create("shop")).status).toBe(201);
  expect(await exists("shop/old.txt")).toBe(false);
  expect((await stack.api("GET", "/projects/shop")).body).toMatchObject({ runner: { builds: [] } });
});

test("another creation's project on the runner is never taken over", async () => {
  const project = { name: "A", agent: null };
  expect((await runner.json("PUT", "/projects/mine?creation=one", project)).status).toBe(200);
  await writeFile(join(root, "mine/index.html"), "mine");
  expect((await runner.json("PUT", "/projects/mine?creation=one", project)).status).toBe(200);
  expect((await create("mine")).body).toMatchObject({ code: "project_exists" });
  expect((await stack.api("GET", "/projects/mine")).status).toBe(404);
  expect(await exists("mine/index.html")).toBe(true);
});

test("a directory that nobody's project is isn't taken over", async () => {
  await mkdir(join(root, "found"));
  expect((await create("found")).body).toMatchObject({ code: "project_exists" });
  expect(await exists("found")).toBe(true);
});
