import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  appConfig,
  newAppDocument,
  type AppDocument,
  type Deployment,
  type DeploymentState,
} from "../../functions/apps/app-document.ts";
import { pinOf, resolveRoute, stickyDraw, type Pin, type RouteQuery } from "../../functions/edge/resolve.ts";

function deployment(id: string, state: DeploymentState, sequence: number): Deployment {
  return {
    id,
    name: "prod",
    sequence,
    state,
    stateSince: 0,
    createdAt: 0,
    target: { kind: "url", url: `https://${id}.example.com` },
    promoteWhenReady: false,
    contract: null,
    url: state === "removed" ? null : `https://${id}.example.com`,
    resources: {},
    deadline: null,
    drainDeadline: null,
    retirement: null,
    redeploy: null,
    failure: null,
    cleanedUp: false,
  };
}

const UNROUTED = { reason: "drained", requestedAt: 1, reload: { at: 2, sockets: 0 }, unroutedAt: 3 } as const;

/** One deployment in every state, in order of age. */
function app(changes: Partial<AppDocument> = {}): AppDocument {
  const all = [
    deployment("gone", "removed", 1),
    { ...deployment("unrouted", "draining", 2), retirement: UNROUTED },
    deployment("old", "draining", 3),
    deployment("now", "active", 4),
    deployment("next", "ready", 5),
    deployment("new", "pending", 6),
    { ...deployment("newest", "pending", 7), url: null },
    deployment("broken", "failed", 8),
  ];
  return {
    ...newAppDocument("shop", appConfig.parse({}), 0),
    active: "now",
    deployments: Object.fromEntries(all.map((each) => [each.id, each])),
    ...changes,
  };
}

function outcome(document: AppDocument, query: Partial<RouteQuery>): string {
  const route = resolveRoute(document, {
    pin: null,
    internal: false,
    webSocket: false,
    reloadOnStale: false,
    canaryDraw: () => 50,
    ...query,
  });
  return route.kind === "forward" ? `${route.via} ${route.deployment.id} ${route.url}` : route.kind;
}

const to = (via: string, id: string): string => `${via} ${id} https://${id}.example.com`;
const idle = app({ active: null, deployments: { old: deployment("old", "draining", 1) } });
const canary = (weight: number): AppDocument => app({ canary: { id: "next", weight } });
const minimum = (id: string, sequence: number): AppDocument => app({ minimum: { id, sequence } });

describe("routing rules", () => {
  test.each<[string, AppDocument, Partial<RouteQuery>, string]>([
    ["2: a pin reaches a ready deployment", app(), { pin: "next" }, to("pinned", "next")],
    ["2: a pin reaches the active one", app(), { pin: "now" }, to("pinned", "now")],
    ["2: a pin reaches a draining one", app(), { pin: "old" }, to("pinned", "old")],
    ["2: a pending one is stale to the public", app(), { pin: "new" }, "stale"],
    [
      "2: a pending one is reached with the token",
      app(),
      { pin: "new", internal: true },
      to("pinned", "new"),
    ],
    ["2: not before it has an address", app(), { pin: "newest", internal: true }, "stale"],
    ["2: the token opens no failed one", app(), { pin: "broken", internal: true }, "stale"],
    ["2: nor a removed one", app(), { pin: "gone", internal: true }, "stale"],
    ["2: nor one that is about to be removed", app(), { pin: "unrouted", internal: true }, "stale"],
    ["2: a pin works with no active deployment", idle, { pin: "old" }, to("pinned", "old")],
    ["3: a pin to a removed one is stale", app(), { pin: "gone" }, "stale"],
    ["3: a pin to an unrouted one is stale", app(), { pin: "unrouted" }, "stale"],
    ["3: a pin to a failed one is stale", app(), { pin: "broken" }, "stale"],
    ["3: an unknown pin is stale", app(), { pin: "nothing" }, "stale"],
    [
      "3: a WebSocket that can reload gets the active one",
      app(),
      { pin: "gone", webSocket: true, reloadOnStale: true },
      to("fallback", "now"),
    ],
    ["3: a WebSocket that can't doesn't", app(), { pin: "gone", webSocket: true }, "stale"],
    ["3: the parameter means nothing to HTTP", app(), { pin: "gone", reloadOnStale: true }, "stale"],
    [
      "3: a WebSocket with a living pin keeps it",
      app(),
      { pin: "old", webSocket: true, reloadOnStale: true },
      to("pinned", "old"),
    ],
    ["4: no pin gets the active one", app(), {}, to("active", "now")],
    ["4: under the weight it is the canary", canary(51), {}, to("canary", "next")],
    ["4: at the weight it isn't", canary(50), {}, to("active", "now")],
    ["4: weight 0 is nobody", canary(0), { canaryDraw: () => 0 }, to("active", "now")],
    ["4: weight 100 is everybody", canary(100), { canaryDraw: () => 99.999_999 }, to("canary", "next")],
    ["4: a pin goes before the canary", canary(100), { pin: "now" }, to("pinned", "now")],
    [
      "4: a canary that can't be routed is none",
      app({ canary: { id: "unrouted", weight: 100 } }),
      {},
      to("active", "now"),
    ],
    ["4: nor is one that isn't there", app({ canary: { id: "x", weight: 100 } }), {}, to("active", "now")],
    ["5: nothing active and no pin", idle, {}, "none"],
    ["5: nothing active and a dead pin", idle, { pin: "gone" }, "none"],
    [
      "5: nothing active and a dead pin on a WebSocket",
      idle,
      { pin: "gone", webSocket: true, reloadOnStale: true },
      "none",
    ],
    ["9: a pin below the minimum is stale", minimum("now", 4), { pin: "old" }, "stale"],
    ["9: the minimum itself isn't", minimum("old", 3), { pin: "old" }, to("pinned", "old")],
    [
      "9: a WebSocket below the minimum reloads",
      minimum("now", 4),
      { pin: "old", webSocket: true, reloadOnStale: true },
      to("fallback", "now"),
    ],
    ["9: the token doesn't lift it", minimum("now", 4), { pin: "old", internal: true }, "stale"],
  ])("%s", (_, document, query, expected) => {
    expect(outcome(document, query)).toBe(expected);
  });

  test.each([
    "",
    " ",
    "NOW",
    "now ",
    " now",
    "now/",
    "-now",
    "no.w",
    "now\n",
    "../now",
    "now?x",
    "nöw",
    "a".repeat(25),
    "__proto__",
    "constructor",
    "prototype",
    "hasownproperty",
    "valueof",
    "now,old",
  ])("1: the pin %j is unknown", (pin) => {
    expect(outcome(app(), { pin })).toBe("stale");
    expect(outcome(app(), { pin, internal: true })).toBe("stale");
    expect(outcome(idle, { pin })).toBe("none");
  });

  test("1: no text that isn't an id of this app is ever looked up", () => {
    const document = app();
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (pin) => {
        fc.pre(!Object.hasOwn(document.deployments, pin));
        expect(outcome(document, { pin, internal: true })).toBe("stale");
      }),
    );
  });

  test("the draw is made only where a canary needs it", () => {
    const drawn = (document: AppDocument, query: Partial<RouteQuery>): number => {
      let draws = 0;
      outcome(document, { ...query, canaryDraw: () => (draws += 1) });
      return draws;
    };
    expect(drawn(app(), {})).toBe(0);
    expect(drawn(canary(50), { pin: "now" })).toBe(0);
    expect(drawn(canary(50), {})).toBe(1);
  });
});

