import { describe, expect, test } from "vitest";
import {
  appConfig,
  newAppDocument,
  target,
  type AppDocument,
  type Deployment,
} from "../../functions/apps/app-document.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import type { BuildLog } from "../../functions/providers/provider.ts";
import { LogFollower } from "../../functions/providers/railway/log.ts";
import {
  isSet,
  judgeOwnership,
  ownerOf,
  serviceNames,
  settingsOf,
  variablesOf,
  type RailwayTarget,
} from "../../functions/providers/railway/service.ts";
import { sortVariables } from "../../functions/railway/reserved.ts";

const NOW = 1_800_000_000_000;

function appWith(
  name: string,
  id: string,
  given: Omit<RailwayTarget, "kind">,
  config: Record<string, unknown> = {},
): { app: AppDocument; deployment: Deployment; target: RailwayTarget } {
  const railway = { kind: "railway", ...given } as const;
  const created = transition(
    newAppDocument(name, appConfig.parse(config), NOW),
    { type: "create", id, name: "prod", target: railway, promote: true },
    NOW,
  );
  const deployment = created.ok ? created.app.deployments[id] : undefined;
  if (!created.ok || !deployment) throw new Error("It couldn't be created");
  return { app: created.app, deployment, target: railway };
}

describe("a service's name", () => {
  const namesOf = (app: string, id: string): Promise<{ usual: string; spare: string }> => {
    const made = appWith(app, id, { image: "a" });
    return serviceNames(made.app, made.deployment);
  };
  const nameOf = async (app: string, id: string): Promise<string> => (await namesOf(app, id)).usual;

  test("is app and deployment where Railway takes it", async () => {
    expect(await nameOf("shop", "prod-260402-120000")).toBe("shop-prod-260402-120000");
    expect(await nameOf("eight-ch", "a".repeat(23))).toHaveLength(32);
  });

  test("is cut where it is too long, and stays one's own", async () => {
    const names = await Promise.all([
      nameOf("a-shop-with-a-long-name", "prod-260402-120000"),
      nameOf("a-shop-with-a-long-name", "prod-260402-120001"),
      nameOf("a-shop-with-a-long-name-too", "prod-260402-120000"),
      nameOf("a".repeat(63), "b".repeat(24)),
    ]);
    expect(new Set(names).size).toBe(4);
    for (const name of names) expect(name).toMatch(/^[a-z0-9][a-z0-9-]{22}-[0-9a-f]{8}$/);
  });

  test("has a spare that differs where two apps want the same, and is short enough too", async () => {
    const pairs = [
      [await namesOf("a", "b-c"), await namesOf("a-b", "c")],
      [
        await namesOf("a".repeat(30), `b-${"c".repeat(20)}`),
        await namesOf(`${"a".repeat(30)}-b`, "c".repeat(20)),
      ],
    ] as const;
    for (const [one, other] of pairs) {
      expect(one.usual).toBe(other.usual);
      expect(new Set([one.usual, one.spare, other.spare]).size).toBe(3);
      for (const { spare } of [one, other]) {
        expect(spare.length).toBeLessThanOrEqual(32);
        expect(spare).toMatch(/^[a-z0-9][a-z0-9-]*-[0-9a-f]{8}$/);
      }
    }
  });
});

