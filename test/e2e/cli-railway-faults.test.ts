import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RailwayClient } from "../../functions/railway/client.ts";
import { reconcileBaseline } from "../../scripts/cli/railway/apply.ts";
import { inspectBaseline } from "../../scripts/cli/railway/baseline.ts";
import { planBaseline, type Wanted } from "../../scripts/cli/railway/plan.ts";
import type { Fault } from "../../scripts/railway-stand-in/faults.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import {
  HERE,
  MAKE,
  OTHER_IMAGE,
  RailwayCli,
  readSecretsFile,
  RUNNER_IMAGE,
  RUNNER_IMAGES,
} from "../helpers/railway-cli.ts";

let railway: RailwayStandIn;
let cli: RailwayCli;

beforeEach(async () => {
  railway = await startRailwayStandIn({ images: RUNNER_IMAGES, pace: { stepMs: 5, secondMs: 50 } });
  cli = await RailwayCli.create({ RAILWAY_API_URL: railway.url, RAILWAY_API_TOKEN: railway.accountToken });
});

afterEach(async () => {
  await cli.remove();
  await railway.stop();
});

/** What a scaffold that didn't come to its end had already put away. */
async function keptSecrets(): Promise<Record<string, string>> {
  const file = join(
    cli.home,
    ".config/signalbox/stacks",
    `${railway.projectId}-${railway.environmentId}.json`,
  );
  return readSecretsFile({ secretsFile: file });
}

const steps: [string, string, number][] = [
  ["the env service is made", "serviceCreate", 0],
  ["the runner service is made", "serviceCreate", 1],
  ["its volume is made", "volumeCreate", 0],
  ["it is configured", "serviceInstanceUpdate", 0],
  ["it is deployed", "serviceInstanceDeployV2", 0],
];
test.each(steps)(
  "a scaffold that is killed while %s can be resumed with the same secrets",
  async (_, call, after) => {
    railway.faults.add(call, { kind: "slow", ms: 60_000 }, { after });
    const killed = cli.start(["scaffold", ...HERE, ...MAKE]);
    await expect.poll(() => railway.faults.count(call)).toBe(after + 1);
    killed.child.kill("SIGKILL");
    await killed.ended;
    railway.faults.clear();
    const kept = await keptSecrets();

    const existing = railway.state.serviceNames();
    if (existing.length > 0) {
      const anew = await cli.refused(["scaffold", ...HERE, ...MAKE]);
      expect(anew).toMatchObject({ code: "baseline_exists", exitCode: 8 });
      for (const name of existing) expect(anew.message).toContain(name);
    }
    const resumed = await cli.done(["scaffold", ...HERE, ...MAKE, "--resume"]);
    expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner"]);
    expect(railway.state.world.volumes).toHaveLength(1);
    const secrets = await readSecretsFile(resumed);
    expect(secrets).toEqual(kept);
    const variables = railway.state.variables("signalbox-runner");
    expect(variables["RUNNER_SHARED_SECRET"]).toBe(secrets["RUNNER_SHARED_SECRET"]);
    expect(railway.state.deployments("signalbox-runner").length).toBeGreaterThan(0);
    expect(await cli.done(["ensure", ...HERE, ...MAKE])).toMatchObject({ changed: false });
  },
);

test("Ctrl-C says how to go on", async () => {
  railway.faults.add("volumeCreate", { kind: "slow", ms: 60_000 });
  const run = cli.start(["scaffold", ...HERE, ...MAKE]);
  await expect.poll(() => railway.faults.count("volumeCreate")).toBe(1);
  run.child.kill("SIGINT");
  const { code, stderr } = await run.ended;
  expect(code).toBe(130);
  expect(stderr).toContain("Go on with signalbox scaffold --resume");
});

const CALLS = ["serviceCreate", "volumeCreate", "serviceInstanceUpdate", "serviceInstanceDeployV2"];
const FAULTS: Fault[] = [
  { kind: "500" },
  { kind: "429", retryAfterSeconds: 1 },
  { kind: "lost" },
  // Before and after the next look.
  { kind: "late", ms: 100 },
  { kind: "late", ms: 700 },
  { kind: "error", message: "Problem processing request" },
];
const matrix = CALLS.flatMap((call) => FAULTS.map((fault) => ({ call, kind: fault.kind, fault })));
test.each(matrix)(
  "a scaffold whose $call meets $kind once makes everything once",
  async ({ call, fault }) => {
    railway.state.addService("theirs", { variables: { SECRET: "x" } });
    railway.faults.add(call, fault);
    await cli.done(["scaffold", ...HERE, ...MAKE]);
    expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner", "theirs"]);
    expect(railway.state.world.volumes).toHaveLength(1);
    // What comes true late deploys once more, which changes nothing.
    if (fault.kind !== "late") expect(railway.state.deployments("signalbox-runner")).toHaveLength(1);
    expect([...(railway.state.instance("theirs")?.variables ?? [])]).toEqual([["SECRET", "x"]]);
  },
);

test("a change that was made and couldn't be deployed at once is deployed in the same run", async () => {
  await cli.done(["scaffold", ...HERE, ...MAKE]);
  railway.faults.add("serviceInstanceDeployV2", { kind: "500" });
  await cli.done(["ensure", ...HERE, "--runner-image", OTHER_IMAGE]);
  expect(railway.state.deployments("signalbox-runner")).toHaveLength(2);
});

test("a call that comes true after the next look is found by the one after", async () => {
  const client = new RailwayClient({
    token: { kind: "account", value: railway.accountToken },
    apiUrl: railway.url,
  });
  const target = {
    project: { id: railway.projectId, name: "signalbox" },
    environment: { id: railway.environmentId, name: "production" },
  };
  const names = { envService: "pulse-env", runnerService: "signalbox-runner" };
  const wanted: Wanted = {
    brokerUrl: "wss://edge.example.test/_signalbox/socket",
    runnerSecret: "runner-secret-for-tests",
    source: { image: RUNNER_IMAGE },
    redis: null,
    installation: null,
  };
  railway.faults.add("serviceCreate", { kind: "500" });
  let looks = 0;
  await reconcileBaseline({
    client,
    place: target,
    baseline: await inspectBaseline(client, target, names),
    plan(baseline) {
      looks += 1;
      const changes = planBaseline(baseline, wanted);
      if (looks === 2) railway.state.addService("pulse-env");
      return changes;
    },
    report: () => undefined,
    signal: AbortSignal.timeout(30_000),
  });
  expect(looks).toBe(3);
  expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner"]);
  expect(railway.state.deployments("signalbox-runner")).toHaveLength(1);
});
