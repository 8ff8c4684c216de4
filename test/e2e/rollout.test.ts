import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const backends: Backend[] = [];

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  await stack.stop();
});

async function deploy(app: string, id: string): Promise<Backend> {
  const backend = await startBackend(id);
  backends.push(backend);
  const answer = await stack.api("POST", `/apps/${app}/deployments`, {
    id,
    target: { kind: "url", url: backend.url },
  });
  expect(answer.status).toBe(202);
  await stack.control.until(app, id, ["active"], 60_000);
  return backend;
}

test("a new version takes new visitors while pinned ones stay, then drains and is gone", async () => {
  await stack.api("PUT", "/apps/shop", {
    hosts: ["shop.test"],
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 0,
  });
  const v1 = await deploy("shop", "v1");
  v1.sessions = 1;
  await deploy("shop", "v2");

  const fresh = await until(
    () => stack.request("shop.test", "/"),
    ({ text }) => text.startsWith("v2"),
  );
  expect(fresh.headers["x-pulse-selected-deployment"]).toBe("v2");
  expect(fresh.headers["x-signalbox-route"]).toBe("active");
  const pinned = await stack.request("shop.test", "/page?pulse_deployment=v1");
  expect(pinned.text).toBe("v1 /page?pulse_deployment=v1");
  expect(pinned.headers["x-signalbox-route"]).toBe("pinned");

  const kept = await stack.api("POST", "/janitor/run", {});
  expect(kept.body["decisions"]).toMatchObject([
    { deployment: "v1", action: "keep", reason: "live_sessions" },
  ]);
  v1.sessions = 0;
  const deleted = await stack.api("POST", "/janitor/run", {});
  expect(deleted.body["decisions"]).toMatchObject([
    { deployment: "v1", action: "delete", reason: "no_sessions" },
  ]);
  await stack.control.until("shop", "v1", ["removed"], 60_000);
  const stale = await until(
    () => stack.request("shop.test", "/?pulse_deployment=v1"),
    ({ status }) => status !== 200,
  );
  expect(stale.status).toBe(409);
  expect(JSON.parse(stale.text)).toMatchObject({ detail: "stale affinity" });
});
