import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { rawGet, rawRequest } from "../helpers/raw-http.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { RUNNER_SECRET, until, type ApiAnswer } from "../helpers/stack.ts";
import { connectRunner } from "../helpers/tunnel-client.ts";

let world: UpstashStack;

beforeAll(async () => {
  world = await onUpstash();
});

afterAll(() => world.stop());

function state(id: string, wanted: string): Promise<Record<string, unknown>> {
  return until(
    async () => (await world.stack.api("GET", `/runners/${id}`)).body,
    (seen) => seen["state"] === wanted,
  );
}

async function broker(path: string, body?: unknown, secret: string = RUNNER_SECRET): Promise<ApiAnswer> {
  const response = await fetch(`${world.stack.origin}/_signalbox/${path}`, {
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}

describe("the SentryVibe broker's endpoints", () => {
  test("list and command a SentryVibe runner in its own JSON", async () => {
    const id = "sentryvibe-1";
    const runner = await connectRunner(world.stack, id, {}, { subprotocol: null });
    expect(runner.socket.protocol).toBe("");
    expect(await state(id, "online")).toMatchObject({ protocol: "sentryvibe" });
    runner.event({ type: "runner-status", runnerId: id, payload: { uptime: 1 } });
    runner.socket.send("not even JSON");
    const command = {
      id: "c1",
      type: "start-build",
      projectId: "p",
      timestamp: "2026-01-01T00:00:00Z",
      payload: {},
      _sentry: { trace: "t" },
    };
    const sent = await broker("commands", { runnerId: id, command });
    expect([sent.status, sent.body]).toEqual([200, { ok: true }]);
    await until(
      () => runner.commands[0],
      (seen) => seen !== undefined,
    );
    expect(runner.commands[0]).toEqual(command);
    const status = await broker("status");
    expect(status.body).toMatchObject({ uptime: expect.any(Number) });
    const [connection] = (status.body["connections"] as Record<string, unknown>[]).filter(
      ({ runnerId }) => runnerId === id,
    );
    expect(Object.keys(connection ?? {}).sort()).toEqual(["lastHeartbeat", "lastHeartbeatAge", "runnerId"]);
    expect(connection?.["lastHeartbeatAge"]).toBeLessThan(5_000);
    await putRunnerApp(world.store, { app: id, host: `${id}.test`, runnerId: id, service: "web" });
    const through = await rawRequest(world.stack.port, rawGet(`${id}.test`, "/"));
    expect(JSON.parse(through.body.toString()).code).toBe("runner_without_streams");
    await runner.close();
    await state(id, "offline");
    const off = await broker("commands", { runnerId: id, command });
    expect([off.status, off.body]).toEqual([503, { error: "Runner not connected" }]);
    const none = await broker("commands", { runnerId: "never-seen", command });
    expect([none.status, none.body]).toEqual([503, { error: "Runner not connected" }]);
  });

  test("audit each command that was sent, without its payload", async () => {
    const id = "audited-by-broker";
    const runner = await connectRunner(world.stack, id);
    await state(id, "online");
    const entries = async () =>
      (await world.store.listAudit({ app: null, limit: 100, before: null }))
        .filter(({ details }) => details["runner"] === id)
        .map(({ actor, action, details }) => ({ actor, action, details }));
    const send = (command: Record<string, unknown>) => broker("commands", { runnerId: id, command });
    const payload = { env: { API_KEY: "s3cret-of-the-payload" } };
    await send({ id: "c1", type: "start-build", projectId: "p1", prompt: "s3cret-at-the-top", payload });
    await send({ type: "read-file", projectId: { not: "s3cret-instead-of-an-id" } });
    await until(
      () => runner.commands.length,
      (length) => length === 2,
    );
    expect(runner.commands[0]).toMatchObject({ id: "c1", payload });
    const sent = { runner: id, outcome: "sent" };
    const by = { actor: "runner-shared-secret", action: "runner.command" };
    expect(await entries()).toEqual([
      { ...by, details: { ...sent, command: runner.commands[1]?.["id"], type: "read-file", project: null } },
      { ...by, details: { ...sent, command: "c1", type: "start-build", project: "p1" } },
    ]);
    expect(JSON.stringify(await entries())).not.toContain("s3cret");
    await send({ id: "c\u001b[2J3", type: "read-file\r\n", projectId: "p\u202e3" });
    const [latest] = await entries();
    expect(latest?.details).toEqual({ ...sent, command: "c3", type: "read-file ", project: "p\ufffd3" });
    await world.stack.api("POST", `/runners/${id}/drain`, {});
    const drained = await send({ type: "start-build" });
    expect([drained.status, drained.body]).toEqual([503, { error: "Runner is draining" }]);
    expect((await broker("commands", { runnerId: id, command: { type: "" } })).status).toBe(400);
    await runner.close();
    await state(id, "offline");
    expect((await send({ type: "read-file" })).status).toBe(503);
    expect((await entries()).map(({ action }) => action)).toEqual([
      "runner.drain",
      "runner.command",
      "runner.command",
      "runner.command",
    ]);
  });

  test("need the secret, but for health", async () => {
    const health = await fetch(`${world.stack.origin}/_signalbox/health`);
    expect(await health.json()).toMatchObject({ status: "ok" });
    for (const path of ["status", "commands"]) {
      expect((await broker(path, path === "commands" ? {} : undefined, "wrong-secret")).status).toBe(401);
    }
    expect((await broker("commands", {})).body).toEqual({ error: "Missing command payload" });
  });
});
