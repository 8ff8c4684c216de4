import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { spansOf, startSink, type Sink, type SinkSpan } from "../helpers/sink.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

let sink: Sink;
let world: UpstashStack;
let stack: TestStack;
let runner: RunnerProcess;
let backend: Backend;

beforeAll(async () => {
  sink = await startSink();
  const tracing = {
    OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
    OTEL_EXPORTER_OTLP_HEADERS: "x-key=of-the-collector",
  };
  world = await onUpstash(tracing);
  ({ stack } = world);
  backend = await startBackend("v1");
  await putApp(stack, "shop", { hosts: ["shop.test"] });
  await deployUrl(stack, "shop", "v1", backend.url);
  runner = await startRunner(stack, { id: "tracer", env: { RUNNER_AGENT: AGENT, ...tracing } });
});
afterAll(async () => {
  await runner?.remove();
  await backend?.close();
  await world?.stop();
  await sink?.close();
});
beforeEach(() => {
  sink.status = 200;
  sink.isSilent = false;
});

const spans = (fits: (span: SinkSpan) => boolean, count = 1): Promise<SinkSpan[]> =>
  until(
    () => spansOf(sink).filter(fits),
    (found) => found.length >= count,
  );
const lastSeen = (): string => String(backend.seen.at(-1)?.headers["traceparent"]);

test("a request's span is a child of the client's, and the backend's parent", async () => {
  await stack.request("shop.test", "/secret-path?key=secret", {
    headers: { traceparent: `00-${TRACE}-${SPAN}-01`, tracestate: "vendor=1" },
  });
  const [span] = await spans(({ traceId }) => traceId === TRACE);
  expect(span).toMatchObject({
    service: "signalbox-edge",
    name: "edge request",
    parentSpanId: SPAN,
    attributes: {
      "http.request.method": "GET",
      "http.response.status_code": "200",
      "signalbox.app": "shop",
      "signalbox.deployment": "v1",
    },
  });
  expect(lastSeen()).toBe(`00-${TRACE}-${span?.spanId}-01`);
  expect(backend.seen.at(-1)?.headers["tracestate"]).toBe("vendor=1");
  expect(sink.sent.map(({ text }) => text).join()).not.toContain("secret");
  expect(sink.sent[0]?.headers["x-key"]).toBe("of-the-collector");
});

test("a request without one begins a trace; one that isn't sampled goes on unsampled", async () => {
  await stack.request("shop.test", "/");
  expect(lastSeen()).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  const unsampled = "a".repeat(32);
  await stack.request("shop.test", "/", { headers: { traceparent: `00-${unsampled}-${SPAN}-00` } });
  expect(lastSeen()).toMatch(new RegExp(`^00-${unsampled}-[0-9a-f]{16}-00$`));
  await stack.request("shop.test", "/", { headers: { traceparent: `00-${"b".repeat(32)}-${SPAN}-01` } });
  await spans(({ traceId }) => traceId === "b".repeat(32));
  expect(spansOf(sink).filter(({ traceId }) => traceId === unsampled)).toEqual([]);
});

test("each step of a rollout is a span of the deployment's trace", async () => {
  const found = await spans(({ name }) => name.startsWith("rollout "), 3);
  expect(found.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["rollout provision", "rollout verify", "rollout promote"]),
  );
  expect(new Set(found.map(({ traceId }) => traceId)).size).toBe(1);
  expect(found[0]?.attributes).toEqual({ "signalbox.app": "shop", "signalbox.deployment": "v1" });
});

test("a build is a trace with a span for each step", async () => {
  const builds = new BuildsOf(stack);
  const slug = await builds.newProject();
  await builds.run(slug, "page secret-in-a-prompt");
  const [build] = await spans(({ name }) => name === "build");
  const steps = await spans(({ name }) => name.startsWith("build "), 3);
  expect(build?.attributes).toMatchObject({ "signalbox.project": slug, "signalbox.state": "completed" });
  for (const step of steps)
    expect([step.traceId, step.parentSpanId]).toEqual([build?.traceId, build?.spanId]);
  expect(sink.sent.map(({ text }) => text).join()).not.toContain("secret-in");
});

test("through a tunnel, the runner's span lies between the edge's and the app's", async (context) => {
  const fixture = await bundleWithServices();
  context.onTestFinished(() => fixture.remove());
  const tunnel = await startRunner(stack, {
    id: "tunnel",
    command: runtimeCommand("node", fixture.bundle),
    services: { "behind/v1": Number(new URL(backend.url).port) },
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: sink.url },
  });
  context.onTestFinished(() => tunnel.remove());
  await putRunnerApp(world.store, {
    app: "behind",
    host: "behind.test",
    runnerId: "tunnel",
    service: "behind/v1",
  });
  const traceId = "c".repeat(32);
  const { status } = await stack.request("behind.test", "/", {
    headers: { traceparent: `00-${traceId}-${SPAN}-01` },
  });
  expect(status).toBe(200);
  const [edge] = await spans((span) => span.traceId === traceId && span.service === "signalbox-edge");
  const [own] = await spans((span) => span.traceId === traceId && span.service === "signalbox-runner");
  expect(edge?.parentSpanId).toBe(SPAN);
  expect(own).toMatchObject({
    name: "tunnel request",
    parentSpanId: edge?.spanId,
    attributes: {
      "http.response.status_code": "200",
      "signalbox.app": "behind",
      "signalbox.deployment": "v1",
    },
  });
  expect(lastSeen()).toBe(`00-${traceId}-${own?.spanId}-01`);
});

test("a collector that is silent or refuses holds up no request", async () => {
  sink.isSilent = true;
  await stack.request("shop.test", "/");
  const begun = performance.now();
  const answers = await Promise.all(Array.from({ length: 20 }, () => stack.request("shop.test", "/")));
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  // A flush may take five seconds.
  expect(performance.now() - begun).toBeLessThan(4_000);
});

test("without an endpoint, traceparent is passed on as it came, and none is begun", async () => {
  const plain = await startTestStack();
  try {
    await putApp(plain, "shop", { hosts: ["shop.test"] });
    await deployUrl(plain, "shop", "v1", backend.url);
    await plain.request("shop.test", "/", { headers: { traceparent: `00-${TRACE}-${SPAN}-01` } });
    expect(lastSeen()).toBe(`00-${TRACE}-${SPAN}-01`);
    await plain.request("shop.test", "/");
    expect(lastSeen()).toBe("undefined");
  } finally {
    await plain.stop();
  }
});
