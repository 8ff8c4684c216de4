import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, expect, test } from "vitest";
import { SentryReporter } from "../../runner/observability/sentry.ts";
import { RUNNER_SECRET, startHub } from "../helpers/hub-client.ts";
import { bundleWithServices, runtimeCommand, startRunner, type Runtime } from "../helpers/runner.ts";
import { until } from "../helpers/stack.ts";

const fixture = await bundleWithServices();
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});
afterAll(() => fixture.remove());

interface Envelope {
  path: string;
  auth: string;
  lines: Record<string, unknown>[];
}

async function startSink(): Promise<{ dsn: string; envelopes: Envelope[]; close(): Promise<void> }> {
  const envelopes: Envelope[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (part: string) => (text += part));
    request.on("end", () => {
      const lines = text.split("\n").map((line) => Object(JSON.parse(line)));
      envelopes.push({ path: request.url ?? "", auth: String(request.headers["x-sentry-auth"]), lines });
      response.end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    dsn: `http://publickey@127.0.0.1:${port}/prefix/42`,
    envelopes,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test.each<Runtime>(["node", "deno"])(
  "what nobody catches on %s is reported before the runner ends",
  async (runtime) => {
    const sink = await startSink();
    const hub = await startHub();
    ends.push(
      () => sink.close(),
      () => hub.close(),
    );
    const runner = await startRunner(hub, {
      command: runtimeCommand(runtime, fixture.bundle),
      env: { SENTRY_DSN: sink.dsn, SENTRY_ENVIRONMENT: "staging", SENTRY_RELEASE: "abc123" },
    });
    ends.push(() => runner.remove());
    const link = await hub.connection(0);
    link.command("start-build", { throw: true });
    expect(await runner.exited).toBe(1);
    const [envelope] = sink.envelopes;
    expect(envelope?.path).toBe("/prefix/api/42/envelope/");
    expect(envelope?.auth).toContain("sentry_key=publickey");
    expect(envelope?.lines[1]).toEqual({ type: "event" });
    expect(envelope?.lines[2]).toMatchObject({
      level: "fatal",
      environment: "staging",
      release: "abc123",
      server_name: "runner-under-test",
      exception: {
        values: [
          {
            type: "Error",
            value: "nobody catches this",
            mechanism: { type: "uncaughtException", handled: false },
          },
        ],
      },
    });
    expect(envelope?.lines[0]?.["event_id"]).toBe(envelope?.lines[2]?.["event_id"]);
  },
);

test("refused connections and failed commands are reported, without a secret", async () => {
  const sink = await startSink();
  const hub = await startHub();
  ends.push(
    () => sink.close(),
    () => hub.close(),
  );
  hub.refuse = { status: 401, body: JSON.stringify({ error: `not ${RUNNER_SECRET}` }) };
  const runner = await startRunner(hub, {
    command: runtimeCommand("node", fixture.bundle),
    env: {
      SENTRY_DSN: sink.dsn,
      TEST_TIMINGS: JSON.stringify({ reconnectFirstMs: 50, reconnectLimitMs: 50 }),
    },
  });
  ends.push(() => runner.remove());
  await until(
    () => sink.envelopes.length,
    (count) => count > 0,
  );
  expect(JSON.stringify(sink.envelopes[0]?.lines)).toContain("ConnectionRefused");
  hub.refuse = null;
  const link = await hub.connection(0);
  link.command("start-build", { fail: true });
  await until(
    () => JSON.stringify(sink.envelopes),
    (text) => text.includes("the fixture was told to fail"),
  );
  expect(JSON.stringify(sink.envelopes)).not.toContain(RUNNER_SECRET);
  expect(runner.lines.join("\n")).not.toContain(RUNNER_SECRET);
});

test("a secret is struck out however JSON spells it", async () => {
  const sink = await startSink();
  ends.push(() => sink.close());
  const secret = 'quoted "and" back\\slashed';
  const reporter = new SentryReporter({
    dsn: new URL(sink.dsn),
    environment: null,
    release: null,
    runnerId: "r1",
    secrets: [secret],
  });
  reporter.report(new Error(`The secret ${secret} is wrong`));
  await reporter.flush();
  expect(sink.envelopes[0]?.lines[2]).toMatchObject({
    exception: { values: [{ value: "The secret [secret] is wrong" }] },
  });
});