describe("the pin", () => {
  test.each<[string, string, Record<string, string>, string | null]>([
    ["is the query parameter", "/?pulse_deployment=a", {}, "a"],
    ["is the header", "/", { "x-pulse-deployment": "b" }, "b"],
    ["is the parameter rather than the header", "/?pulse_deployment=a", { "x-pulse-deployment": "b" }, "a"],
    [
      "is an empty parameter rather than the header",
      "/?pulse_deployment=",
      { "x-pulse-deployment": "b" },
      "",
    ],
    ["is the first of two parameters", "/?pulse_deployment=a&pulse_deployment=b", {}, "a"],
    ["is decoded once", "/?pulse_deployment=%2561", {}, "%61"],
    ["may stand anywhere in the query", "/?x=1&y=%26&pulse_deployment=a#z", {}, "a"],
    ["isn't in the path", "/pulse_deployment=a", {}, null],
    ["isn't spelled otherwise", "/?Pulse_Deployment=a", {}, null],
    ["is nothing when there is none", "/?", {}, null],
  ])("%s", (_, path, headers, expected) => {
    expect(pinIn(path, headers).pin).toBe(expected);
  });

  test("could come from a header wherever the query has none", () => {
    expect(pinIn("/", {}).varies).toEqual(["x-pulse-deployment"]);
    expect(pinIn("/", { "x-pulse-deployment": "a" }).varies).toEqual(["x-pulse-deployment"]);
    expect(pinIn("/?pulse_deployment=a", { "x-pulse-deployment": "b" }).varies).toEqual([]);
  });

  function pinIn(path: string, given: Record<string, string>): Pin {
    const headers = new Headers(given);
    return pinOf(new URL(path, "https://shop.test").search, headers, new Set(headers.keys()));
  }
});

describe("the sticky draw", () => {
  test("is the same for each request of a client and always from 0 to under 100", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (client, id) => {
        const draw = stickyDraw(client, id);
        expect(stickyDraw(client, id)).toBe(draw);
        expect(draw).toBeGreaterThanOrEqual(0);
        expect(draw).toBeLessThan(100);
      }),
    );
  });

  test("keeps everybody who was in when the weight is raised", () => {
    const weight = fc.double({ min: 0, max: 100, noNaN: true });
    fc.assert(
      fc.property(fc.string(), weight, weight, (client, one, other) => {
        const isIn = (share: number): boolean => {
          const canaryDraw = (): number => stickyDraw(client, "next");
          return outcome(canary(share), { canaryDraw }) === to("canary", "next");
        };
        expect(isIn(Math.min(one, other)) && !isIn(Math.max(one, other))).toBe(false);
      }),
    );
  });

  test.each<[string, (index: number) => string]>([
    ["counted clients", (index) => String(index)],
    ["addresses", (index) => `10.0.${index >> 8}.${index & 255}|Mozilla/5.0`],
    ["clients' cookies", (index) => (index * 2_654_435_761).toString(16).padStart(8, "0").slice(-8)],
  ])("is uniform over %s", (_, client) => {
    const buckets = Array.from({ length: 100 }, () => 0);
    const clients = 50_000;
    for (let index = 0; index < clients; index++) {
      const bucket = Math.floor(stickyDraw(client(index), "v2"));
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    }
    const expected = clients / buckets.length;
    const chiSquared = buckets.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 99 degrees of freedom: 149 is the 99.9th percentile.
    expect(chiSquared).toBeLessThan(149);
  });

  test("picks other clients for another canary", () => {
    let both = 0;
    let first = 0;
    for (let index = 0; index < 10_000; index++) {
      if (stickyDraw(String(index), "v2") >= 20) continue;
      first += 1;
      if (stickyDraw(String(index), "v3") < 20) both += 1;
    }
    expect(both / first).toBeGreaterThan(0.15);
    expect(both / first).toBeLessThan(0.25);
  });
});