describe("whose a service is", () => {
  const { app, deployment, target: railway } = appWith("shop", "v1", { image: "a" });
  const us = { owner: "0123456789abcdef", installation: "one" };
  const variables = variablesOf(app, deployment, railway, {
    ...us,
    internalToken: "the-internal-token",
    envService: "pulse-env",
    users: [],
    redis: false,
  });

  test("is said by its variables, all of them", () => {
    expect(judgeOwnership(variables, us, app, deployment)).toBe("ours");
    expect(judgeOwnership(variables, { ...us, owner: "fedcba9876543210" }, app, deployment)).toBe("foreign");
    for (const name of ["SIGNALBOX_OWNER", "SIGNALBOX_APP", "SIGNALBOX_DEPLOYMENT_ID"]) {
      const { [name]: _, ...rest } = variables;
      expect(judgeOwnership(rest, us, app, deployment)).toBe("foreign");
      expect(judgeOwnership({ ...variables, [name]: "other" }, us, app, deployment)).toBe(
        name === "SIGNALBOX_OWNER" ? "foreign" : "sibling",
      );
    }
    expect(judgeOwnership({}, us, app, deployment)).toBe("foreign");
  });

  test("tells two installations with the same token apart, where the service says which made it", () => {
    expect(judgeOwnership(variables, { ...us, installation: "two" }, app, deployment)).toBe("foreign");
    const { SIGNALBOX_STACK: _, ...before } = variables;
    expect(judgeOwnership(before, { ...us, installation: "two" }, app, deployment)).toBe("ours");
  });

  test("tells what an earlier deployment of the same id left", () => {
    const later = { ...deployment, createdAt: NOW + 1 };
    expect(judgeOwnership(variables, us, app, later)).toBe("left");
  });

  test("doesn't tell the token", async () => {
    expect(await ownerOf("the-internal-token")).toMatch(/^[0-9a-f]{16}$/);
    expect(await ownerOf("the-internal-token")).not.toBe(await ownerOf("the-internal-tokem"));
  });
});

const given = {
  owner: "0123456789abcdef",
  installation: "one",
  internalToken: "the-internal-token",
  envService: "pulse-env",
  users: ["API_KEY", "MODE"],
  redis: true,
};

describe("a service's variables", () => {
  test("refer to the users' variables, and the target's own win", () => {
    const { app, deployment, target: railway } = appWith("shop", "v1", { image: "a", env: { MODE: "test" } });
    expect(variablesOf(app, deployment, railway, given)).toMatchObject({
      API_KEY: "${{pulse-env.API_KEY}}",
      MODE: "test",
      PULSE_RAILWAY_REDIS_URL: "${{pulse-env.PULSE_RAILWAY_REDIS_URL}}",
      PULSE_RAILWAY_GUARD: "1",
      PULSE_RAILWAY_HEALTH_PATH: "/_pulse/health",
      PULSE_SERVER_ADDRESS: "",
      PORT: "8080",
    });
  });

  test("have no guard where the app has no contract to keep it", () => {
    const { app, deployment, target: railway } = appWith("shop", "v1", { image: "a" }, { contract: "none" });
    expect(variablesOf(app, deployment, railway, given)).not.toHaveProperty("PULSE_RAILWAY_GUARD");
    expect(settingsOf(app, deployment, railway)).not.toHaveProperty("healthcheckPath");
  });

  test("are sorted into users', reserved and Railway's own", () => {
    const names = ["B", "A", "PORT", "HOST", "PULSE_X", "SIGNALBOX_APP", "RAILWAY_DOCKERFILE_PATH"];
    const provided = [
      "RAILWAY_PROJECT_ID",
      "RAILWAY_SERVICE_DB_URL",
      "RAILWAY_PRIVATE_DOMAIN",
      "RAILWAY_ENVIRONMENT",
    ];
    expect(sortVariables([...names, ...provided, "PULSE_RAILWAY_REDIS_URL"])).toEqual({
      users: ["A", "B"],
      reserved: ["HOST", "PORT", "PULSE_X", "RAILWAY_DOCKERFILE_PATH", "SIGNALBOX_APP"],
    });
  });
});

test.for([
  ["auto", null, {}, {}, undefined],
  ["auto", null, { healthPath: "/up" }, {}, "/up"],
  ["auto", null, {}, { healthPath: "/ready" }, "/ready"],
  ["auto", "pulse", {}, {}, "/_pulse/health"],
  ["auto", "pulse", {}, { healthPath: "/ready" }, "/ready"],
  ["auto", "edge", {}, {}, undefined],
  ["auto", "edge", {}, { healthPath: "/ready" }, "/ready"],
  ["pulse", null, {}, { healthPath: "/ready" }, "/_pulse/health"],
  ["none", null, {}, { healthPath: "/ready" }, "/ready"],
] as const)(
  "contract %s, found to be %s, target %j, app %j: Railway's health check asks %s, and the guard lets it",
  ([contract, decided, ofTarget, ofApp, path]) => {
    const railwayTarget = { image: "a", ...ofTarget };
    const { app, deployment, target: railway } = appWith("shop", "v1", railwayTarget, { contract, ...ofApp });
    const settings = settingsOf(app, { ...deployment, contract: decided }, railway);
    expect(settings.healthcheckPath).toBe(path);
    const { PULSE_RAILWAY_HEALTH_PATH: open } = variablesOf(app, deployment, railway, given);
    if (decided === "pulse" || contract === "pulse") expect(open).toBe(path);
  },
);

