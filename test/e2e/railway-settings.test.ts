import { afterEach, expect, test } from "vitest";
import type { RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { putApp } from "../helpers/deploy.ts";
import { begin, outcome, startRailwayStack, type RailwayStack } from "../helpers/railway-stack.ts";
import type { ApiAnswer } from "../helpers/stack.ts";

let world: RailwayStack;
afterEach(() => world.stop());

const start = async (settings: (railway: RailwayStandIn) => Record<string, string>): Promise<void> => {
  world = await startRailwayStack({ settings });
};

async function deploy(): Promise<ApiAnswer> {
  await putApp(world.stack, "shop", { hosts: ["shop.test"] });
  const body = { id: "v1", target: { kind: "railway", image: "shop:1" } };
  return world.stack.api("POST", "/apps/shop/deployments", body);
}

test("an account's token with the ids of project and environment does", async () => {
  await start(({ accountToken, projectId, environmentId }) => ({
    RAILWAY_API_TOKEN: accountToken,
    RAILWAY_PROJECT_ID: projectId,
    RAILWAY_ENVIRONMENT_ID: environmentId,
  }));
  await putApp(world.stack, "shop", { hosts: ["shop.test"] });
  await begin(world, "shop", "v1", { image: "shop:1" });
  expect(await outcome(world, "shop", "v1")).toEqual({ state: "active", reason: null });
});

test("without a token, a target on Railway is refused with what to set", async () => {
  await start(() => ({}));
  const answer = await deploy();
  expect(answer.status).toBe(422);
  expect(answer.body["detail"]).toContain("RAILWAY_TOKEN");
});

test("a wrong token is refused with where each kind belongs, and never repeated", async () => {
  await start(({ accountToken }) => ({ RAILWAY_TOKEN: accountToken }));
  const answer = await deploy();
  expect(answer.status).toBe(502);
  expect(answer.body["code"]).toBe("railway_failed");
  expect(answer.body["detail"]).toContain("RAILWAY_API_TOKEN");
  expect(answer.body["detail"]).not.toContain(world.railway.accountToken);
});

test("a project without the service for variables is refused with its name", async () => {
  await start(({ projectToken }) => ({ RAILWAY_TOKEN: projectToken, RAILWAY_ENV_SERVICE: "other-env" }));
  const answer = await deploy();
  expect(answer.status).toBe(422);
  expect(answer.body["detail"]).toContain("no service other-env");
});

test("while Railway is away a deployment is refused for now", async () => {
  await start(({ projectToken }) => ({ RAILWAY_TOKEN: projectToken }));
  world.railway.faults.add("*", { kind: "500" }, { count: 3 });
  const answer = await deploy();
  expect(answer.status).toBe(503);
  expect(answer.body["code"]).toBe("railway_unavailable");
  expect(answer.headers.get("retry-after")).not.toBeNull();
  expect((await deploy()).status).toBe(202);
});

test.for([
  [{ RAILWAY_API_TOKEN: "an-account-token" }, "RAILWAY_PROJECT_ID"],
  [{ RAILWAY_TOKEN: "a-project-token", RAILWAY_PROJECT_ID: "p" }, "RAILWAY_ENVIRONMENT_ID"],
  [{ RAILWAY_ENV_SERVICE: "${{x}}" }, "RAILWAY_ENV_SERVICE"],
  [{ RAILWAY_API_URL: "backboard" }, "RAILWAY_API_URL"],
  [{ RAILWAY_CALLS_PER_MINUTE: "many" }, "RAILWAY_CALLS_PER_MINUTE"],
] as const)("settings that can't be meant are named: %j", async ([settings, name]) => {
  await start(() => ({ ...settings }));
  const answer = await world.stack.api("GET", "/apps");
  expect(answer.status).toBe(500);
  expect(answer.body["code"]).toBe("config_invalid");
  expect(answer.body["detail"]).toContain(name);
  for (const value of Object.values(settings)) {
    if (value.length > 3) expect(answer.body["detail"]).not.toContain(value);
  }
});
