import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { connectRunner } from "../helpers/tunnel-client.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const backends: Backend[] = [];
const log: string[] = [];

beforeAll(async () => {
  stack = await startTestStack({ stdout: "pipe" });
  const { stdout } = stack.workerd;
  if (stdout === null) throw new Error("workerd has no pipe");
  createInterface(stdout).on("line", (line) => log.push(line));
  for (const id of ["v1", "v2"]) backends.push(await startBackend(id));
});
afterAll(async () => {
  await stack.stop();
  await Promise.all(backends.map((backend) => backend.close()));
});

interface Line {
  event: string;
  decision: string;
  outcome: string;
  app?: string;
  runner?: string;
  deployment?: string | null;
  actor: string;
}

/** Without lines of other parts of the Worker. */
function allDecisions(): Line[] {
  return log
    .filter((line) => line.startsWith("{"))
    .map((line): Line => JSON.parse(line))
    .filter(({ event }) => event === "decision");
}

const decisions = (app: string): Line[] => allDecisions().filter((line) => line.app === app);

test("the Worker's log has one line for each decision, with app, deployment and who", async () => {
  await putApp(stack, "shop", { previousRetentionSeconds: 0, reloadGraceSeconds: 0 });
  for (const { id, url } of backends) await deployUrl(stack, "shop", id, url);
  await change(stack, "POST", "/apps/shop/rollback");
  const refused = await stack.api("DELETE", "/apps/shop/deployments/v1");
  expect(refused.status).toBe(409);
  await change(stack, "PUT", "/apps/shop/canary", { id: "v2", weight: 10 });
  const deleted = await stack.api("DELETE", "/apps/shop/deployments/v2");
  expect(deleted.status).toBe(202);
  await until(
    () => decisions("shop"),
    (lines) => lines.some(({ decision }) => decision === "removed"),
  );
  expect(decisions("shop")).toMatchObject([
    { decision: "create", outcome: "done", deployment: "v1", actor: "operator", action: "deployment.create" },
    { decision: "auto-promote", outcome: "done", deployment: "v1", actor: "controller" },
    { decision: "create", outcome: "done", deployment: "v2", actor: "operator" },
    { decision: "auto-promote", outcome: "done", deployment: "v2", drains: ["v1"], actor: "controller" },
    {
      decision: "rollback",
      outcome: "done",
      deployment: "v1",
      drains: ["v2"],
      actor: "operator",
      version: 10,
    },
    {
      decision: "retire",
      outcome: "refused",
      deployment: "v1",
      code: "active_deployment",
      actor: "operator",
    },
    { decision: "set-canary", outcome: "done", deployment: "v2", weight: 10, actor: "operator" },
    {
      decision: "retire",
      outcome: "done",
      deployment: "v2",
      reason: "deleted",
      drains: ["v2"],
      actor: "operator",
    },
    { decision: "removed", outcome: "done", deployment: "v2", actor: "controller" },
  ]);
});

test("an app's end and the janitor's decisions are in it", async () => {
  await putApp(stack, "blog", { previousRetentionSeconds: 0, reloadGraceSeconds: 0 });
  for (const { id, url } of backends) await deployUrl(stack, "blog", id, url);
  const swept = await stack.api("POST", "/janitor/run", {});
  expect(swept.status).toBe(200);
  await until(
    () => decisions("blog"),
    (lines) => lines.some(({ decision }) => decision === "removed"),
  );
  expect(decisions("blog")).toContainEqual(
    expect.objectContaining({ decision: "retire", reason: "drained", deployment: "v1", actor: "janitor" }),
  );
  await stack.api("DELETE", "/apps/blog");
  await until(
    () => decisions("blog"),
    (lines) => lines.some(({ decision }) => decision === "app-deleted"),
  );
  expect(decisions("blog")).toContainEqual(
    expect.objectContaining({ decision: "delete-app", drains: ["v2"], actor: "operator" }),
  );
});

test("a runner's drain and its end are in it, once for each Idempotency-Key", async () => {
  const runner = await connectRunner(stack, "machine");
  const drain = (draining: boolean, key: string) =>
    stack.api("POST", "/runners/machine/drain", { draining }, { "idempotency-key": key });
  for (const [draining, key] of [
    [true, "one"],
    [true, "one"],
    [false, "two"],
  ] as const) {
    expect((await drain(draining, key)).status).toBe(200);
  }
  const unknown = await stack.api("POST", "/runners/nobody/drain", {});
  expect(unknown.status).toBe(404);
  const ofRunners = (): Line[] => allDecisions().filter((line) => line.runner !== undefined);
  await until(ofRunners, (lines) => lines.some(({ decision }) => decision === "undrain-runner"));
  expect(ofRunners()).toEqual([
    {
      event: "decision",
      outcome: "done",
      decision: "drain-runner",
      runner: "machine",
      actor: "operator",
      action: "runner.drain",
    },
    expect.objectContaining({ decision: "undrain-runner", runner: "machine", action: "runner.undrain" }),
  ]);
  await runner.close();
});

test("nothing secret is in it: no token, and nothing that an app or a caller wrote", async () => {
  const message = "Back soon, says secret-in-a-message.";
  const env = { SECRET: "secret-in-a-variable" };
  await putApp(stack, "quiet", { verifyTimeoutSeconds: 1 });
  await change(stack, "POST", "/apps/quiet/pause", { mode: "refuse", message });
  const source = { sha256: "a".repeat(64) };
  const target = { kind: "runner", source, start: "node .", env };
  await stack.api("POST", "/apps/quiet/deployments", { id: "v1", target });
  const url = "http://secret-in-a-url.test:1";
  await stack.api("POST", "/apps/quiet/deployments", { id: "v2", target: { kind: "url", url } });
  await until(
    () => decisions("quiet"),
    (lines) => lines.some(({ decision }) => decision === "fail"),
  );
  const text = log.join("\n");
  for (const secret of [CONTROL_TOKEN, INTERNAL_TOKEN, "secret-in"]) expect(text).not.toContain(secret);
  expect(decisions("quiet")).toContainEqual(
    expect.objectContaining({ decision: "fail", code: "verification_failed", deployment: "v2" }),
  );
});
