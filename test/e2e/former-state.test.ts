import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onEmbedded, onUpstash, type OpenStack } from "../helpers/both-stores.ts";
import { readFormerState, type FormerAnswers } from "../helpers/former-state.ts";
import { until } from "../helpers/stack.ts";
import { connectRunner } from "../helpers/tunnel-client.ts";

const BACKENDS = [1, 2, 3, 4]
  .map((number) => `shop-v${number}`)
  .concat("blog-v1", "blog-v2", "blog-v3", "blog-gone", "old-v1");

describe.each(["upstash", "embedded"] as const)("state of build b7562c7 on the %s store", (kind) => {
  const backends: Record<string, Backend> = {};
  let world: OpenStack;
  let former: FormerAnswers;

  beforeAll(async () => {
    for (const id of BACKENDS) backends[id] = await startBackend(id);
    const origins = Object.fromEntries(Object.entries(backends).map(([id, { url }]) => [id, url]));
    // The visitors that the former build knew of are still there.
    for (const id of ["shop-v1", "blog-v1"]) backendOf(id).sessions = 1;
    const state = await readFormerState(kind, origins);
    former = state.answers;
    world = kind === "upstash" ? await onUpstash({}, state) : await onEmbedded({}, state);
  });

  afterAll(async () => {
    await world.stop();
    await Promise.all(Object.values(backends).map((backend) => backend.close()));
  });

  const backendOf = (id: string): Backend => backends[id] ?? expect.unreachable(`no backend ${id}`);
  const read = async (path: string) => (await world.stack.api("GET", path)).body;
  const served = async (host: string, path = "/") => {
    const { status, text } = await world.stack.request(host, path);
    return `${status} ${text.split(" ", 1)[0]}`;
  };
  const stateOf = async (app: string, id: string) => (await world.document(app))?.deployments[id]?.state;
  const command = async (method: string, path: string, body?: unknown) => {
    const answer = await world.stack.api(method, path, body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    return answer.body;
  };

  test("the janitor waits for the lease that the former one held", async () => {
    expect((await command("POST", "/janitor/run", {}))["outcome"]).toBe("lease_held");
    await until(
      () => command("POST", "/janitor/run", {}),
      (report) => report["outcome"] === "completed",
    );
  });

  test("an app, a runner and the audit read as they did", async () => {
    // Newer builds say more.
    const shop = await read("/apps/shop");
    expect(shop).toMatchObject(former.views["/apps/shop"] ?? {});
    expect(shop["contract"]).toBe("pulse");
    expect(new Set((shop["deployments"] as { contract: string }[]).map(({ contract }) => contract))).toEqual(
      new Set(["pulse"]),
    );
    expect(await read("/runners/former-runner")).toMatchObject({
      state: "offline",
      epoch: 1,
      drainRequested: true,
      reason: "its connection closed (1001 the runner stopped)",
      recentEvents: former.views["/runners/former-runner"]?.["recentEvents"],
    });
    const { entries } = await read("/audit?app=old&limit=500");
    const wanted = former.views["/audit?limit=500"]?.["entries"];
    const unnumbered = (entries: unknown): unknown[] =>
      Array.isArray(entries)
        ? entries.filter(({ app }) => app === "old").map((entry) => ({ ...entry, id: null }))
        : [];
    expect(unnumbered(entries)).toEqual(unnumbered(wanted));
    expect(unnumbered(entries)).toHaveLength(10);
  });

  test("a repeated request answers what its first answered, and changes nothing", async () => {
    const before = await world.document("shop");
    expect(former.asked.length).toBeGreaterThan(10);
    for (const { key, method, path, sent, status, answer } of former.asked) {
      const repeated = await world.stack.api(method, path, sent ?? undefined, { "idempotency-key": key });
      expect([key, repeated.status, repeated.body]).toMatchObject([key, status, answer]);
    }
    expect(await world.document("shop")).toEqual(before);
    const other = await world.stack.api("POST", "/apps/shop/resume", {}, { "idempotency-key": "pause-shop" });
    expect([other.status, other.body["code"]]).toEqual([422, "idempotency_key_reused"]);
  });

  test("hosts, the default app and pins lead where they led", async () => {
    expect(await served("www.shop.test")).toMatch(/^503/);
    await command("POST", "/apps/shop/resume", {});
    await until(
      () => served("www.shop.test", "/?pulse_deployment=shop-v1"),
      (seen) => seen === "200 shop-v1",
    );
    expect(await served("shop.test", "/?pulse_deployment=shop-v4")).toBe("200 shop-v4");
    expect(await served("nobody.test", "/?pulse_deployment=blog-v1")).toBe("200 blog-v1");
  });

  test("a rollout and a removal that were under way go on", async () => {
    await until(
      () => stateOf("blog", "blog-v3"),
      (state) => state === "active",
    );
    await until(
      () => stateOf("blog", "blog-gone"),
      (state) => state === "removed",
    );
    // Its browsers still have most of their hour.
    expect((await world.document("blog"))?.deployments["blog-v1"]).toMatchObject({
      state: "draining",
      retirement: { reason: "deleted", unroutedAt: null },
    });
  });

  test("rollback, promote and canary go on from it", async () => {
    expect(await command("POST", "/apps/shop/rollback", {})).toMatchObject({
      active: "shop-v4",
      previous: { id: "shop-v2" },
      canary: { id: "shop-v3", weight: 25 },
      minimum: "shop-v1",
    });
    await command("DELETE", "/apps/shop/canary");
    await command("POST", "/apps/shop/deployments/shop-v3/promote", {});
    await until(
      () => served("shop.test"),
      (seen) => seen === "200 shop-v3",
    );
  });

  test("the janitor ends a drain once nobody is left", async () => {
    const decisions = async () => {
      const report = await command("POST", "/janitor/run", {});
      const all = report["decisions"];
      return Array.isArray(all) ? all.map(({ deployment, reason }) => `${deployment} ${reason}`) : [];
    };
    const seen = await decisions();
    expect(seen).toContain("shop-v1 live_sessions");
    expect(seen).toContain("shop-v4 kept_for_rollback");
    backendOf("shop-v1").sessions = 0;
    expect(await decisions()).toContain("shop-v1 no_sessions");
    await until(
      () => stateOf("shop", "shop-v1"),
      (state) => state === "removed",
    );
  });

  test("an app that was deleted comes back with the next version", async () => {
    const answer = await world.stack.api("PUT", "/apps/old", { hosts: ["old.test"] });
    expect([answer.status, answer.body["version"]]).toEqual([201, 11]);
  });

  test("a runner that had connected to the former build has the next epoch, and is still draining", async () => {
    const runner = await connectRunner(world.stack, "former-runner");
    const seen = await until(
      () => read("/runners/former-runner"),
      (view) => view["connected"] === true,
    );
    expect(seen).toMatchObject({ epoch: 2, drainRequested: true, state: "draining" });
    await runner.close();
  });
});
