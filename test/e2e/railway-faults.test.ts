import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, type TestContext } from "vitest";
import type { Fault } from "../../scripts/railway-stand-in/faults.ts";
import { putApp } from "../helpers/deploy.ts";
import {
  begin,
  outcome,
  packFiles,
  START,
  startRailwayStack,
  type RailwayStack,
} from "../helpers/railway-stack.ts";
import { CONTROL_TOKEN, until } from "../helpers/stack.ts";
import { WorldPool } from "../helpers/world-pool.ts";

const worlds = new WorldPool(4, async () => {
  const world = await startRailwayStack();
  world.railway.state.addService("database", { variables: { SIGNALBOX_OWNER: "0123456789abcdef" } });
  return world;
});
beforeAll(() => worlds.open());
afterAll(() => worlds.close());
let apps = 0;

interface Calm {
  world: RailwayStack;
  app: string;
  /** Services of the test's own app. */
  ours: () => string[];
  becomesOurs: (expected: string[]) => Promise<unknown>;
  /** Sends a source to its v1. */
  put: (body: Uint8Array<ArrayBuffer>) => Promise<Response>;
}

/** An app in a world that nobody else is in meanwhile. */
async function newApp(context: TestContext): Promise<Calm> {
  const world = await worlds.borrow(context);
  const app = `calm${++apps}`;
  const config = { hosts: [`${app}.test`], previousRetentionSeconds: 0, reloadGraceSeconds: 0 };
  await putApp(world.stack, app, config);
  const ours = (): string[] =>
    world.railway.state.serviceNames().filter((name) => name.startsWith(`${app}-`));
  return {
    world,
    app,
    ours,
    becomesOurs: (expected) =>
      until(ours, (names) => JSON.stringify(names) === JSON.stringify(expected), 90_000),
    put: (body) =>
      fetch(`${world.stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/source`, {
        method: "PUT",
        headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
        body,
      }),
  };
}

const CALLS = [
  "project",
  "variables",
  "serviceCreate",
  "serviceInstanceUpdate",
  "serviceDomainCreate",
  "serviceInstanceDeployV2",
  "buildLogs",
] as const;

describe("a rollout ends active with one service", () => {
  test.concurrent.for(CALLS)(
    "when the answer to %s is lost after the work was done",
    async (operation, context) => {
      const { world, app, ours } = await newApp(context);
      world.railway.faults.add(operation, { kind: "lost" }, { after: operation === "project" ? 1 : 0 });
      await begin(world, app, "v1", { image: "shop:1" });
      expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
      expect(world.railway.faults.pending).toBe(0);
      expect(ours()).toEqual([`${app}-v1`]);
      const instance = world.railway.state.instance(`${app}-v1`);
      expect(instance?.domains).toHaveLength(1);
      expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
      expect((await world.stack.request(`${app}.test`, "/")).text).toBe("one v1");
    },
  );

  test.concurrent.for([
    ["serviceCreate", { kind: "500" }],
    ["serviceCreate", { kind: "error" }],
    ["serviceCreate", { kind: "429", retryAfterSeconds: 2 }],
    ["serviceInstanceDeployV2", { kind: "500" }],
    ["serviceDomainCreate", { kind: "error" }],
    ["buildLogs", { kind: "error", message: "Build logs aren't available" }],
  ] as const satisfies [string, Fault][])(
    "when %s goes wrong in passing: %j",
    async ([operation, fault], context) => {
      const { world, app, ours } = await newApp(context);
      world.railway.faults.add(operation, fault);
      await begin(world, app, "v1", { image: "shop:1" });
      expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
      expect(ours()).toEqual([`${app}-v1`]);
      expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
    },
  );
});

test.concurrent(
  "a rollout that Railway refuses fails with its words, and its service is taken away",
  async (context) => {
    const { world, app, becomesOurs } = await newApp(context);
    world.railway.faults.add("serviceInstanceUpdate", { kind: "error", message: "Invalid start command" });
    await begin(world, app, "v1", { image: "shop:1" });
    const { state, reason } = await outcome(world, app, "v1");
    expect(state).toBe("failed");
    expect(reason).toContain("serviceInstanceUpdate");
    expect(reason).toContain("Invalid start command");
    await becomesOurs([]);
  },
);

