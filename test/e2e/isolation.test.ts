import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { until } from "../helpers/stack.ts";

let world: UpstashStack;
const backends: Backend[] = [];

beforeAll(async () => {
  world = await onUpstash({ ROUTE_TTL_MS: "100" });
});

afterAll(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  await world.stop();
});

async function deploy(app: string, id: string, promote = true): Promise<Backend> {
  const backend = await startBackend(id);
  backends.push(backend);
  const body = { id, promote, target: { kind: "url", url: backend.url } };
  expect((await world.stack.api("POST", `/apps/${app}/deployments`, body)).status).toBe(202);
  return backend;
}

/** From now on it answers nothing; counts the calls that nobody waits for any more. */
function hang(backend: Backend): () => number {
  let givenUp = 0;
  backend.handler = (_, response) => {
    response.once("close", () => (givenUp += 1));
    return true;
  };
  return () => givenUp;
}

async function deployHanging(app: string, id: string): Promise<() => number> {
  const backend = await startBackend(id);
  backends.push(backend);
  const givenUp = hang(backend);
  const body = { id, promote: false, target: { kind: "url", url: backend.url } };
  expect((await world.stack.api("POST", `/apps/${app}/deployments`, body)).status).toBe(202);
  await until(
    () => backend.seen.length,
    (requests) => requests > 0,
  );
  return givenUp;
}

test("a rollout whose backend hangs holds up no other rollout of the app", async () => {
  await world.stack.api("PUT", "/apps/one", { hosts: ["one.test"] });
  const givenUp = await deployHanging("one", "v1");
  await deploy("one", "v2");
  await world.stack.control.until("one", "v2", ["active"], 60_000);
  // One contract call of v1 takes five seconds to be given up.
  expect(givenUp()).toBe(0);
});

test("ten rollouts whose backends hang don't starve the eleventh", async () => {
  await world.stack.api("PUT", "/apps/ten", { hosts: ["ten.test"] });
  const givenUp: (() => number)[] = [];
  for (let index = 0; index < 4; index++) givenUp.push(await deployHanging("ten", `slow-${index}`));
  for (let index = 4; index < 10; index++) givenUp.push(hang(await deploy("ten", `slow-${index}`, false)));
  await deploy("ten", "good");
  await world.stack.control.until("ten", "good", ["active"], 60_000);
  // It waits for a turn, which comes before any of the slow ones has given up a second one.
  expect(Math.max(...givenUp.map((count) => count()))).toBeLessThanOrEqual(1);
});

test("a lost answer of the store delays a rollout and never doubles or ends it", async () => {
  await world.stack.api("PUT", "/apps/lossy", { hosts: ["lossy.test"] });
  // A third of them, in no rhythm: in step with the retries it could be the same commit's answer for ever.
  let dice = 1;
  const unhook = world.front.onCommand((command, phase) => {
    if (command[0] !== "EVAL" || phase !== "after") return;
    dice = (dice * 16_807) % 2_147_483_647;
    if (dice % 3 === 0) throw new Error("lost");
  });
  const backend = await startBackend("v1");
  backends.push(backend);
  const body = { id: "v1", target: { kind: "url", url: backend.url } };
  const key = { "idempotency-key": "lossy-v1" };
  const answer = await until(
    () => world.stack.api("POST", "/apps/lossy/deployments", body, key),
    ({ status }) => status !== 503,
  );
  expect(answer.status).toBe(202);
  await until(
    async () => {
      // The cron makes good for what the call that was never answered would have set off.
      await world.stack.workerd.runCron().catch(() => undefined);
      await forgetLease();
      return world.document("lossy");
    },
    (document) => document?.active === "v1",
  );
  unhook();
  const { body: audit } = await world.stack.api("GET", "/audit?app=lossy&limit=100");
  const entries = Array.isArray(audit["entries"]) ? audit["entries"] : [];
  expect(entries.map((entry: { action: string }) => entry.action).toReversed()).toEqual([
    "app.create",
    "deployment.create",
    "deployment.provisioned",
    "deployment.verified",
    "deployment.auto-promote",
  ]);
});

/** A janitor that wasn't told that it has the lease leaves it to run out in half a minute; here at once. */
async function forgetLease(): Promise<void> {
  const headers = { authorization: `Bearer ${world.front.token}` };
  const body = JSON.stringify(["DEL", "signalbox:lease:janitor"]);
  await fetch(world.front.url, { method: "POST", headers, body });
}
