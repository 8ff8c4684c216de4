import { describe, expect, test } from "vitest";
import { RolloutMemories, type RolloutMemory } from "../../functions/providers/railway/memory.ts";
import { phaseOf, redeployPhaseOf, type Found } from "../../functions/providers/railway/phase.ts";
import type { RailwayServiceState } from "../../functions/railway/operations.ts";
import { appConfig, newAppDocument, type Deployment } from "../../functions/apps/app-document.ts";
import { transition } from "../../functions/apps/lifecycle.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");

const env = header("env", "pulse-env");

function header(id: string, name: string) {
  return { id, name, groupId: null, createdAt: new Date(NOW).toISOString(), deletedAt: null };
}

function stateOf(latest: string | null, createdAt = NOW): RailwayServiceState {
  return {
    service: header("mine", "shop-v1"),
    variables: {},
    serviceInstance: {
      source: null,
      startCommand: null,
      buildCommand: null,
      dockerfilePath: null,
      healthcheckPath: null,
      healthcheckTimeout: null,
      overlapSeconds: null,
      drainingSeconds: null,
      numReplicas: null,
      domains: { serviceDomains: [] },
      latestDeployment:
        latest === null
          ? null
          : { id: latest, status: "BUILDING", createdAt: new Date(createdAt).toISOString() },
    },
  };
}

function found(parts: Partial<Found> = {}): Found {
  const names = { usual: "shop-v1", spare: "shop-v1-x" };
  return { mine: null, names, taken: new Map(), env, changed: false, ...parts };
}

function memory(parts: Partial<RolloutMemory> = {}): RolloutMemory {
  const app = newAppDocument("shop", appConfig.parse({}), NOW);
  const target = { kind: "railway", image: "shop" } as const;
  const created = transition(app, { type: "create", id: "v1", name: "prod", target, promote: true }, NOW);
  const deployment: Deployment | undefined = created.ok ? created.app.deployments["v1"] : undefined;
  if (!deployment) throw new Error("the deployment was refused");
  return { ...new RolloutMemories().of(app, deployment), ...parts };
}

describe("the phase of a rollout on Railway", () => {
  const cases: [name: string, found: Found | null, memory: Partial<RolloutMemory>, phase: string][] = [
    ["nothing is known", null, {}, "look"],
    ["only the service is known", null, { service: "mine" }, "look"],
    ["a source has yet to come", null, { service: "mine", awaitsSource: true }, "await-source"],
    ["a build is under way", null, { service: "mine", railwayDeployment: "d1" }, "follow"],
    ["there is no service with variables", found({ env: null }), {}, "no-env-service"],
    ["an earlier deployment's service was found", found({ changed: true }), {}, "clear"],
    ["there is nothing yet", found(), {}, "create"],
    ["the usual name is foreign", found({ taken: new Map([["shop-v1", "foreign"]]) }), {}, "name-taken"],
    ["the usual name is a sibling's", found({ taken: new Map([["shop-v1", "sibling"]]) }), {}, "create"],
    [
      "both names are taken",
      found({
        taken: new Map([
          ["shop-v1", "sibling"],
          ["shop-v1-x", "foreign"],
        ]),
      }),
      {},
      "name-taken",
    ],
    ["its creation was left without an answer", found(), { unansweredSince: NOW - 4_999 }, "in-doubt"],
    ["the doubt is over", found(), { unansweredSince: NOW - 5_000 }, "create"],
    ["the list lags behind", found(), { service: "mine", seenAt: NOW - 9_999 }, "not-listed"],
    ["its service was deleted", found(), { service: "mine", seenAt: NOW - 10_000 }, "service-gone"],
    ["its service is fresh", found({ mine: stateOf(null) }), {}, "set-up"],
    ["its service has a build", found({ mine: stateOf("d1") }), {}, "follow"],
  ];
  test.each(cases)("where %s", (_, seen, known, kind) => {
    expect(phaseOf(seen, memory(known), NOW).kind).toBe(kind);
  });

  test("creates under the spare name where the usual one is a sibling's", () => {
    const seen = found({ taken: new Map([["shop-v1", "sibling"]]) });
    expect(phaseOf(seen, memory(), NOW)).toMatchObject({ kind: "create", name: "shop-v1-x" });
  });
});

describe("the phase of a redeploy on Railway", () => {
  const look = (state: RailwayServiceState, isOurs = true) => ({ state, isOurs });
  const of = { service: "mine", former: "d1", since: NOW };
  const { variables } = stateOf("d1");
  const begin = { kind: "begin", service: "mine", former: "d1", variables };
  const cases: [
    name: string,
    found: Parameters<typeof redeployPhaseOf>[0],
    of: Parameters<typeof redeployPhaseOf>[2],
    phase: unknown,
  ][] = [
    ["nothing is known", null, of, { kind: "look", service: "mine" }],
    ["it never had a service", null, { ...of, service: undefined }, { kind: "no-service" }],
    ["the mark is gone", look(stateOf("d1"), false), of, { kind: "not-ours", name: "shop-v1" }],
    [
      "nothing was ever deployed",
      look(stateOf(null)),
      { ...of, former: undefined },
      { kind: "never-deployed", name: "shop-v1" },
    ],
    ["nothing has begun", look(stateOf("d1")), of, begin],
    [
      "it has begun already",
      look(stateOf("d2", NOW)),
      of,
      { kind: "follow", service: "mine", railwayDeployment: "d2", former: "d1" },
    ],
    ["somebody deployed by hand before", look(stateOf("d2", NOW - 1)), of, begin],
  ];
  test.each(cases)("where %s", (_, seen, asked, phase) => {
    expect(redeployPhaseOf(seen, memory(), asked)).toEqual(phase);
  });
});
