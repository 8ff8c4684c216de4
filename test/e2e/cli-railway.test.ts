import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Runnable } from "../../scripts/railway-stand-in/build.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { RailwayCli } from "../helpers/railway-cli.ts";

const RUNNER_IMAGE = "example/runner:1";
const runnable: Runnable = {
  command: [
    process.execPath,
    "-e",
    `require("node:http").createServer((_, answer) => answer.end("{}")).listen(process.env.PORT)`,
  ],
};
const MAKE = ["--server", "https://edge.example.test", "--runner-image", RUNNER_IMAGE];
const HERE = ["--project", "signalbox", "--environment", "production"];

let railway: RailwayStandIn;
let cli: RailwayCli;

beforeEach(async () => {
  railway = await startRailwayStandIn({
    images: { [RUNNER_IMAGE]: runnable, "example/runner:2": runnable },
    pace: { stepMs: 5, secondMs: 50 },
  });
  cli = await RailwayCli.create({ RAILWAY_API_URL: railway.url, RAILWAY_API_TOKEN: railway.accountToken });
});

afterEach(async () => {
  await cli.remove();
  await railway.stop();
});

const MUTATIONS =
  /^(?:service|variable|volume|environment(?:Patch|Stage|Create)|project(?:Create|Delete))[A-Z]?/;
const READS = new Set(["serviceInstance", "service", "variables", "environment", "project", "projects"]);

/** The calls so far that change something. */
function mutations(): string[] {
  return railway.faults.calls
    .flatMap(({ operations }) => operations)
    .filter((name) => MUTATIONS.test(name) && !READS.has(name));
}

interface Answer {
  project: { id: string; name: string };
  environment: { name: string };
  redis: string;
  changed: boolean;
  changes: { kind: string; text: string }[];
  secretsFile: string | null;
  nextSteps: string[];
}

async function done(args: string[], env: Record<string, string> = {}): Promise<Answer> {
  const { code, stdout, stderr } = await cli.run([...args, "--json"], env);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Answer;
}

async function refused(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: string; message: string; exitCode: number }> {
  const { code, stdout, stderr } = await cli.run([...args, "--json"], env);
  expect(stdout).toBe("");
  const last = stderr.trim().split("\n").at(-1) ?? "";
  const { error } = JSON.parse(last) as { error: { code: string; message: string; exitCode: number } };
  expect(code).toBe(error.exitCode);
  expect(stderr).not.toContain(railway.accountToken);
  expect(stderr).not.toContain(railway.projectToken);
  return error;
}

test("scaffold makes the baseline in an empty project; ensure then finds nothing to change", async () => {
  const made = await done(["scaffold", ...HERE, ...MAKE]);
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
  const secrets = JSON.parse(await readFile(made.secretsFile ?? "", "utf8")) as Record<string, string>;
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

  const before = mutations().length;
  expect(before).toBeGreaterThan(3);
  for (const flags of [[], MAKE]) {
    const again = await done(["ensure", ...HERE, ...flags]);
    expect(again).toMatchObject({ changed: false, changes: [] });
  }
  expect(mutations()).toHaveLength(before);
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
  const listed = await cli.runInTerminal(["projects"]);
  expect(listed.code).toBe(0);
  expect(listed.text).toMatch(/PROJECT +ID +WORKSPACE +ENVIRONMENTS/);
  expect(listed.text).toMatch(/signalbox +\S+ +Acme +production/);
  const again = await cli.runInTerminal(["scaffold", ...HERE, ...MAKE]);
  expect(again.code).toBe(8);
  expect(again.text).toContain("signalbox ensure brings it up to date");
});

test("scaffold begins afresh only, and names what is there", async () => {
  railway.state.addService("pulse-env", { variables: { API_KEY: "theirs" } });
  const before = mutations().length;
  const partial = await refused(["scaffold", ...HERE, ...MAKE]);
  expect(partial).toMatchObject({ code: "baseline_exists", exitCode: 8 });
  expect(partial.message).toContain("a service of the baseline: pulse-env");
  expect(partial.message).toContain("scaffold --resume");
  expect(mutations()).toHaveLength(before);
});

test("a dry run says what would be done and does nothing", async () => {
  const plan = await done(["scaffold", ...HERE, ...MAKE, "--dry-run"]);
  expect(plan).toMatchObject({ changed: false, secretsFile: null });
  expect(plan.changes.map(({ kind }) => kind)).toEqual([
    "create-service",
    "create-service",
    "create-volume",
    "configure",
    "deploy",
  ]);
  expect(mutations()).toEqual([]);
  expect(railway.state.serviceNames()).toEqual([]);
});

