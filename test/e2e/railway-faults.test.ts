import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
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

let world: RailwayStack;
let app: string;
let apps = 0;

beforeAll(async () => {
  world = await startRailwayStack();
  world.railway.state.addService("database", { variables: { SIGNALBOX_OWNER: "0123456789abcdef" } });
});
afterAll(() => world.stop());
afterEach(() => world.railway.faults.clear());

async function newApp(): Promise<void> {
  app = `calm${++apps}`;
  const config = { hosts: [`${app}.test`], previousRetentionSeconds: 0, reloadGraceSeconds: 0 };
  await putApp(world.stack, app, config);
}

const ours = (): string[] => world.railway.state.serviceNames().filter((name) => name.startsWith(`${app}-`));
const becomesOurs = (expected: string[]) =>
  until(ours, (names) => JSON.stringify(names) === JSON.stringify(expected), 90_000);

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
  test.for(CALLS)("when the answer to %s is lost after the work was done", async (operation) => {
    await newApp();
    world.railway.faults.add(operation, { kind: "lost" }, { after: operation === "project" ? 1 : 0 });
    await begin(world, app, "v1", { image: "shop:1" });
    expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
    expect(world.railway.faults.pending).toBe(0);
    expect(ours()).toEqual([`${app}-v1`]);
    const instance = world.railway.state.instance(`${app}-v1`);
    expect(instance?.domains).toHaveLength(1);
    expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
    expect((await world.stack.request(`${app}.test`, "/")).text).toBe("one v1");
  });

  test.for([
    ["serviceCreate", { kind: "500" }],
    ["serviceCreate", { kind: "error" }],
    ["serviceCreate", { kind: "429", retryAfterSeconds: 2 }],
    ["serviceInstanceDeployV2", { kind: "500" }],
    ["serviceDomainCreate", { kind: "error" }],
    ["buildLogs", { kind: "error", message: "Build logs aren't available" }],
  ] as const satisfies [string, Fault][])("when %s goes wrong in passing: %j", async ([operation, fault]) => {
    await newApp();
    world.railway.faults.add(operation, fault);
    await begin(world, app, "v1", { image: "shop:1" });
    expect(await outcome(world, app, "v1")).toEqual({ state: "active", reason: null });
    expect(ours()).toEqual([`${app}-v1`]);
    expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
  });
});

test("a rollout that Railway refuses fails with its words, and its service is taken away", async () => {
  await newApp();
  world.railway.faults.add("serviceInstanceUpdate", { kind: "error", message: "Invalid start command" });
  await begin(world, app, "v1", { image: "shop:1" });
  const { state, reason } = await outcome(world, app, "v1");
  expect(state).toBe("failed");
  expect(reason).toContain("serviceInstanceUpdate");
  expect(reason).toContain("Invalid start command");
  await becomesOurs([]);
});

test("a service whose creation was refused after its answer was lost isn't left behind", async () => {
  await newApp();
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
});

describe("a source", () => {
  const put = async (body: Uint8Array<ArrayBuffer>): Promise<Response> =>
    fetch(`${world.stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/source`, {
      method: "PUT",
      headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
      body,
    });

  test.for([{ kind: "lost" }, { kind: "500" }, { kind: "429" }] as const satisfies Fault[])(
    "whose upload goes wrong (%j) is sent again, and built once",
    async (fault) => {
      await newApp();
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

  test("that can't be unpacked fails the deployment, and its service is taken away", async () => {
    await newApp();
    await begin(world, app, "v1", { upload: true, start: START });
    expect((await put(new TextEncoder().encode("not a tar"))).status).toBe(200);
    const { state, reason } = await outcome(world, app, "v1");
    expect(state).toBe("failed");
    expect(reason).toContain("can't be unpacked");
    await becomesOurs([]);
  });

  test("of a megabyte and more passes through as it comes", async () => {
    await newApp();
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

test("a removal whose answers are lost ends with the service gone, and only that", async () => {
  await newApp();
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
});

test("a redeploy whose answer is lost deploys once", async () => {
  await newApp();
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

test("a rollout goes on after the Worker was killed in it, with the one service", async () => {
  await newApp();
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
});
