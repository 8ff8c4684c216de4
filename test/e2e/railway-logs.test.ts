import { afterAll, beforeAll, expect, test } from "vitest";
import { putApp } from "../helpers/deploy.ts";
import { begin, outcome, startRailwayStack, type RailwayStack } from "../helpers/railway-stack.ts";
import { until } from "../helpers/stack.ts";

let world: RailwayStack;

beforeAll(async () => {
  world = await startRailwayStack();
  await putApp(world.stack, "shop", {
    hosts: ["shop.test"],
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 0,
  });
});
afterAll(() => world.stop());

interface Page {
  lines: { text: string; stream: string; step?: string }[];
  cursor: number;
  complete: boolean;
  detail?: string;
}

async function read(id: string, cursor: number): Promise<Page> {
  const { status, body } = await world.stack.api("GET", `/apps/shop/deployments/${id}/logs?cursor=${cursor}`);
  expect(status).toBe(200);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the control API's own view
  return body as unknown as Page;
}

test("what the build and the app wrote can be read, each line once, until the service is gone", async () => {
  await begin(world, "shop", "v1", { image: "shop:1" });
  expect(await outcome(world, "shop", "v1")).toMatchObject({ state: "active" });
  const first = await until(
    () => read("v1", 0),
    ({ lines }) => lines.some(({ text }) => text === "version one listens"),
  );
  expect(first.lines).toContainEqual(expect.objectContaining({ text: "found image shop:1", step: "build" }));
  expect(first.lines.at(-1)).toMatchObject({ stream: "stdout", step: "start" });
  expect(await read("v1", first.cursor)).toMatchObject({ lines: [], cursor: first.cursor, complete: false });

  const [deployment] = world.railway.state.deployments("shop-v1");
  const newest = deployment?.deployLogs.at(-1)?.timestamp ?? new Date();
  // In the very millisecond of a line that was read already, and later.
  deployment?.deployLogs.push(
    { message: "at the same time", severity: "error", timestamp: newest },
    { message: "later", severity: "info", timestamp: new Date(newest.getTime() + 1) },
  );
  const second = await read("v1", first.cursor);
  expect(second.lines.map(({ text, stream }) => [text, stream])).toEqual([
    ["at the same time", "stderr"],
    ["later", "stdout"],
  ]);

  await begin(world, "shop", "v2", { image: "shop:2" });
  await outcome(world, "shop", "v2");
  await world.stack.api("DELETE", "/apps/shop/deployments/v1");
  await world.stack.control.until("shop", "v1", ["removed"], 60_000);
  expect(await read("v1", 0)).toMatchObject({ lines: [], complete: true });
});

test("while Railway can't be reached, the log can't be read just now", async () => {
  await begin(world, "shop", "v3", { image: "shop:1" });
  await outcome(world, "shop", "v3");
  world.railway.faults.add("deploymentOutput", { kind: "500" }, { count: 3 });
  const answer = await world.stack.api("GET", "/apps/shop/deployments/v3/logs");
  expect([answer.status, answer.body["code"]]).toEqual([503, "railway_unavailable"]);
});
