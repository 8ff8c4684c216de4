import { afterAll, afterEach, expect, test } from "vitest";
import { startHub } from "../helpers/hub-client.ts";
import { bundleWithServices, runtimeCommand, startRunner } from "../helpers/runner.ts";

const fixture = await bundleWithServices();
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});
afterAll(() => fixture.remove());

/** As SentryVibe's broker: /socket, Bearer, ?runnerId=, `ws` without a thought of subprotocols, no text pings. */
test.each(["first", "silent"] as const)(
  "a SentryVibe broker that chooses the %s subprotocol is served with control messages only",
  async (subprotocol) => {
    const broker = await startHub({ path: "/socket", subprotocol, answersPings: false });
    ends.push(() => broker.close());
    const timings = { pingIntervalMs: 100, silenceLimitMs: 3_000, heartbeatIntervalMs: 300 };
    const runner = await startRunner(broker, {
      command: runtimeCommand("node", fixture.bundle),
      env: { TEST_TIMINGS: JSON.stringify(timings) },
    });
    ends.push(() => runner.remove());
    const link = await broker.connection(0);
    expect(link.request.url).toBe("/socket?runnerId=runner-under-test");
    let pings = 0;
    link.socket.on("ping", () => (pings += 1));
    link.socket.send("Welcome, runner");
    link.command("start-build", { ms: 3_500 }, "b1");
    expect(await link.event("ack")).toMatchObject({ commandId: "b1" });
    expect(await link.event("build-completed")).toMatchObject({ commandId: "b1", projectId: "project-1" });
    const beat = await link.event("runner-status");
    expect(beat["payload"]).toMatchObject({
      status: "online",
      version: "0.1.0",
      uptimeSeconds: expect.any(Number),
    });
    expect(link.texts).toEqual([]);
    expect(pings).toBeGreaterThan(5);
    expect(broker.connections.length).toBe(1);
    link.socket.send(Buffer.from([1, 2, 3]));
    expect(await link.end()).toMatchObject({ code: 1002 });
  },
);

test("a broker that refuses by closing is reported as refusing", async () => {
  const broker = await startHub({ path: "/socket", refusesAfterwards: true, subprotocol: "first" });
  ends.push(() => broker.close());
  const runner = await startRunner(broker, {
    command: runtimeCommand("node", fixture.bundle),
    env: { RUNNER_SHARED_SECRET: "not-the-right-one" },
  });
  ends.push(() => runner.remove());
  expect(await runner.line("Broker refused")).toContain("Unauthorized");
});