test("ensure makes the baseline on an empty project, and mends a complete one", async () => {
  await done(["ensure", ...HERE, ...MAKE]);
  const instance = railway.state.instance("signalbox-runner");
  if (!instance) throw new Error("there is no runner");
  instance.settings.healthcheckPath = null;
  instance.settings.overlapSeconds = 0;
  instance.variables.set("WORKSPACE_ROOT", "/elsewhere");
  instance.variables.set("THEIR_OWN", "kept");
  const secret = instance.variables.get("RUNNER_SHARED_SECRET");

  const planned = await done(["ensure", ...HERE, "--dry-run"]);
  const texts = [
    "set healthcheckPath, overlapSeconds on signalbox-runner",
    "set WORKSPACE_ROOT on signalbox-runner",
    "deploy signalbox-runner",
  ];
  expect(planned.changes.map(({ text }) => text)).toEqual(texts);
  const mended = await done(["ensure", ...HERE]);
  expect(mended.changes.map(({ text }) => text)).toEqual(texts);
  expect(instance.settings).toMatchObject({ healthcheckPath: "/health", overlapSeconds: 10 });
  expect(Object.fromEntries(instance.variables)).toMatchObject({
    WORKSPACE_ROOT: "/data/workspace",
    THEIR_OWN: "kept",
    RUNNER_SHARED_SECRET: secret,
  });

  const image = await done(["ensure", ...HERE, "--runner-image", "example/runner:2"]);
  expect(image.changes.map(({ kind }) => kind)).toEqual(["configure", "deploy"]);
  expect(instance.image).toBe("example/runner:2");
  // From another machine, which doesn't have the secrets, nothing is different.
  const other = await RailwayCli.create(cli.env);
  const { stdout } = await other.run(["ensure", ...HERE, "--json"], { HOME: other.home });
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
    await done(["scaffold", ...HERE, ...MAKE]);
    const { world } = railway.state;
    if (part === "volume") world.volumes.length = 0;
    else {
      const service = railway.state.service(part);
      if (service) world.removeService(service);
      if (part === "signalbox-runner") world.volumes.length = 0;
    }
    const before = mutations().length;
    const ensured = await refused(["ensure", ...HERE, ...MAKE]);
    expect(ensured).toMatchObject({ code: "baseline_incomplete", exitCode: 8 });
    expect(ensured.message).toContain(`Missing: ${missing}`);
    const deployed = await refused(
      ["deploy", ...HERE, "--app", "shop", "--target", "railway", "--image", "example/app"],
      { SIGNALBOX_URL: "http://127.0.0.1:9", SIGNALBOX_TOKEN: "control-token-for-tests" },
    );
    expect(deployed).toMatchObject({ code: "baseline_incomplete", exitCode: 8 });
    expect(mutations()).toHaveLength(before);

    const resumed = await done(["scaffold", ...HERE, ...MAKE, "--resume"]);
    expect(resumed.changed).toBe(true);
    expect(await done(["ensure", ...HERE])).toMatchObject({ changed: false });
  },
);

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
    await expect.poll(() => railway.faults.count(call), { timeout: 20_000 }).toBe(after + 1);
    killed.child.kill("SIGKILL");
    await killed.ended;
    railway.faults.clear();

    const existing = railway.state.serviceNames();
    if (existing.length > 0) {
      const anew = await refused(["scaffold", ...HERE, ...MAKE]);
      expect(anew).toMatchObject({ code: "baseline_exists", exitCode: 8 });
      for (const name of existing) expect(anew.message).toContain(name);
    }
    const resumed = await done(["scaffold", ...HERE, ...MAKE, "--resume"]);
    expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner"]);
    expect(railway.state.world.volumes).toHaveLength(1);
    const secrets = JSON.parse(await readFile(resumed.secretsFile ?? "", "utf8")) as Record<string, string>;
    const variables = railway.state.variables("signalbox-runner");
    expect(variables["RUNNER_SHARED_SECRET"]).toBe(secrets["RUNNER_SHARED_SECRET"]);
    expect(railway.state.deployments("signalbox-runner").length).toBeGreaterThan(0);
    expect(await done(["ensure", ...HERE, ...MAKE])).toMatchObject({ changed: false });
  },
);

test("Ctrl-C says how to go on", async () => {
  railway.faults.add("volumeCreate", { kind: "slow", ms: 60_000 });
  const run = cli.start(["scaffold", ...HERE, ...MAKE]);
  await expect.poll(() => railway.faults.count("volumeCreate"), { timeout: 20_000 }).toBe(1);
  run.child.kill("SIGINT");
  const { code, stderr } = await run.ended;
  expect(code).toBe(130);
  expect(stderr).toContain("Go on with signalbox scaffold --resume");
});

const CALLS = [
  "project",
  "serviceCreate",
  "volumeCreate",
  "serviceInstanceUpdate",
  "serviceInstanceDeployV2",
];
const FAULTS = ["500", "429", "lost", "error"] as const;
const matrix = CALLS.flatMap((call) => FAULTS.map((kind) => [call, kind] as const));
test.each(matrix)("a scaffold whose %s meets %s once makes everything once", async (call, kind) => {
  railway.state.addService("theirs", { variables: { SECRET: "x" } });
  railway.faults.add(
    call,
    kind === "429"
      ? { kind, retryAfterSeconds: 1 }
      : { kind, ...(kind === "error" ? { message: "Problem processing request" } : {}) },
  );
  await done(["scaffold", ...HERE, ...MAKE]);
  expect(railway.state.serviceNames()).toEqual(["pulse-env", "signalbox-runner", "theirs"]);
  expect(railway.state.world.volumes).toHaveLength(1);
  expect(railway.state.deployments("signalbox-runner")).toHaveLength(1);
  expect([...(railway.state.instance("theirs")?.variables ?? [])]).toEqual([["SECRET", "x"]]);
  expect(await done(["ensure", ...HERE, ...MAKE])).toMatchObject({ changed: false });
});

test("a change that was made and couldn't be deployed at once is deployed in the same run", async () => {
  await done(["scaffold", ...HERE, ...MAKE]);
  railway.faults.add("serviceInstanceDeployV2", { kind: "500" });
  await done(["ensure", ...HERE, "--runner-image", "example/runner:2"]);
  expect(railway.state.deployments("signalbox-runner")).toHaveLength(2);
});
