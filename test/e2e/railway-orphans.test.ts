import { afterAll, beforeAll, expect, test } from "vitest";
import { putApp } from "../helpers/deploy.ts";
import { begin, outcome, startRailwayStack, type RailwayStack } from "../helpers/railway-stack.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let world: RailwayStack;
/** Another installation in the same Railway project, with the same secrets. */
let other: TestStack;

beforeAll(async () => {
  world = await startRailwayStack();
  const { railway } = world;
  other = await startTestStack({
    settings: {
      RAILWAY_API_URL: railway.url,
      RAILWAY_CALLS_PER_MINUTE: "10000",
      RAILWAY_TOKEN: railway.projectToken,
    },
  });
  railway.state.addService("database", { variables: { SIGNALBOX_OWNER: "0123456789abcdef" } });
  for (const [stack, app] of [
    [world.stack, "shop"],
    [other, "theirs"],
  ] as const) {
    await putApp(stack, app, { hosts: [`${app}.test`] });
    await begin({ ...world, stack }, app, "base", { image: "shop:1" });
    expect(await outcome({ ...world, stack }, app, "base")).toMatchObject({ state: "active" });
  }
});
afterAll(async () => {
  await other.stop();
  await world.stop();
});

const OTHERS = ["database", "pulse-env", "shop-base", "theirs-base"];

async function runJanitor(stack: TestStack, dryRun = false): Promise<unknown> {
  const { body } = await stack.api("POST", "/janitor/run", { dryRun });
  expect(body).toMatchObject({ outcome: "completed", errors: [] });
  return body["decisions"];
}

test("a service that is made after the Worker died and its deployment was cleaned up is taken away, and nothing else", async () => {
  const { railway, stack } = world;
  const callsBefore = railway.faults.count("serviceCreate");
  const comesTrue = Promise.withResolvers<undefined>();
  railway.faults.add("serviceCreate", { kind: "slow", until: comesTrue.promise });
  railway.faults.add("serviceCreate", { kind: "error", message: "You have too many services" });
  await begin(world, "shop", "lost", { image: "shop:2" });
  await until(
    () => railway.faults.count("serviceCreate"),
    (calls) => calls === callsBefore + 1,
  );
  await stack.restart();
  expect(await outcome(world, "shop", "lost")).toMatchObject({ state: "failed" });
  // Only what is cleaned up can be deleted, which makes it final.
  await until(
    () => stack.api("DELETE", "/apps/shop/deployments/lost"),
    ({ status }) => status < 300,
  );
  expect(railway.state.serviceNames()).toEqual(OTHERS);
  comesTrue.resolve(undefined);
  await until(
    () => railway.state.serviceNames(),
    (names) => names.includes("shop-lost"),
  );

  const about = { app: "shop", deployment: "lost" };
  expect(await runJanitor(stack)).toMatchObject([{ ...about, action: "keep", reason: "orphan_too_young" }]);
  for (const service of railway.state.world.services) {
    service.createdAt = new Date(service.createdAt.getTime() - 11 * 60_000);
  }
  const found = { ...about, action: "delete", reason: "orphaned_service" };
  expect(await runJanitor(stack, true)).toMatchObject([found]);
  expect(await runJanitor(other)).toEqual([]);
  expect(railway.state.serviceNames()).toEqual([...OTHERS, "shop-lost"].sort());

  expect(await runJanitor(stack)).toMatchObject([found]);
  expect(railway.state.serviceNames()).toEqual(OTHERS);
  const { body } = await stack.api("GET", "/audit?app=shop&limit=1");
  expect(body["entries"]).toMatchObject([{ actor: "janitor", action: "railway.orphan-deleted" }]);

  railway.faults.calls.length = 0;
  expect(await runJanitor(stack)).toEqual([]);
  expect(railway.faults.calls).toHaveLength(1);
  expect((await stack.request("shop.test", "/")).text).toBe("one base");
  expect((await other.request("theirs.test", "/")).text).toBe("one base");
});

test("the cron takes away what a deleted app left behind, and keeps what no app ever had", async () => {
  const { railway, stack } = world;
  const marks = Object.fromEntries(railway.state.instance("shop-base")?.variables ?? []);
  const created = new Date().toISOString();
  await putApp(stack, "gone", { hosts: [] });
  await stack.api("DELETE", "/apps/gone");
  await until(
    () => stack.api("GET", "/apps/gone"),
    ({ status }) => status === 404,
  );
  for (const app of ["gone", "unknown"]) {
    const variables = { ...marks, SIGNALBOX_APP: app, SIGNALBOX_DEPLOYMENT_CREATED: created };
    const service = railway.state.addService(`${app}-base`, { variables });
    service.createdAt = new Date(Date.now() - 11 * 60_000);
  }
  // The cron looks for them each quarter of an hour.
  railway.faults.calls.length = 0;
  await stack.workerd.runCron(new Date("2026-01-01T12:14:00Z"));
  expect(railway.faults.calls).toEqual([]);
  await stack.workerd.runCron(new Date("2026-01-01T12:15:00Z"));
  expect((await stack.api("GET", "/janitor/last")).body["report"]).toMatchObject({
    decisions: [
      { app: "gone", action: "delete", reason: "orphaned_service" },
      { app: "unknown", action: "keep", reason: "orphan_unproven" },
    ],
  });
  expect(railway.state.serviceNames()).toEqual([...OTHERS, "unknown-base"].sort());
});
