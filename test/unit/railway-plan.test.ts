import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import type { Baseline } from "../../scripts/cli/railway/baseline.ts";
import {
  describeChange,
  planBaseline,
  RUNNER_SETTINGS,
  type Wanted,
} from "../../scripts/cli/railway/plan.ts";
import { choosePlace } from "../../scripts/cli/railway/place.ts";
import { RUNNER_ID_PATTERN } from "../../functions/protocol/limits.ts";

const names = { envService: "pulse-env", runnerService: "signalbox-runner" };
const empty: Baseline = { names, env: null, runner: null, others: [] };
const wanted: Wanted = {
  brokerUrl: "wss://edge.example.test/_signalbox/socket",
  runnerSecret: "runner-secret-for-tests",
  source: { image: "example/runner" },
  redis: null,
  installation: "0123456789abcdef",
};
const complete: Baseline = {
  ...empty,
  env: { id: "e", name: "pulse-env", groupId: null, instance: instance({ source: null }), variables: {} },
  runner: {
    id: "r",
    name: "signalbox-runner",
    groupId: null,
    instance: instance({ source: { image: "example/runner", repo: null } }),
    volumePaths: ["/data/workspace"],
    variables: {
      SIGNALBOX_BASELINE: "runner",
      SIGNALBOX_OWNER: "0123456789abcdef",
      RUNNER_BROKER_URL: "wss://edge.example.test/_signalbox/socket",
      RUNNER_SHARED_SECRET: "another-secret-that-stays",
      RUNNER_ID: "signalbox-runner",
      WORKSPACE_ROOT: "/data/workspace",
    },
  },
};

function instance({ source }: { source: { image: string | null; repo: string | null } | null }) {
  return { ...RUNNER_SETTINGS, source, latestDeployment: { id: "d1", status: "SUCCESS" } };
}

const texts = (
  baseline: Baseline,
  want: Partial<Wanted> = {},
  deployments: Baseline["others"] = [],
): string[] => planBaseline(baseline, { ...wanted, ...want }, deployments).map(describeChange);

test("the runner service is set as the runner's own railway.json says", () => {
  const { deploy } = JSON.parse(readFileSync(join(projectRoot, "railway.json"), "utf8")) as {
    deploy: Record<string, unknown>;
  };
  expect(RUNNER_SETTINGS).toEqual(deploy);
});

test("a repository is connected last, since Railway then builds at once", () => {
  const kinds = planBaseline(empty, { ...wanted, source: { repo: "acme/signalbox" } }).map(
    ({ kind }) => kind,
  );
  expect(kinds).toEqual(["create-service", "create-service", "create-volume", "configure", "connect"]);
});

test("what is as it should be stays, with a secret that differs", () => {
  expect(texts(complete)).toEqual([]);
  expect(texts(complete, { brokerUrl: null, runnerSecret: null, source: null, installation: null })).toEqual(
    [],
  );
});

test("a runner that was never deployed is", () => {
  const { runner } = complete;
  if (runner?.instance == null) throw new Error("there is no runner");
  const never = {
    ...complete,
    runner: { ...runner, instance: { ...runner.instance, latestDeployment: null } },
  };
  expect(texts(never)).toEqual(["deploy signalbox-runner"]);
});

test("a description names variables and shows no value", () => {
  const all = texts(empty, { redis: { mode: "external", url: "redis://user:word@host" } }).join("\n");
  expect(all).toContain("PULSE_RAILWAY_REDIS_URL");
  expect(all).toContain("RUNNER_SHARED_SECRET");
  expect(all).not.toMatch(/word@|runner-secret-for-tests/);
});

test("only services outside of the runner's group are moved there; without a group nothing is", () => {
  const { env, runner } = complete;
  if (env === null || runner === null) throw new Error("the baseline isn't complete");
  const deployments = [{ id: "s", name: "shop-v1", groupId: null }];
  expect(texts(complete, {}, deployments)).toEqual([]);
  const grouped = { ...complete, runner: { ...runner, groupId: "g" } };
  expect(texts(grouped, {}, deployments)).toEqual(["move pulse-env, shop-v1 to the runner's group"]);
  expect(texts({ ...grouped, env: { ...env, groupId: "g" } })).toEqual([]);
});

test("a service's name becomes a runner's id that the edge takes", () => {
  const baseline = { ...empty, names: { ...names, runnerService: "our runner (eu)" } };
  const made = planBaseline(baseline, wanted).find(
    (change) => change.kind === "create-service" && change.role === "runner",
  );
  if (made?.kind !== "create-service") throw new Error("no runner is made");
  expect(made.variables["RUNNER_ID"]).toMatch(RUNNER_ID_PATTERN);
});

test("for each thing a flag of either form hides what the file says", () => {
  const file = { workspace: "Acme", project: "shop", environmentId: "e1" };
  expect(choosePlace({ projectId: "p1", environment: "staging" }, file)).toEqual({
    workspace: { by: "name", value: "Acme", from: "railway.workspace" },
    project: { by: "id", value: "p1", from: "--project-id" },
    environment: { by: "name", value: "staging", from: "--environment" },
  });
  expect(choosePlace({}, {})).toEqual({ workspace: null, project: null, environment: null });
  expect(() => choosePlace({ project: "a", projectId: "b" }, {})).toThrow("--project and --project-id");
  expect(() => choosePlace({}, { project: "a", projectId: "b" })).toThrow(
    "railway.project and railway.projectId",
  );
});