test("settings are set once all that is wanted is found", () => {
  const {
    app,
    deployment,
    target: railway,
  } = appWith("shop", "v1", {
    repo: { repo: "acme/shop", commit: "a".repeat(40) },
    start: "npm start",
    dockerfile: "ops/Dockerfile",
  });
  const wanted = settingsOf(app, deployment, railway);
  const { source: _, ...plain } = wanted;
  const found = { ...plain, source: { image: null, repo: "acme/shop" }, buildCommand: "as it is" };
  expect(isSet(wanted, found)).toBe(true);
  expect(isSet(wanted, { ...found, source: null })).toBe(false);
  expect(isSet(wanted, { ...found, overlapSeconds: null })).toBe(false);
  expect(isSet(wanted, { ...found, startCommand: "other" })).toBe(false);
});

test.for([
  [{}, false],
  [{ image: "ghcr.io/acme/shop:1" }, true],
  [{ image: "shop", upload: true }, false],
  [{ upload: true, start: "node x", healthPath: "/up", env: { A: "b" } }, true],
  [{ upload: false }, false],
  [{ repo: { repo: "acme/shop" } }, true],
  [{ repo: { repo: "acme/shop", branch: "feature/x", commit: "f".repeat(40) } }, true],
  [{ repo: { repo: "acme" } }, false],
  [{ repo: { repo: "acme/shop", commit: "main" } }, false],
  [{ image: "shop", build: "make" }, false],
  [{ image: "shop", dockerfile: "Dockerfile" }, false],
  [{ image: "shop", env: { RAILWAY_RUN_UID: "0" } }, false],
  [{ image: "shop", env: { SIGNALBOX_OWNER: "x" } }, false],
  [{ image: "--help" }, false],
  [{ image: "shop", extra: 1 }, false],
] as const)("the target %j is taken: %j", ([given, taken]) => {
  expect(target.safeParse({ kind: "railway", ...given }).success).toBe(taken);
});

describe("a build's log", () => {
  const line = (at: string, message: string) => ({ timestamp: `2026-01-01T00:00:${at}Z`, message });
  function sink(): BuildLog & { lines: string[] } {
    return {
      cursor: 0,
      lines: [],
      append(lines, cursor) {
        this.lines.push(...lines);
        this.cursor = cursor;
      },
    };
  }

  test("is passed on once, in its order, whatever comes again", () => {
    const log = sink();
    const follower = new LogFollower();
    expect(follower.since(log)).toBeNull();
    follower.take([line("02.000000100", "b"), line("01.5", "a")], log);
    follower.take([line("02.000000100", "b"), line("02.000000900", "c")], log);
    expect(follower.since(log)).toBe("2026-01-01T00:00:02.000Z");
    follower.take(
      [line("02.000000900", "c"), line("02.000001500", "d"), line("03", "\u001b[31me\u001b[0m\r\nf\n")],
      log,
    );
    follower.take([], log);
    expect(log.lines).toEqual(["a", "b", "c", "d", "e", "f"]);
  });

  test("loses no line of a moment that was seen half", () => {
    const log = sink();
    const follower = new LogFollower();
    follower.take([line("01", "a"), line("01", "b")], log);
    follower.take([line("01", "a"), line("01", "b"), line("01", "c")], log);
    follower.take([line("01", "a"), line("01", "b"), line("01", "c"), line("02", "d")], log);
    expect(log.lines).toEqual(["a", "b", "c", "d"]);
  });

  test("is shown twice to nobody after a restart", () => {
    const log = sink();
    new LogFollower().take([line("01", "a"), line("02", "b")], log);
    new LogFollower().take([line("02", "b"), line("03", "c")], log);
    expect(log.lines).toEqual(["a", "b", "c"]);
  });
});
