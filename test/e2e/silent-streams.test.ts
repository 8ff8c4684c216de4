import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { putApp } from "../helpers/deploy.ts";
import { rawGet } from "../helpers/raw-http.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Answers that say nothing, of clients that have closed their connection: workerd doesn't see that they left. */

let stack: TestStack;
let runner: RunnerProcess;
beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "silent" });
});
afterAll(async () => {
  await runner.remove();
  await stack.stop();
});

const OF_A_SCRIPT = { "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty", "sec-fetch-mode": "cors" };

/** Reads the head of a stream of events, and closes the connection. */
async function listenAndLeave(
  app: string,
  headers: Record<string, string>,
  path = "/listen?pulse_deployment=v1",
): Promise<Socket> {
  const socket = connect({ port: stack.port, host: "127.0.0.1", allowHalfOpen: true });
  socket.write(rawGet(`${app}.localhost`, path, headers));
  const [head] = (await once(socket, "data")) as [Buffer];
  expect(head.toString()).toContain("text/event-stream");
  socket.end();
  return socket;
}

async function decision(app: string): Promise<string> {
  const { body } = await stack.api("POST", "/janitor/run", { dryRun: true });
  const found = (body["decisions"] as { app: string; reason: string; detail: string }[]).find(
    (one) => one.app === app,
  );
  return found === undefined ? "" : `${found.reason}: ${found.detail}`;
}

test.concurrent.each<[who: string, app: string, headers: Record<string, string>, decides: string]>([
  ["a page's script", "scripted", OF_A_SCRIPT, "no_sessions"],
  ["somebody else", "unknown", {}, "live_sessions: 1 live"],
  [
    "a worker's script",
    "worker",
    { ...OF_A_SCRIPT, referer: "http://worker.localhost/worker.js?pulse_deployment=v1" },
    "live_sessions: 1 live",
  ],
  ["a download", "download", { ...OF_A_SCRIPT, "sec-fetch-dest": "document" }, "live_sessions: 1 live"],
])("a silent stream of %s that left: %s", async (_, app, headers, decides) => {
  await putApp(stack, app, { contract: "edge", previousRetentionSeconds: 0 });
  await deployTunnelApp(stack, runner, app, "v1");
  const left = await listenAndLeave(app, headers, app === "worker" ? "/listen" : undefined);
  await deployTunnelApp(stack, runner, app, "v2");
  await until(
    () => decision(app),
    (seen) => seen.startsWith("no_sessions") || seen.startsWith("live_sessions"),
  ).then((seen) => expect(seen).toContain(decides));
  left.destroy();
});

test("where a page was that can't be counted, a silent stream counts whoever asked for it", async () => {
  await putApp(stack, "blocked", { contract: "edge", previousRetentionSeconds: 0, visitIdleSeconds: 60 });
  await deployTunnelApp(stack, runner, "blocked", "v1");
  const headers = { "x-pulse-deployment": "v1" };
  const told = await stack.request("blocked.localhost", "/_signalbox/page?deployment=v1&uncounted", {
    headers,
  });
  expect([told.status, told.headers["set-cookie"]]).toEqual([204, undefined]);
  const left = await listenAndLeave("blocked", OF_A_SCRIPT);
  await deployTunnelApp(stack, runner, "blocked", "v2");
  const seen: string[] = [];
  await until(
    async () => {
      seen.push(await decision("blocked"));
      return seen.at(-1) ?? "";
    },
    (last) => last.startsWith("live_sessions"),
    120_000,
  );
  expect(seen.some((one) => one.includes("a page that can't be counted was there"))).toBe(true);
  expect(seen.some((one) => one.startsWith("no_sessions"))).toBe(false);
  left.destroy();
});