test.concurrent(
  "a service whose creation was refused after its answer was lost isn't left behind",
  async (context) => {
    const { world, app, ours, becomesOurs } = await newApp(context);
    world.railway.faults.add("serviceCreate", { kind: "lost" });
    // From then on nothing is found any more, and the rollout is given up by its operator.
    world.railway.faults.add("project", { kind: "500" }, { after: 2, count: 6 });
    await begin(world, app, "v1", { image: "shop:1" });
    await until(
      () => ours(),
      (names) => names.length === 1,
    );
    await world.stack.api("DELETE", `/apps/${app}`);
    await becomesOurs([]);
  },
);

describe("a source", () => {
  test.concurrent.for([{ kind: "lost" }, { kind: "500" }, { kind: "429" }] as const satisfies Fault[])(
    "whose upload goes wrong (%j) is sent again, and built once",
    async (fault, context) => {
      const { world, app, put } = await newApp(context);
      world.railway.faults.add("up", fault);
      await begin(world, app, "v1", { upload: true, start: START });
      const source = await packFiles({ "note.txt": "hello" });
      const first = await put(source);
      expect(first.status).toBe(503);
      expect(first.headers.get("retry-after")).not.toBeNull();
      await until(
        () => put(source),
        ({ status }) => status === 200 || status === 409,
      );
      expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
      expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
    },
  );

  test.concurrent(
    "that can't be unpacked fails the deployment, and its service is taken away",
    async (context) => {
      const { world, app, becomesOurs, put } = await newApp(context);
      await begin(world, app, "v1", { upload: true, start: START });
      expect((await put(new TextEncoder().encode("not a tar"))).status).toBe(200);
      const { state, reason } = await outcome(world, app, "v1");
      expect(state).toBe("failed");
      expect(reason).toContain("can't be unpacked");
      await becomesOurs([]);
    },
  );

  test.concurrent("of a megabyte and more passes through as it comes", async (context) => {
    const { world, app } = await newApp(context);
    await begin(world, app, "v1", { upload: true, start: START });
    const noise = randomBytes(6 * 1024 * 1024).toString("base64");
    const archive = await packFiles({ "noise.txt": noise });
    const chunked = await fetch(`${world.stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/source`, {
      method: "PUT",
      headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
      body: new Blob([archive]).stream(),
      duplex: "half",
    });
    expect(chunked.status).toBe(200);
    expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
  });
});

test.concurrent(
  "a removal whose answers are lost ends with the service gone, and only that",
  async (context) => {
    const { world, app, ours } = await newApp(context);
    await begin(world, app, "v1", { image: "shop:1" });
    await outcome(world, app, "v1");
    world.railway.faults.add("serviceDelete", { kind: "lost" });
    world.railway.faults.add("variables", { kind: "lost" });
    world.railway.faults.add("project", { kind: "500" });
    await world.stack.api("DELETE", `/apps/${app}`);
    await until(
      () => world.stack.api("GET", `/apps/${app}`),
      ({ status }) => status === 404,
    );
    expect(ours()).toEqual([]);
    expect(world.railway.state.serviceNames()).toEqual(expect.arrayContaining(["database", "pulse-env"]));
  },
);

test.concurrent("a redeploy whose answer is lost deploys once", async (context) => {
  const { world, app } = await newApp(context);
  await begin(world, app, "v1", { image: "shop:1" });
  await outcome(world, app, "v1");
  world.railway.faults.add("deploymentRedeploy", { kind: "lost" });
  await world.stack.api("POST", `/apps/${app}/deployments/v1/redeploy`);
  await until(
    () => world.stack.api("GET", `/apps/${app}/deployments/v1`),
    ({ body }) => body["redeploying"] === false,
  );
  expect(world.railway.faults.pending).toBe(0);
  expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(2);
});

test.concurrent(
  "a rollout goes on after the Worker was killed in it, with the one service",
  async (context) => {
    const { world, app, ours } = await newApp(context);
    world.railway.faults.add("serviceInstanceDeployV2", { kind: "slow", ms: 2_000 });
    await begin(world, app, "v1", { image: "shop:1" });
    await until(
      () => world.railway.faults.pending,
      (pending) => pending === 0,
    );
    await world.stack.restart();
    await world.stack.api("GET", `/apps/${app}`);
    expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
    expect(ours()).toEqual([`${app}-v1`]);
  },
);
