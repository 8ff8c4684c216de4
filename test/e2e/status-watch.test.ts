import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { jsonLines, Operator, type CliProcess } from "../helpers/cli.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let operator: Operator;
const backends: Backend[] = [];

beforeAll(async () => {
  stack = await startTestStack();
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  for (const id of ["v1", "v2"]) backends.push(await startBackend(id));
  await putApp(stack, "shop", { hosts: ["shop.test"] });
  await deployUrl(stack, "shop", "v1", backends[0]?.url ?? "");
});
afterAll(async () => {
  await operator?.remove();
  await stack?.stop();
  await Promise.all(backends.map((backend) => backend.close()));
});

function shows(watching: CliProcess, fits: RegExp): Promise<string> {
  return until(
    () => watching.output(),
    (text) => fits.test(text),
  );
}

async function end({ child, ended }: CliProcess): Promise<number | null> {
  child.kill("SIGINT");
  return (await ended).code;
}

test("in a terminal the picture is redrawn in place, and Ctrl-C ends it without a word", async () => {
  const watching = operator.inTerminal(["status", "--watch"]);
  await shows(watching, /v1 +active/);
  await shows(watching, /live; Ctrl-C ends/);
  await deployUrl(stack, "shop", "v2", backends[1]?.url ?? "");
  await shows(watching, /v2 +active[^]*v1 +draining/);
  // Redrawn, and not written below.
  expect(watching.raw()).toMatch(/\u001b\[\d+A|\u001b\[2K/);
  watching.child.stdin?.write("\u0003");
  const { code, stderr } = await watching.ended;
  expect([code, stderr]).toEqual([130, ""]);
});

test("a pipe gets a line for each thing that changed, and nothing while nothing does", async () => {
  const watching = operator.start(["status", "--watch", "--app", "shop"]);
  await shows(watching, /shop active v2, serves/);
  await shows(watching, /shop\/v2 active/);
  await change(stack, "POST", "/apps/shop/rollback");
  await shows(watching, /shop active v1[^]*shop\/v2 draining/);
  const lines = watching.output().trim().split("\n");
  for (const line of lines) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z shop/);
  expect(new Set(lines.map((line) => line.slice(25))).size).toBe(lines.length);
  expect(watching.raw()).not.toContain("\u001b");
  expect(await end(watching)).toBe(130);
});

test("a server that tells of changes is read when something changes and hardly ever else", async (context) => {
  const paths: string[] = [];
  const counting = createServer((request, response) => {
    paths.push(request.url ?? "");
    const { method, headers, url } = request;
    const onward = httpRequest(`${stack.origin}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => counting.listen(0, "127.0.0.1", resolve));
  context.onTestFinished(() => {
    counting.closeAllConnections();
    counting.close();
  });
  const url = `http://127.0.0.1:${(counting.address() as AddressInfo).port}`;
  const watching = operator.start(["status", "--watch", "--app", "shop"], {
    env: { SIGNALBOX_URL: url, SIGNALBOX_TOKEN: CONTROL_TOKEN },
  });
  const reads = (): number => paths.filter((path) => path.endsWith("/apps/shop")).length;
  // The second look comes with the stream.
  await until(reads, (count) => count >= 2);
  expect(paths.filter((path) => path.includes("/events"))).toHaveLength(1);
  await change(stack, "POST", "/apps/shop/pause", { mode: "hold" });
  await shows(watching, /paused \(hold\)/);
  const before = reads();
  // By looking every two seconds it would be three more.
  await new Promise((resolve) => setTimeout(resolve, 6_500));
  expect(reads() - before).toBeLessThanOrEqual(1);
  await change(stack, "POST", "/apps/shop/resume", {});
  await shows(watching, /paused[^]*serves/);
  await end(watching);
});

test("with --json each change is one document", async () => {
  const watching = operator.start(["status", "--watch", "--json"]);
  await shows(watching, /"active":"v1"/);
  await change(stack, "POST", "/apps/shop/rollback");
  await shows(watching, /"active":"v2"/);
  const documents = jsonLines(watching.output());
  expect(documents.map(({ active }) => active)).toEqual(expect.arrayContaining(["v1", "v2"]));
  await end(watching);
});

test("a server that goes away is waited for, one that was never there isn't", async () => {
  const watching = operator.start(["status", "--watch"]);
  await shows(watching, /shop\/v2 active/);
  await stack.kill();
  await shows(watching, /Trying again/);
  const never = await operator.run(["status", "--watch"]);
  expect(never.code).toBe(5);
  await stack.restart();
  await shows(watching, /The server is back/);
  await end(watching);
});
