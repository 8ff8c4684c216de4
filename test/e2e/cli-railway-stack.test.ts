import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { HERE, mutations, RailwayCli } from "../helpers/railway-cli.ts";
import {
  CONTROL_TOKEN,
  INTERNAL_TOKEN,
  RUNNER_SECRET,
  startTestStack,
  until,
  type TestStack,
} from "../helpers/stack.ts";

/** The real Worker, the real runner as a service of the stand-in, and the command line between them. */
let railway: RailwayStandIn;
let stack: TestStack;
let cli: RailwayCli;

beforeEach(async () => {
  cli = await RailwayCli.create({});
  const workspace = join(cli.home, "workspace");
  const start = `WORKSPACE_ROOT='${workspace}' exec '${process.execPath}' runner/index.ts`;
  railway = await startRailwayStandIn({
    images: {
      "signalbox/runner": { command: ["sh", "-c", `cd '${projectRoot}' && ${start}`] },
      "acme/shop": { command: [process.execPath, join(projectRoot, "test/helpers/railway-backend.mjs")] },
    },
    pace: { stepMs: 5, secondMs: 50 },
  });
  stack = await startTestStack({
    settings: { RAILWAY_API_URL: railway.url, RAILWAY_TOKEN: railway.projectToken },
  });
  Object.assign(cli.env, {
    RAILWAY_API_URL: railway.url,
    RAILWAY_API_TOKEN: railway.accountToken,
    SIGNALBOX_URL: `http://127.0.0.1:${stack.port}`,
    SIGNALBOX_TOKEN: CONTROL_TOKEN,
    // The Worker runs already, so that the stack is made with its secrets.
    CONTROL_TOKEN,
    PULSE_RAILWAY_INTERNAL_TOKEN: INTERNAL_TOKEN,
    RUNNER_SHARED_SECRET: RUNNER_SECRET,
  });
});

afterEach(async () => {
  await stack.stop();
  await railway.stop();
  await cli.remove();
});

test("what scaffold makes is a runner that is online, and a project that the Worker deploys to", async () => {
  const deploy = ["deploy", ...HERE, "--app", "shop", "--target", "railway", "--image", "acme/shop"];
  const early = await cli.refused(deploy);
  expect(early).toMatchObject({ exitCode: 8, code: "baseline_incomplete" });
  expect((await stack.api("GET", "/apps/shop")).status).toBe(404);

  await cli.done(["scaffold", ...HERE, "--runner-image", "signalbox/runner"]);
  await until(
    () => stack.api("GET", "/runners/signalbox-runner"),
    ({ body }) => body["state"] === "online",
  );
  const { stdout } = await cli.run(["doctor", ...HERE, "--json"]);
  const { checks } = JSON.parse(stdout) as { checks: { name: string; state: string; detail: string }[] };
  expect(checks.filter(({ state }) => state === "wrong")).toEqual([]);
  expect(checks.find(({ name }) => name === "runner")?.detail).toBe("signalbox-runner is online");

  const deployed = await cli.run([...deploy, "--id", "v1", "--json"]);
  expect(deployed.code, deployed.stderr).toBe(0);
  expect(railway.state.serviceNames()).toEqual(["pulse-env", "shop-v1", "signalbox-runner"]);
  // Its deployments bear the mark that the runner service has.
  expect(railway.state.variables("shop-v1")["SIGNALBOX_OWNER"]).toBe(
    railway.state.variables("signalbox-runner")["SIGNALBOX_OWNER"],
  );
  const before = mutations(railway).length;
  expect(await cli.done(["ensure", ...HERE])).toMatchObject({ changed: false });
  expect(mutations(railway)).toHaveLength(before);

  const group = railway.state.world.addGroup("stack", railway.projectId);
  const runner = railway.state.service("signalbox-runner");
  if (runner) runner.groupId = group.id;
  const moved = await cli.done(["ensure", ...HERE]);
  expect(moved.changes.map(({ text }) => text)).toEqual(["move pulse-env, shop-v1 to the runner's group"]);
});
