import { describe, expect, test } from "vitest";
import { RUNNER_LABELS_LIMIT } from "../../functions/protocol/limits.ts";
import { helpText, readInvocation, SettingError, type RunnerConfig } from "../../runner/config.ts";

const enough = {
  RUNNER_SHARED_SECRET: "0123456789abcdef",
  RUNNER_BROKER_URL: "wss://hub.example/_signalbox/socket",
};

function config(env: Record<string, string>, args: string[] = ["runner"]): RunnerConfig {
  const invocation = readInvocation(args, env);
  if (invocation.kind !== "run") throw new Error("It doesn't run.");
  return invocation.config;
}

function refusal(env: Record<string, string>, args: string[] = []): string {
  try {
    readInvocation(args, env);
  } catch (error) {
    if (error instanceof SettingError) return error.message;
    throw error;
  }
  throw new Error("It wasn't refused.");
}

test("defaults are a laptop's", () => {
  expect(config({ ...enough, NODE_ENV: "" })).toMatchObject({
    runnerId: expect.stringMatching(/^runner-[A-Za-z0-9._-]+$/),
    apiBaseUrl: "https://hub.example",
    workspaceRoot: expect.stringMatching(/\/signalbox-workspace$/),
    healthPort: 8080,
    healthServer: false,
    serviceMode: false,
    heartbeatIntervalMs: 15_000,
    debugBuild: false,
    sentry: null,
  });
});

test("on Railway the defaults are the service's", () => {
  const railway = { ...enough, RAILWAY_ENVIRONMENT: "production", RAILWAY_REPLICA_ID: "a1b2" };
  expect(config(railway)).toMatchObject({
    runnerId: "a1b2",
    workspaceRoot: "/data/workspace",
    healthPort: 8080,
    healthServer: true,
    serviceMode: true,
  });
  expect(config({ ...railway, PORT: "9000" }).healthPort).toBe(9000);
  expect(config({ ...railway, PORT: "9000", HEALTH_PORT: "8081" }).healthPort).toBe(8081);
  expect(config({ ...enough, PORT: "9000" }).healthPort).toBe(8080);
});

test("every setting of the guide is read, and aliases are second choices", () => {
  const all = {
    RUNNER_ID: "railway-runner-prod",
    RAILWAY_REPLICA_ID: "replica",
    RUNNER_SHARED_SECRET: "0123456789abcdef",
    RUNNER_WS_URL: "ws://broker.railway.internal:4000/socket",
    API_BASE_URL: "https://app.example",
    WORKSPACE_ROOT: "/tmp/w",
    NODE_ENV: "production",
    HEALTH_PORT: "8082",
    DEBUG_BUILD: "1",
    SENTRY_DSN: "https://key@sentry.example/7",
    SENTRY_ENVIRONMENT: "staging",
    SENTRY_RELEASE: "abc",
    ANTHROPIC_API_KEY: "key",
  };
  const read = config(all);
  expect(read).toMatchObject({
    runnerId: "railway-runner-prod",
    workspaceRoot: "/tmp/w",
    healthPort: 8082,
    serviceMode: true,
    debugBuild: true,
    anthropicApiKey: "key",
    sentry: { environment: "staging", release: "abc" },
  });
  expect(read.brokerUrl.href).toBe("ws://broker.railway.internal:4000/socket");
  expect(config({ ...all, RUNNER_BROKER_URL: "ws://first.example/" }).brokerUrl.host).toBe("first.example");
});

test("flags win over the environment, in either spelling", () => {
  expect(config(enough, ["runner", "--heartbeatInterval", "20000"]).heartbeatIntervalMs).toBe(20_000);
  expect(config(enough, ["--heartbeat-interval=20000"]).heartbeatIntervalMs).toBe(20_000);
  expect(config({ ...enough, RUNNER_ID: "a" }, ["--runnerId", "b"]).runnerId).toBe("b");
  expect(config(enough, ["--debugBuild"]).debugBuild).toBe(true);
  const flags = ["--sharedSecret", "fedcba9876543210", "--broker-url", "ws://x.example/socket?a=b--c-d"];
  expect(config({}, flags).brokerUrl.search).toBe("?a=b--c-d");
});

test("everything that is missing is named in one message", () => {
  const message = refusal({ RUNNER_SHARED_SECRET: "" });
  expect(message).toContain("RUNNER_SHARED_SECRET");
  expect(message).toContain("RUNNER_BROKER_URL (or RUNNER_WS_URL)");
  expect(message.split("\n").length).toBe(1);
});

test("a quota may be larger than any disk of today", () => {
  expect(config({ ...enough, WORKSPACE_QUOTA_BYTES: "500000000000" })).toMatchObject({
    diskQuotaBytes: 5e11,
  });
});

describe("a wrong value is refused, and its setting named", () => {
  test.each([
    ["RUNNER_BROKER_URL", "https://hub.example/socket"],
    ["RUNNER_BROKER_URL", "hub.example"],
    ["RUNNER_BROKER_URL", "wss://user:pass@hub.example/"],
    ["RUNNER_ID", "a b"],
    ["RUNNER_ID", "-x"],
    ["RUNNER_SHARED_SECRET", "two\nlines"],
    ["RUNNER_SHARED_SECRET", "ends with a space "],
    ["API_BASE_URL", "app.example"],
    ["HEALTH_PORT", "80a"],
    ["HEALTH_PORT", "70000"],
    ["RUNNER_HEARTBEAT_INTERVAL", "15"],
    ["DEBUG_BUILD", "yes"],
    ["RUNNER_LABELS", "region"],
    ["RUNNER_LABELS", Array.from({ length: RUNNER_LABELS_LIMIT + 1 }, (_, n) => `n${n}=x`).join(",")],
    ["SENTRY_DSN", "https://sentry.example/7"],
    ["SENTRY_DSN", "https://key@sentry.example/"],
  ])("%s=%j", (name, value) => {
    const message = refusal({ ...enough, [name]: value });
    expect(message).toMatch(new RegExp(`^${name} must be `));
    if (name === "RUNNER_SHARED_SECRET") expect(message).not.toContain(value);
  });

  test("several at once are all named", () => {
    const message = refusal({ HEALTH_PORT: "x" }, ["--heartbeatInterval", "x"]);
    expect(message.split("\n").length).toBe(3);
  });
});

test.each([
  [["--heartbeatIntervall", "1"], "--heartbeatIntervall"],
  [["--runnerId"], "--runnerId"],
  [["run"], '"run"'],
  [["runner", "again"], '"runner again"'],
])("%j is refused by name", (args, named) => {
  expect(refusal(enough, args)).toContain(named);
});

test("help names every setting with its flag", () => {
  expect(readInvocation(["--help"], {})).toEqual({ kind: "help" });
  expect(readInvocation(["runner", "--version"], {})).toEqual({ kind: "version" });
  for (const name of [
    "RUNNER_ID",
    "RUNNER_WS_URL",
    "SENTRY_RELEASE",
    "--heartbeatInterval",
    "--workspaceRoot",
  ])
    expect(helpText()).toContain(name);
});
