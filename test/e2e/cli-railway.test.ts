import { stat } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import {
  HERE,
  MAKE,
  mutations,
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

test("scaffold makes the baseline in an empty project; ensure then finds nothing to change", async () => {
  const made = await cli.done(["scaffold", ...HERE, ...MAKE]);
  expect(made).toMatchObject({ project: { name: "signalbox" }, redis: "upstash", changed: true });
  expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner"]);
  expect(railway.state.instance("pulse-env")?.variables.size).toBe(0);

  const runner = railway.state.instance("signalbox-runner");
  expect(runner?.settings).toMatchObject({
    healthcheckPath: "/health",
    healthcheckTimeout: 120,
    overlapSeconds: 10,
    drainingSeconds: 60,
    restartPolicyType: "ALWAYS",
  });
  expect(runner?.image).toBe(RUNNER_IMAGE);
  expect(railway.state.world.volumes).toMatchObject([
    { mountPath: "/data/workspace", serviceId: runner?.serviceId },
  ]);
  const secrets = await readSecretsFile(made);
  expect(Object.fromEntries(runner?.variables ?? [])).toMatchObject({
    RUNNER_BROKER_URL: "wss://edge.example.test/_signalbox/socket",
    RUNNER_ID: "signalbox-runner",
    RUNNER_SHARED_SECRET: secrets["RUNNER_SHARED_SECRET"],
    WORKSPACE_ROOT: "/data/workspace",
    SIGNALBOX_BASELINE: "runner",
  });
  // One deployment, and it had its volume, settings and variables.
  expect(railway.state.deployments("signalbox-runner")).toHaveLength(1);
  expect((await stat(made.secretsFile ?? "")).mode & 0o777).toBe(0o600);
  for (const secret of ["CONTROL_TOKEN", "PULSE_RAILWAY_INTERNAL_TOKEN", "RUNNER_SHARED_SECRET"])
    expect(JSON.stringify(made)).not.toContain(secrets[secret]);
  expect(made.nextSteps.join("\n")).toContain(`npx wrangler secret bulk ${made.secretsFile ?? ""}`);

  const before = mutations(railway).length;
  expect(before).toBeGreaterThan(3);
  for (const flags of [[], MAKE]) {
    const again = await cli.done(["ensure", ...HERE, ...flags]);
    expect(again).toMatchObject({ changed: false, changes: [] });
  }
  expect(mutations(railway)).toHaveLength(before);
});

test("in a terminal scaffold tells each step, what is left to do, and no secret", async () => {
  const { code, text } = await cli.runInTerminal(["scaffold", ...HERE, ...MAKE]);
  expect(code, text).toBe(0);
  expect(text).toContain("create the env service pulse-env");
  expect(text).toContain("create a volume at /data/workspace on signalbox-runner");
  expect(text).toContain("deploy signalbox-runner");
  expect(text).toMatch(/Next:\n {2}1\. npx wrangler secret bulk .*\.json/);
  const secret = railway.state.variables("signalbox-runner")["RUNNER_SHARED_SECRET"] ?? "";
  expect(secret.length).toBeGreaterThan(16);
  expect(text).not.toContain(secret);

  const ensured = await cli.runInTerminal(["ensure", ...HERE]);
  expect(ensured).toEqual({
    code: 0,
    text: "Nothing to change in project signalbox, environment production.\n",
  });
  const listed = await cli.runInTerminal(["railway", "projects"]);
  expect(listed.code).toBe(0);
  expect(listed.text).toMatch(/PROJECT +ID +WORKSPACE +ENVIRONMENTS/);
  expect(listed.text).toMatch(/signalbox +\S+ +Acme +production/);
  const again = await cli.runInTerminal(["scaffold", ...HERE, ...MAKE]);
  expect(again.code).toBe(8);
  expect(again.text).toContain("signalbox ensure brings it up to date");
});

test("scaffold begins afresh only, and names what is there", async () => {
  railway.state.addService("pulse-env", { variables: { API_KEY: "theirs" } });
  const before = mutations(railway).length;
  const partial = await cli.refused(["scaffold", ...HERE, ...MAKE]);
  expect(partial).toMatchObject({ code: "baseline_exists", exitCode: 8 });
  expect(partial.message).toContain("a service of the baseline: pulse-env");
  expect(partial.message).toContain("scaffold --resume");
  expect(mutations(railway)).toHaveLength(before);
});

test("a dry run says what would be done and does nothing", async () => {
  const plan = await cli.done(["scaffold", ...HERE, ...MAKE, "--dry-run"]);
  expect(plan).toMatchObject({ changed: false, secretsFile: null });
  expect(plan.changes.map(({ kind }) => kind)).toEqual([
    "create-service",
    "create-service",
    "create-volume",
    "configure",
    "deploy",
  ]);
  expect(mutations(railway)).toEqual([]);
  expect(railway.state.serviceNames()).toEqual([]);
});

test("ensure makes the baseline on an empty project, and mends a complete one", async () => {
  await cli.done(["ensure", ...HERE, ...MAKE]);
  const instance = railway.state.instance("signalbox-runner");
  if (!instance) throw new Error("there is no runner");
  instance.settings.healthcheckPath = null;
  instance.settings.overlapSeconds = 0;
  instance.variables.set("WORKSPACE_ROOT", "/elsewhere");
  instance.variables.set("THEIR_OWN", "kept");
  const secret = instance.variables.get("RUNNER_SHARED_SECRET");

  const planned = await cli.done(["ensure", ...HERE, "--dry-run"]);
  const texts = [
    "set healthcheckPath, overlapSeconds on signalbox-runner",
    "set WORKSPACE_ROOT on signalbox-runner",
    "deploy signalbox-runner",
  ];
  expect(planned.changes.map(({ text }) => text)).toEqual(texts);
  const mended = await cli.done(["ensure", ...HERE]);
  expect(mended.changes.map(({ text }) => text)).toEqual(texts);
  expect(instance.settings).toMatchObject({ healthcheckPath: "/health", overlapSeconds: 10 });
  expect(Object.fromEntries(instance.variables)).toMatchObject({
    WORKSPACE_ROOT: "/data/workspace",
    THEIR_OWN: "kept",
    RUNNER_SHARED_SECRET: secret,
  });

  const image = await cli.done(["ensure", ...HERE, "--runner-image", OTHER_IMAGE]);
  expect(image.changes.map(({ kind }) => kind)).toEqual(["configure", "deploy"]);
  expect(instance.image).toBe(OTHER_IMAGE);
  // From another machine, which doesn't have the secrets, nothing is different.
  const other = await RailwayCli.create(cli.env);
  const { stdout } = await other.run(["ensure", ...HERE, "--json"]);
  await other.remove();
  expect(JSON.parse(stdout)).toMatchObject({ changed: false, secretsFile: null });
});

test.each([
  ["pulse-env", "the env service pulse-env"],
  ["signalbox-runner", "the runner service signalbox-runner, a volume at /data/workspace"],
  ["volume", "a volume at /data/workspace on signalbox-runner"],
])(
  "without %s, ensure and deploy refuse the baseline, name what is missing and make nothing",
  async (part, missing) => {
    await cli.done(["scaffold", ...HERE, ...MAKE]);
    const { world } = railway.state;
    if (part === "volume") world.volumes.length = 0;
    else {
      const service = railway.state.service(part);
      if (service) world.removeService(service);
      if (part === "signalbox-runner") world.volumes.length = 0;
    }
    const before = mutations(railway).length;
    const ensured = await cli.refused(["ensure", ...HERE, ...MAKE]);
    expect(ensured).toMatchObject({ code: "baseline_incomplete", exitCode: 8 });
    expect(ensured.message).toContain(`Missing: ${missing}`);
    const deployed = await cli.refused(
      ["deploy", ...HERE, "--app", "shop", "--target", "railway", "--image", "example/app"],
      { SIGNALBOX_URL: "http://127.0.0.1:9", SIGNALBOX_TOKEN: "control-token-for-tests" },
    );
    expect(deployed).toMatchObject({ code: "baseline_incomplete", exitCode: 8 });
    expect(mutations(railway)).toHaveLength(before);

    const resumed = await cli.done(["scaffold", ...HERE, ...MAKE, "--resume"]);
    expect(resumed.changed).toBe(true);
    expect(await cli.done(["ensure", ...HERE])).toMatchObject({ changed: false });
  },
);

interface Diagnosis {
  ok: boolean;
  checks: { name: string; state: string; detail: string; remedy?: string }[];
}

/** What doctor finds about Railway; the server that it asks for doesn't exist. */
async function diagnose(env: Record<string, string> = {}): Promise<Record<string, string>> {
  const { code, stdout } = await cli.run(["doctor", ...HERE, "--json"], {
    SIGNALBOX_URL: "http://127.0.0.1:9",
    SIGNALBOX_TOKEN: "control-token-for-tests",
    ...env,
  });
  expect(code).toBe(1);
  const { checks } = JSON.parse(stdout) as Diagnosis;
  for (const { state, remedy } of checks) if (state === "wrong") expect(remedy).toBeTruthy();
  return Object.fromEntries(checks.map(({ name, state, detail }) => [name, `${state}: ${detail}`]));
}

test("doctor says what is wrong on Railway, from the token to the runner's settings", async () => {
  expect((await diagnose({ RAILWAY_API_TOKEN: "not-a-token" }))["railway token"]).toMatch(/^wrong: /);
  const nothing = await diagnose();
  expect(nothing["railway token"]).toContain("ok: an account's or workspace's, from RAILWAY_API_TOKEN");
  expect(nothing["railway target"]).toBe("ok: project signalbox, environment production");
  expect(nothing["baseline"]).toContain("wrong: ");

  await cli.done(["scaffold", ...HERE, ...MAKE]);
  const fine = await diagnose();
  expect(fine["env service"]).toBe("ok: pulse-env; Redis mode upstash");
  expect(fine["runner service"]).toMatch(/^ok: signalbox-runner, deployment /);
  expect(fine).not.toHaveProperty("baseline");

  const runner = railway.state.instance("signalbox-runner");
  railway.state.instance("pulse-env")?.variables.set("SIGNALBOX_APP", "x");
  if (runner) runner.settings.drainingSeconds = 0;
  const drifted = await diagnose();
  expect(drifted["env service"]).toContain("wrong: pulse-env has SIGNALBOX_APP");
  expect(drifted["runner service"]).toContain("set drainingSeconds on signalbox-runner");
  runner?.variables.set("HEALTH_PORT", "8080");
  expect((await diagnose())["runner service"]).toContain("HEALTH_PORT");

  const { text } = await cli.runInTerminal(["doctor", ...HERE], { NO_COLOR: "1" });
  expect(text).toContain("✗ env service");
  expect(text).toContain("✓ railway target");
});
