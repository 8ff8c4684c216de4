import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { putApp } from "../helpers/deploy.ts";
import { archiveOf } from "../helpers/archive.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { deploy, TUNNEL_APP, uploadSource } from "../helpers/runner-deployments.ts";
import { startTestStack, until, type ApiAnswer, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let europe: RunnerProcess;
let america: RunnerProcess;
let sha256: string;

beforeAll(async () => {
  stack = await startTestStack();
  europe = await startRunner(stack, { id: "europe", env: { RUNNER_LABELS: "region=eu" } });
  america = await startRunner(stack, { id: "america", env: { RUNNER_LABELS: "region=us,gpu=yes" } });
  const archive = await archiveOf({ "README.md": "An app for tests.\n" });
  await uploadSource(stack, europe.id, archive);
  sha256 = await uploadSource(stack, america.id, archive);
});

afterAll(async () => {
  await Promise.all([europe.remove(), america.remove()]);
  await stack.stop();
});

const status = z.object({
  status: z.object({
    payload: z.object({
      labels: z.record(z.string(), z.string()),
      deployments: z.number(),
      drainRequested: z.boolean(),
      status: z.string(),
    }),
  }),
});

/** What a runner has said of itself. */
async function said(id: string): Promise<z.infer<typeof status>["status"]["payload"]> {
  const body = await until(
    async () => (await stack.api("GET", `/runners/${id}`)).body,
    (seen) => seen["status"] !== null,
  );
  return status.parse(body).status.payload;
}

/** Deploys and says where to; the load that placement goes by is what the runner has said by then. */
async function place(app: string, labels?: Record<string, string>): Promise<string> {
  await putApp(stack, app, { hosts: [`${app}.test`] });
  await deploy(stack, app, "v1", { sha256, ...(labels === undefined ? {} : { labels }) });
  await stack.control.until(app, "v1", ["active"], 60_000);
  const { body } = await stack.api("GET", `/apps/${app}/deployments/v1`);
  return String(Object(body["target"]).runnerId);
}

async function refused(labels: Record<string, string>): Promise<ApiAnswer> {
  await putApp(stack, "refused", {});
  return stack.api("POST", "/apps/refused/deployments", {
    target: { kind: "runner", source: { sha256 }, start: TUNNEL_APP, labels },
  });
}

/** Until a runner's heartbeat counts so many deployments. */
async function counted(id: string, deployments: number): Promise<void> {
  await stack.api("POST", `/runners/${id}/commands?wait=10`, { type: "runner-health-check" });
  await until(
    () => said(id),
    (seen) => seen.deployments === deployments,
  );
}

test("a deployment goes to the least loaded runner with all of its labels, never to a drained one", async () => {
  expect((await said("america")).labels).toEqual({ region: "us", gpu: "yes" });
  expect(await place("american", { region: "us" })).toBe("america");
  expect(await place("computing", { gpu: "yes", region: "us" })).toBe("america");
  const none = await refused({ gpu: "yes", region: "eu" });
  expect([none.status, none.body["code"]]).toEqual([422, "target_refused"]);
  expect(none.body["errors"]).toMatchObject([{ field: "target.labels" }]);

  await counted("america", 2);
  expect(await place("anywhere")).toBe("europe");
  await counted("europe", 1);

  // America is fuller, and the only one that is left.
  await stack.api("POST", "/runners/europe/drain", {});
  expect(await place("elsewhere")).toBe("america");
  const drained = await refused({ region: "eu" });
  expect(drained.body["errors"]).toMatchObject([{ field: "target.labels" }]);
  expect((await stack.request("anywhere.test", "/here")).text).toBe("v1 /here");
  await stack.api("POST", "/runners/europe/drain", { draining: false });
  expect(await place("european", { region: "eu" })).toBe("europe");
});

test("a drained runner is told, refuses new work and serves what it has", async () => {
  await place("standing", { region: "us" });
  await stack.api("POST", "/runners/america/drain", {});
  await until(
    () => said("america"),
    (seen) => seen.drainRequested && seen.status === "degraded",
  );
  const port = /Health endpoint listening on port (\d+)/.exec(america.output())?.[1];
  const health = async (): Promise<unknown> => (await fetch(`http://127.0.0.1:${port}/health`)).json();
  expect(await health()).toMatchObject({ status: "healthy", draining: false, drainRequested: true });
  expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(200);
  const work = await stack.api("POST", "/runners/america/commands", { type: "start-build", projectId: "p" });
  expect([work.status, work.body["code"]]).toEqual([503, "runner_draining"]);
  expect((await stack.request("standing.test", "/here")).text).toBe("v1 /here");

  // A new process is told as soon as it connects, and brings back what it had.
  await america.kill();
  await america.start();
  await until(
    () => said("america"),
    (seen) => seen.drainRequested,
  );
  await until(
    () => stack.request("standing.test", "/again"),
    ({ status }) => status === 200,
  );
  await stack.api("POST", "/runners/america/drain", { draining: false });
  await until(
    () => said("america"),
    (seen) => !seen.drainRequested && seen.status === "online",
  );
  expect(await place("late", { region: "us" })).toBe("america");
});

async function pick(wish: unknown): Promise<ApiAnswer> {
  return stack.api("POST", "/placements", wish);
}

test("a placement names the runner and says whether it has the source", async () => {
  const source = { sha256 };
  const there = await pick({ labels: { region: "us" }, source });
  expect([there.status, there.body]).toEqual([200, { runnerId: "america", hasSource: true }]);
  expect((await pick({ runnerId: "europe" })).body).toEqual({ runnerId: "europe", hasSource: false });
  const archive = await archiveOf({ "README.md": "Another app for tests.\n" });
  const unknown = { sha256: createHash("sha256").update(archive).digest("hex") };
  expect((await pick({ runnerId: "europe", source: unknown })).body).toEqual({
    runnerId: "europe",
    hasSource: false,
  });
  const least = await pick({ source: unknown });
  expect(least.body).toMatchObject({ hasSource: false });
  const runnerId = String(least.body["runnerId"]);
  expect(await uploadSource(stack, runnerId, archive)).toBe(unknown.sha256);
  expect((await pick({ runnerId, source: unknown })).body).toEqual({ runnerId, hasSource: true });
});

test.each([
  [{ runnerId: "nobody" }, 422, "target_refused", "runnerId"],
  [{ labels: { region: "moon" } }, 422, "target_refused", "labels"],
  [{ runnerId: "europe", start: "x" }, 400, "invalid_request", "start"],
  [{ source: { sha256: "short" } }, 400, "invalid_request", "source.sha256"],
])("a placement of %j is refused with %i %s about %s", async (wish, status, code, field) => {
  const { status: answered, body } = await pick(wish);
  expect([answered, body["code"]]).toEqual([status, code]);
  expect(body["errors"]).toMatchObject([{ field }]);
});

test("a placement on a drained runner is refused; without a runner's id it picks another", async () => {
  await stack.api("POST", "/runners/america/drain", {});
  const drained = await pick({ runnerId: "america" });
  expect([drained.status, drained.body["errors"]]).toMatchObject([422, [{ field: "runnerId" }]]);
  expect(drained.body["detail"]).toBe("Runner america is draining: an operator asked for it.");
  const unknown = await pick({ runnerId: "nobody" });
  expect(unknown.body["detail"]).toBe("There is no runner nobody: it never connected, or was deleted.");
  expect((await pick({})).body).toMatchObject({ runnerId: "europe" });
  await stack.api("POST", "/runners/america/drain", { draining: false });
});
