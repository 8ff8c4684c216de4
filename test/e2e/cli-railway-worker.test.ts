import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { CloudflareStandIn } from "../helpers/cloudflare-stand-in.ts";
import { HERE, MAKE, mutations, RailwayCli, readSecretsFile, RUNNER_IMAGES } from "../helpers/railway-cli.ts";

/** The real wrangler, which deploys the real Worker to a stand-in for Cloudflare's API. */
let railway: RailwayStandIn;
let cloudflare: CloudflareStandIn;
let cli: RailwayCli;

beforeEach(async () => {
  railway = await startRailwayStandIn({ images: RUNNER_IMAGES, pace: { stepMs: 5, secondMs: 50 } });
  cloudflare = await CloudflareStandIn.start();
  cli = await RailwayCli.create({ RAILWAY_API_URL: railway.url, ...cloudflare.env() });
});

afterEach(async () => {
  await cli.remove();
  await cloudflare.stop();
  await railway.stop();
});

const project = (): Record<string, string> => ({ RAILWAY_TOKEN: railway.projectToken });
const account = (): Record<string, string> => ({ RAILWAY_API_TOKEN: railway.accountToken });

test("--apply gives the Worker all that it needs, deploys it and logs in, and shows no secret", async () => {
  const upstash = {
    UPSTASH_REDIS_REST_URL: "https://upstash.example.test",
    UPSTASH_REDIS_REST_TOKEN: "upstash-token-for-tests",
  };
  const { code, stdout, stderr } = await cli.run(["scaffold", ...MAKE, "--apply", "--json"], {
    ...project(),
    ...upstash,
  });
  expect(code, stderr).toBe(0);
  const made = JSON.parse(stdout) as { secretsFile: string; nextSteps: string[] };
  const secrets = await readSecretsFile({ secretsFile: made.secretsFile });
  expect(Object.fromEntries(cloudflare.secrets)).toEqual({
    ...secrets,
    ...upstash,
    RAILWAY_TOKEN: railway.projectToken,
    RAILWAY_PROJECT_ID: railway.projectId,
    RAILWAY_ENVIRONMENT_ID: railway.environmentId,
    RAILWAY_ENV_SERVICE: "pulse-env",
    RAILWAY_API_URL: railway.url,
  });
  // The runner and the Worker know each other by the same secret.
  expect(railway.state.variables("signalbox-runner")["RUNNER_SHARED_SECRET"]).toBe(
    cloudflare.secrets.get("RUNNER_SHARED_SECRET"),
  );
  expect(cloudflare.deployed).toHaveLength(1);
  expect(cloudflare.deployed[0]).toBeGreaterThan(100_000);
  expect(made.nextSteps).toEqual(["signalbox doctor"]);
  for (const value of [...Object.values(upstash).slice(1), railway.projectToken, secrets["CONTROL_TOKEN"]])
    expect(stdout + stderr).not.toContain(value);

  const login = join(cli.home, ".config/signalbox/login.json");
  expect(JSON.parse(await readFile(login, "utf8"))).toEqual({
    current: "https://edge.example.test",
    servers: { "https://edge.example.test": { token: secrets["CONTROL_TOKEN"] } },
  });
  expect((await stat(login)).mode & 0o777).toBe(0o600);
});

test("an account's token stays with the operator: the Worker's own is a step that is left", async () => {
  const terminal = await cli.runInTerminal(["scaffold", ...HERE, ...MAKE, "--apply"], account());
  expect(terminal.code, terminal.text).toBe(0);
  expect(terminal.text).toContain("npx wrangler secret put RAILWAY_TOKEN");
  expect(terminal.text).not.toContain("npx wrangler secret bulk /");
  expect([...cloudflare.secrets.values()]).not.toContain(railway.accountToken);

  const { stdout } = await cli.in(projectRoot).run(["doctor", ...HERE, "--json"], account());
  const { checks } = JSON.parse(stdout) as { checks: { name: string; detail: string }[] };
  expect(checks.find(({ name }) => name === "worker")?.detail).toBe("lacks RAILWAY_TOKEN");
});

test("a Worker that has secrets already isn't given others, and nothing is made before that is clear", async () => {
  cloudflare.exists = true;
  cloudflare.secrets.set("CONTROL_TOKEN", "x").set("PULSE_RAILWAY_INTERNAL_TOKEN", "y");
  const refusal = await cli.refused(["scaffold", ...MAKE, "--apply"], project());
  expect(refusal).toMatchObject({ exitCode: 1, code: "worker_has_secrets" });
  expect(refusal.message).toContain("CONTROL_TOKEN, PULSE_RAILWAY_INTERNAL_TOKEN");
  expect(mutations(railway)).toEqual([]);
  const known = {
    CONTROL_TOKEN: "the-control-token-as-it-is",
    PULSE_RAILWAY_INTERNAL_TOKEN: "the-internal-token-as-it-is",
    RUNNER_SHARED_SECRET: "the-runner-secret-as-it-is",
  };
  await cli.done(["scaffold", ...MAKE, "--apply"], { ...project(), ...known });
  expect(Object.fromEntries(cloudflare.secrets)).toMatchObject(known);
  expect(railway.state.variables("signalbox-runner")["RUNNER_SHARED_SECRET"]).toBe(
    known.RUNNER_SHARED_SECRET,
  );
});

test.each([
  ["refuses", "PATCH workers/scripts/signalbox/secrets-bulk", 1],
  ["refuses", "PUT workers/scripts/signalbox/schedules", 1],
  ["hangs on", "PUT workers/scripts/signalbox/schedules", null],
])("where Cloudflare %s %s the scaffold is resumed with the same secrets", async (how, call, code) => {
  const matches = new RegExp(`^${call}$`);
  if (how === "refuses") cloudflare.refuses = matches;
  else cloudflare.hangsOn = matches;
  const run = cli.start(["scaffold", ...MAKE, "--apply", "--json"], project());
  if (how === "hangs on") {
    await expect.poll(() => cloudflare.calls.includes(call)).toBe(true);
    run.child.kill("SIGKILL");
  }
  const ended = await run.ended;
  expect(ended.code).toBe(code);
  if (how === "refuses") {
    expect(ended.stderr).toContain("wrangler_failed");
    expect(ended.stderr).toContain("signalbox scaffold --resume --apply");
  }
  const before = railway.state.variables("signalbox-runner")["RUNNER_SHARED_SECRET"];
  cloudflare.refuses = cloudflare.hangsOn = null;
  await cli.done(["scaffold", ...MAKE, "--resume", "--apply"], project());
  expect(cloudflare.secrets.get("RUNNER_SHARED_SECRET")).toBe(before);
  expect(cloudflare.deployed.length).toBeGreaterThan(0);
  expect(await cli.done(["ensure"], project())).toMatchObject({ changed: false });
});
