import { createInterface } from "node:readline";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { workerMetrics } from "../../functions/observability/metrics.ts";
import { runnerMetrics } from "../../runner/observability/metrics.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
let runner: RunnerProcess;
let backend: Backend;
const log: string[] = [];

beforeAll(async () => {
  stack = await startTestStack({ stdout: "pipe", settings: { METRICS_INTERVAL_MS: "100" } });
  const { stdout } = stack.workerd;
  if (stdout === null) throw new Error("workerd has no pipe");
  createInterface(stdout).on("line", (line) => log.push(line));
  backend = await startBackend("v1");
  await putApp(stack, "shop", { hosts: ["shop.test"] });
  await deployUrl(stack, "shop", "v1", backend.url);
  runner = await startRunner(stack, {
    id: "machine",
    env: { RUNNER_AGENT: AGENT, RUNNER_HEARTBEAT_INTERVAL: "1000" },
  });
});
afterAll(async () => {
  await runner?.remove();
  await backend?.close();
  await stack?.stop();
});

/** Values by series, as Prometheus reads them; and the metrics that have a type. */
async function scrape(
  url: string,
  token?: string,
): Promise<{ values: Map<string, number>; types: string[] }> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const answer = await fetch(url, { headers });
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  const lines = (await answer.text()).split("\n").filter((line) => line !== "");
  const values = lines
    .filter((line) => !line.startsWith("#"))
    .map((line): [string, number] => {
      const [, series = "", value] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? [];
      return [series, Number(value)];
    });
  const types = lines.flatMap((line) => /^# TYPE (\S+) (?:counter|gauge)$/.exec(line)?.[1] ?? []);
  return { values: new Map(values), types };
}

const worker = () => scrape(`${stack.origin}/_signalbox/metrics`, CONTROL_TOKEN);
const machine = async () => scrape(`${await runner.healthUrl()}/metrics`);

async function value(
  from: typeof worker,
  series: string,
  wanted: (value: number) => boolean,
): Promise<number> {
  return until(async () => (await from()).values.get(series) ?? 0, wanted);
}

test("requests are counted by app, deployment and class, whichever isolate had them", async () => {
  await Promise.all(Array.from({ length: 20 }, () => stack.request("shop.test", "/")));
  await stack.request("nobody.test", "/");
  await stack.request("shop.test", "/?pulse_deployment=gone");
  const is = (wanted: number) => (seen: number) => seen === wanted;
  await value(worker, 'signalbox_requests_total{app="shop",deployment="v1",class="2xx"}', is(20));
  await value(worker, 'signalbox_requests_total{app="shop",deployment="-",class="4xx"}', is(1));
  await value(worker, 'signalbox_requests_total{app="-",deployment="-",class="4xx"}', is(1));
  const { values } = await worker();
  expect(values.get('signalbox_request_seconds_bucket{app="shop",le="+Inf"}')).toBe(21);
});

test("a backend that is away counts as 5xx of its deployment", async () => {
  const away = await startBackend("v1");
  await putApp(stack, "away", { hosts: ["away.test"] });
  await deployUrl(stack, "away", "v1", away.url);
  await away.close();
  const { status } = await stack.request("away.test", "/");
  expect(status).toBe(502);
  await value(
    worker,
    'signalbox_requests_total{app="away",deployment="v1",class="5xx"}',
    (seen) => seen === 1,
  );
});

test("every metric of the tables is in the text", async () => {
  expect((await worker()).types.toSorted()).toEqual(Object.keys(workerMetrics).toSorted());
  expect((await machine()).types.toSorted()).toEqual(Object.keys(runnerMetrics).toSorted());
});

test("decisions, steps, the janitor's run and the runner are there", async () => {
  expect((await stack.api("POST", "/janitor/run", {})).status).toBe(200);
  await value(
    worker,
    'signalbox_decisions_total{decision="auto-promote",outcome="done"}',
    (seen) => seen >= 1,
  );
  await value(worker, 'signalbox_rollout_steps_total{step="verify",status="done"}', (seen) => seen >= 1);
  await value(worker, 'signalbox_runners{state="online"}', (seen) => seen === 1);
  await value(worker, "signalbox_runner_disk_free_bytes_min", (seen) => seen > 0);
  await value(worker, 'signalbox_runner_connections_total{event="connected"}', (seen) => seen === 1);
  const { values } = await worker();
  expect(values.get("signalbox_janitor_stale")).toBe(0);
  expect(values.get("signalbox_janitor_age_seconds")).toBeLessThan(60);
});

test("a build is counted at the Worker and at its runner, with tokens and cost, and logged at its ends", async () => {
  const builds = new BuildsOf(stack);
  const slug = await builds.newProject();
  await builds.run(slug, "everything");
  await value(worker, 'signalbox_builds_total{state="completed"}', (seen) => seen === 1);
  await value(machine, 'signalbox_runner_builds_total{state="completed"}', (seen) => seen === 1);
  await value(worker, "signalbox_build_tokens_total", (seen) => seen === 10);
  await value(worker, 'signalbox_build_cost_total{currency="USD"}', (seen) => seen === 0.5);
  const { values } = await machine();
  expect(values.get("signalbox_runner_build_tokens_total")).toBe(10);
  expect(values.get('signalbox_runner_build_cost_total{currency="USD"}')).toBe(0.5);
  expect(values.get("signalbox_runner_projects")).toBe(1);
  expect(values.get("signalbox_runner_connected")).toBe(1);
  const states = lines("build").map(({ state }) => state);
  expect(states).toEqual(["queued", "completed"]);
  expect(lines("build")[0]).toMatchObject({ runner: "machine", project: slug });
});

test("bytes and streams of the tunnel are counted on both ends", async () => {
  await value(worker, "signalbox_tunnel_streams_total", (seen) => seen >= 1);
  await value(worker, 'signalbox_tunnel_bytes_total{direction="in"}', (seen) => seen > 0);
  const { values } = await machine();
  expect(values.get('signalbox_runner_tunnel_bytes_total{direction="in"}')).toBeGreaterThan(0);
  expect(
    values.get('signalbox_runner_requests_total{app="@runner",deployment="-",class="2xx"}'),
  ).toBeGreaterThan(0);
});

function lines(event: string): Record<string, unknown>[] {
  return log
    .filter((line) => line.startsWith("{"))
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter((line) => line["event"] === event);
}

test("a runner's connection and its end are each one line of the Worker's log", async () => {
  await runner.stop();
  await until(
    () => lines("runner").map(({ state }) => state),
    (states) => states.includes("offline"),
  );
  expect(lines("runner")).toEqual([
    { event: "runner", runner: "machine", state: "connected", epoch: 1, replaces: false, enrols: true },
    { event: "runner", runner: "machine", state: "offline" },
  ]);
  await value(worker, 'signalbox_runners{state="offline"}', (seen) => seen === 1);
});

test("a token of scope read may scrape, one of scope deploy:APP and a wrong one may not", async () => {
  const token = async (scope: string): Promise<string> => {
    const { body } = await stack.api("POST", "/tokens", { name: scope.replace(":", " "), scopes: [scope] });
    return String(body["token"]);
  };
  const status = async (bearer: string): Promise<number> => {
    const headers = { authorization: `Bearer ${bearer}` };
    return (await fetch(`${stack.origin}/_signalbox/metrics`, { headers })).status;
  };
  expect(await status(await token("read"))).toBe(200);
  expect(await status(await token("deploy:shop"))).toBe(403);
  expect(await status("wrong-token-of-nobody")).toBe(401);
});
