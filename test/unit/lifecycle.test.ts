import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  appConfig,
  appDocument,
  isRoutable,
  newAppDocument,
  type AppDocument,
} from "../../functions/apps/app-document.ts";
import type { AppCommand } from "../../functions/apps/command.ts";
import { violations } from "../../functions/apps/invariants.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import {
  APP_DOCUMENT_LIMIT_BYTES,
  FINISHED_DEPLOYMENTS_KEPT,
  LIVE_DEPLOYMENTS_LIMIT,
} from "../../functions/protocol/limits.ts";

const T0 = 1_800_000_000_000;
const target = { kind: "url", url: "https://backend.example" } as const;

function app(config: Record<string, unknown> = {}): AppDocument {
  return newAppDocument("shop", appConfig.parse(config), T0);
}

function run(start: AppDocument, commands: AppCommand[], now = T0): AppDocument {
  return commands.reduce((document, command) => {
    const result = transition(document, command, now);
    if (!result.ok) throw new Error(`${command.type}: ${result.refusal.code} ${result.refusal.message}`);
    return result.app;
  }, start);
}

function refusal(start: AppDocument, command: AppCommand, now = T0): string | null {
  const result = transition(start, command, now);
  return result.ok ? null : result.refusal.code;
}

function ready(id: string): AppCommand[] {
  return [
    { type: "create", id, name: "prod", target, promote: false },
    { type: "provisioned", id, url: "https://backend.example", resources: {} },
    { type: "verified", id, contract: "pulse" },
  ];
}

function released(id: string): AppCommand[] {
  return [...ready(id), { type: "promote", id }];
}

function gone(id: string): AppCommand[] {
  return [
    { type: "retire", id, reason: "deleted" },
    { type: "reload-told", id, sockets: 0 },
    { type: "unroute", id },
    { type: "removed", id },
  ];
}

describe("a rollout", () => {
  test("goes from pending over ready to active, and the former one drains until its deadline", () => {
    const two = run(app({ drainTtlSeconds: 60, previousRetentionSeconds: 30 }), [
      ...released("v1"),
      ...released("v2"),
    ]);
    expect(two.active).toBe("v2");
    expect(two.deployments["v1"]).toMatchObject({ state: "draining", drainDeadline: T0 + 60_000 });
    expect(two.previous).toEqual({ id: "v1", retainUntil: T0 + 30_000 });
  });

  test("promotes itself when it was asked to, unless a newer one is active already", () => {
    const create = (id: string): AppCommand[] =>
      ready(id).map((command) => ({ ...command, ...(command.type === "create" ? { promote: true } : {}) }));
    const both = run(app(), [...create("old"), ...create("new"), { type: "auto-promote", id: "new" }]);
    const late = run(both, [{ type: "auto-promote", id: "old" }]);
    expect(late.active).toBe("new");
    expect(late.deployments["old"]).toMatchObject({ state: "ready", promoteWhenReady: false });
  });

  test("that fails keeps its reason and never becomes active", () => {
    const failed = run(app(), [
      { type: "create", id: "v1", name: "prod", target, promote: true },
      { type: "fail", id: "v1", code: "verification_failed", reason: "no answer" },
    ]);
    expect(failed.deployments["v1"]).toMatchObject({ state: "failed", failure: { reason: "no answer" } });
    expect(refusal(failed, { type: "promote", id: "v1" })).toBe("deployment_finished");
  });
});

describe("a rollback", () => {
  test("returns to the previous one, un-drains it and can be rolled forward again", () => {
    const two = run(app(), [...released("v1"), ...released("v2")]);
    const back = run(two, [{ type: "rollback" }], T0 + 1);
    expect(back.active).toBe("v1");
    expect(back.deployments["v1"]).toMatchObject({ state: "active", drainDeadline: null });
    expect(back.previous?.id).toBe("v2");
    expect(run(back, [{ type: "rollback" }]).active).toBe("v2");
  });

  test("saves a deployment whose browsers were told to reload, but not one that is unrouted", () => {
    const told = run(app(), [
      ...released("v1"),
      ...released("v2"),
      { type: "retire", id: "v1", reason: "deadline" },
      { type: "reload-told", id: "v1", sockets: 3 },
    ]);
    expect(run(told, [{ type: "rollback" }]).deployments["v1"]?.retirement).toBeNull();
    const unrouted = run(told, [{ type: "unroute", id: "v1" }]);
    expect(refusal(unrouted, { type: "rollback" })).toBe("no_previous_deployment");
    expect(refusal(unrouted, { type: "promote", id: "v1" })).toBe("deployment_retiring");
  });
});

describe("a canary", () => {
  const two = run(app({ readyTtlSeconds: 600 }), [...released("v1"), ...released("v2")]);
  const back = run(two, [{ type: "rollback" }], T0 + 1_000);
  const canary: AppCommand = { type: "set-canary", id: "v2", weight: 5 };

  test("of a version that was rolled back un-drains it, and the rollback can still be undone", () => {
    const tried = run(back, [canary], T0 + 2_000);
    expect(tried.canary).toEqual({ id: "v2", weight: 5 });
    expect(tried.deployments["v2"]).toMatchObject({
      state: "ready",
      stateSince: T0 + 2_000,
      deadline: T0 + 2_000 + 600_000,
      drainDeadline: null,
    });
    expect(tried.active).toBe("v1");
    const again = run(tried, [{ type: "rollback" }]);
    expect([again.active, again.canary]).toEqual(["v2", null]);
  });

  test("takes a draining deployment back until it is unrouted", () => {
    const told = run(back, [
      { type: "retire", id: "v2", reason: "deleted" },
      { type: "reload-told", id: "v2", sockets: 3 },
    ]);
    expect(run(told, [canary]).deployments["v2"]).toMatchObject({ state: "ready", retirement: null });
    const unrouted = run(told, [{ type: "unroute", id: "v2" }]);
    expect(refusal(unrouted, canary)).toBe("deployment_retiring");
  });

  test("may not be older than the minimum", () => {
    const cut = run(two, [{ type: "set-minimum", id: "v2" }]);
    expect(refusal(cut, { ...canary, id: "v1" })).toBe("below_minimum");
    expect(cut.deployments["v1"]?.state).toBe("draining");
  });

  test("that has moved on stays ready for its time", () => {
    const cleared = run(back, [canary, { type: "clear-canary" }], T0 + 2_000);
    expect(cleared.deployments["v2"]).toMatchObject({ state: "ready", deadline: T0 + 602_000 });
  });
});

describe("an app at its size limit", () => {
  const heavy = (id: string, bytes: number): AppCommand => {
    const env = Object.fromEntries(
      Array.from({ length: Math.floor(bytes / 16_000) }, (_, index) => [`V${index}`, "x".repeat(15_980)]),
    );
    const source = { sha256: "a".repeat(64) };
    return {
      type: "create",
      id,
      name: "prod",
      target: { kind: "runner", runnerId: "r1", source, start: "node .", env },
      promote: false,
    };
  };
  const release = (id: string): AppCommand[] => [
    heavy(id, 90_000),
    { type: "provisioned", id, url: "https://backend.example", resources: { runnerId: "r1" } },
    { type: "verified", id, contract: "pulse" },
    { type: "promote", id },
  ];
  const full = run(app(), ["a", "b", "c", "d", "e", "f"].flatMap(release));

  test("takes no new deployment, and no larger configuration", () => {
    expect(sizeOf(full)).toBeGreaterThan(APP_DOCUMENT_LIMIT_BYTES - 80_000);
    expect(refusal(full, heavy("g", 90_000))).toBe("app_too_large");
    const paths = { health: `/${"a".repeat(255)}` };
    const larger = { ...full, config: appConfig.parse({ paths }) };
    const over = run(larger, [filler(larger)]);
    const message = (config: Record<string, unknown>): string | null =>
      refusal(over, { type: "configure", config: appConfig.parse(config) });
    expect(message({ paths, healthPath: `/${"b".repeat(255)}` })).toBe("app_too_large");
    expect(message({})).toBeNull();
  });

  test("counts what is stored, which is bytes", () => {
    const source = { sha256: "a".repeat(64) };
    const env = Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`V${index}`, "名".repeat(16_000)]),
    );
    const target = { kind: "runner", runnerId: "r1", source, start: "node .", env } as const;
    const command = { type: "create", id: "v1", name: "prod", target, promote: false } as const;
    expect(refusal(app(), command)).toBe("app_too_large");
  });

  test("refuses nothing else for its size, whatever is done to it", () => {
    const over = run(full, [filler(full)]);
    const some = fc.constantFrom(...Object.keys(over.deployments));
    const anything = fc.array(fc.tuple(shrinking(some, "y".repeat(4_000)), fc.nat({ max: 900_000 })), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(anything, (steps) => {
        let document = over;
        let now = T0;
        for (const [command, elapsed] of steps) {
          now += elapsed;
          const result = transition(document, command, now);
          if (!result.ok) expect(result.refusal.code, command.type).not.toBe("app_too_large");
          else document = result.app;
          expect(violations(document)).toEqual([]);
          // What the store takes in one request.
          expect(sizeOf(document)).toBeLessThan(900_000);
        }
      }),
      { numRuns: 100 },
    );
  });

  /** A deployment that fills the document up to its very limit. */
  function filler(document: AppDocument): AppCommand {
    const create = (length: number): AppCommand => ({
      type: "create",
      id: "filler",
      name: "prod",
      target: {
        kind: "runner",
        runnerId: "r1",
        source: { sha256: "a".repeat(64) },
        start: "node .",
        env: Object.fromEntries(
          Array.from({ length: 10 }, (_, index) => [`F${index}`, "y".repeat(Math.floor(length / 10))]),
        ),
      },
      promote: false,
    });
    const empty = run(document, [create(0)]);
    return create(APP_DOCUMENT_LIMIT_BYTES - sizeOf(empty) - 200);
  }
});

function sizeOf(document: AppDocument): number {
  return Buffer.byteLength(JSON.stringify(document));
}

describe("commands that make no sense are refused", () => {
  const one = run(app(), released("v1"));
  const two = run(one, ready("v2"));
  const cases: [string, AppDocument, AppCommand, string][] = [
    ["promoting the active one", one, { type: "promote", id: "v1" }, "already_active"],
    ["promoting what isn't there", one, { type: "promote", id: "v9" }, "unknown_deployment"],
    ["deleting the active one", one, { type: "retire", id: "v1", reason: "deleted" }, "active_deployment"],
    [
      "creating an id twice",
      one,
      { type: "create", id: "v1", name: "prod", target, promote: true },
      "deployment_exists",
    ],
    ["rolling back the first one", one, { type: "rollback" }, "no_previous_deployment"],
    ["a canary that is active", one, { type: "set-canary", id: "v1", weight: 5 }, "not_ready"],
    [
      "a canary without an active one",
      run(app(), ready("v1")),
      { type: "set-canary", id: "v1", weight: 5 },
      "no_active_deployment",
    ],
    ["lifting no canary", one, { type: "clear-canary" }, "no_canary"],
    ["a minimum newer than the active one", two, { type: "set-minimum", id: "v2" }, "below_minimum"],
    ["resuming what runs", one, { type: "resume" }, "not_paused"],
    ["verifying twice", two, { type: "verified", id: "v2", contract: "pulse" }, "wrong_state"],
    ["draining what isn't superseded", two, { type: "retire", id: "v2", reason: "drained" }, "wrong_state"],
    [
      "unrouting before browsers were told",
      run(two, [{ type: "retire", id: "v2", reason: "deleted" }]),
      { type: "unroute", id: "v2" },
      "wrong_state",
    ],
    ["removing what is routed", two, { type: "removed", id: "v2" }, "wrong_state"],
  ];
  test.each(cases)("%s", (_name, document, command, code) => {
    const before = structuredClone(document);
    expect(refusal(document, command)).toBe(code);
    expect(document).toEqual(before);
  });

  test("pausing twice in the same way, while another way replaces the first", () => {
    const pause = {
      type: "pause",
      mode: "hold",
      message: "m",
      retryAfterSeconds: 1,
      maxHoldSeconds: 1,
    } as const;
    const paused = run(one, [pause]);
    expect(refusal(paused, pause)).toBe("already_paused");
    expect(run(paused, [{ ...pause, mode: "refuse" }]).paused?.mode).toBe("refuse");
    expect(run(paused, [{ ...pause, maxHoldSeconds: 2 }]).paused?.maxHoldSeconds).toBe(2);
  });
});

test("a minimum cuts older deployments off from promotion and rollback", () => {
  const cut = run(app(), [...released("v1"), ...released("v2"), { type: "set-minimum", id: "v2" }]);
  expect(refusal(cut, { type: "rollback" })).toBe("below_minimum");
  expect(refusal(cut, { type: "promote", id: "v1" })).toBe("below_minimum");
  expect(run(cut, [{ type: "set-minimum", id: null }, { type: "rollback" }]).active).toBe("v1");
});

test("the previous one isn't retired as drained within its retention", () => {
  const two = run(app({ previousRetentionSeconds: 10 }), [...released("v1"), ...released("v2")]);
  const drained = { type: "retire", id: "v1", reason: "drained" } as const;
  expect(refusal(two, drained, T0 + 9_999)).toBe("wrong_state");
  expect(refusal(two, drained, T0 + 10_000)).toBeNull();
});

test("live deployments are limited, finished ones are forgotten oldest first", () => {
  let document = app();
  for (let index = 0; index < LIVE_DEPLOYMENTS_LIMIT; index++) document = run(document, ready(`v${index}`));
  const more = { type: "create", id: "more", name: "prod", target, promote: true } as const;
  expect(refusal(document, more)).toBe("too_many_deployments");
  for (let index = 0; index < LIVE_DEPLOYMENTS_LIMIT; index++)
    document = run(document, gone(`v${index}`), T0 + index);
  expect(Object.keys(document.deployments)).toHaveLength(FINISHED_DEPLOYMENTS_KEPT);
  expect(document.deployments["v0"]).toBeUndefined();
  expect(document.deployments[`v${LIVE_DEPLOYMENTS_LIMIT - 1}`]).toBeDefined();
});

test("deleting an app retires everything and takes no more orders", () => {
  const deleting = run(app(), [...released("v1"), ...ready("v2"), { type: "delete-app" }]);
  expect(deleting.active).toBeNull();
  expect(Object.values(deleting.deployments).map(({ retirement }) => retirement?.reason)).toEqual([
    "app-deleted",
    "app-deleted",
  ]);
  expect(refusal(deleting, { type: "promote", id: "v1" })).toBe("app_deleting");
});

const ids = ["a", "b", "c", "d"];
const id = fc.constantFrom(...ids);
const rollout: fc.Arbitrary<AppCommand> = fc.oneof(
  id.map((id) => ({ type: "create", id, name: "prod", target, promote: true }) as const),
  id.map((id) => ({ type: "provisioned", id, url: "https://b.example", resources: {} }) as const),
  id.map((id) => ({ type: "verified", id, contract: "pulse" }) as const),
  id.map((id) => ({ type: "promote", id }) as const),
  fc.constant({ type: "rollback" } as const),
);
/** All that happens to deployments and apps once they are there. */
function shrinking(id: fc.Arbitrary<string>, reason = "y"): fc.Arbitrary<AppCommand> {
  return fc.oneof(
    id.map((id) => ({ type: "fail", id, code: "x", reason }) as const),
    id.map((id) => ({ type: "cleaned-up", id }) as const),
    id.map((id) => ({ type: "auto-promote", id }) as const),
    id.map((id) => ({ type: "redeploy", id }) as const),
    id.map((id) => ({ type: "redeploy-provisioned", id, url: "https://c.example", resources: {} }) as const),
    id.map((id) => ({ type: "redeploy-finished", id }) as const),
    fc
      .tuple(id, fc.integer({ min: 0, max: 100 }))
      .map(([id, weight]) => ({ type: "set-canary", id, weight }) as const),
    fc.constant({ type: "clear-canary" } as const),
    fc
      .constantFrom("hold", "refuse")
      .map(
        (mode) => ({ type: "pause", mode, message: "m", retryAfterSeconds: 1, maxHoldSeconds: 1 }) as const,
      ),
    fc.constant({ type: "resume" } as const),
    fc.option(id).map((id) => ({ type: "set-minimum", id }) as const),
    fc
      .tuple(id, fc.constantFrom("drained", "deadline", "deleted", "expired"))
      .map(([id, reason]) => ({ type: "retire", id, reason }) as const),
    id.map((id) => ({ type: "spare", id }) as const),
    fc.tuple(id, fc.option(fc.nat())).map(([id, sockets]) => ({ type: "reload-told", id, sockets }) as const),
    id.map((id) => ({ type: "unroute", id }) as const),
    id.map((id) => ({ type: "removed", id }) as const),
    id.map((id) => ({ type: "provisioned", id, url: "https://b.example", resources: {} }) as const),
    id.map((id) => ({ type: "verified", id, contract: "pulse" }) as const),
    id.map((id) => ({ type: "promote", id }) as const),
    fc.constant({ type: "rollback" } as const),
    fc.constant({ type: "delete-app" } as const),
  );
}
const other: fc.Arbitrary<AppCommand> = fc.oneof(
  shrinking(id).filter(
    ({ type }) => !["provisioned", "verified", "promote", "rollback", "delete-app"].includes(type),
  ),
  fc.constant({ type: "configure", config: appConfig.parse({ drainTtlSeconds: 5 }) } as const),
);
// Rollouts weigh as much as all else together, so that histories get as far as several active deployments.
const anyCommand = fc.oneof(rollout, other);
const history = fc.array(fc.tuple(anyCommand, fc.nat({ max: 900_000 })), { maxLength: 120, size: "max" });

test("no history of commands breaks a rule, and every document reads back as it was written", () => {
  fc.assert(
    fc.property(history, fc.boolean(), (steps, deletes) => {
      let document = app({ previousRetentionSeconds: 600 });
      let now = T0;
      const all: [AppCommand, number][] = deletes ? [...steps, [{ type: "delete-app" }, 1]] : steps;
      for (const [command, elapsed] of all) {
        now += elapsed;
        const before = JSON.stringify(document);
        const activeBefore = document.active;
        const result = transition(document, command, now);
        expect(JSON.stringify(document)).toBe(before);
        if (!result.ok) continue;
        const next = result.app;
        expect(violations(next)).toEqual([]);
        expect(next.version).toBe(document.version + 1);
        expect(appDocument.parse(JSON.parse(JSON.stringify(next)))).toEqual(next);
        // Only another promotion or the app's own end takes visitors away from the active deployment.
        if (activeBefore !== null && next.active !== activeBefore) {
          expect(["promote", "auto-promote", "rollback", "delete-app"]).toContain(command.type);
        }
        if (next.active !== null) expect(isRoutable(next.deployments[next.active] ?? never())).toBe(true);
        document = next;
      }
    }),
    { numRuns: 2_000 },
  );
});

test("whatever happened, an app that is deleted can be brought to its end", () => {
  fc.assert(
    fc.property(history, (steps) => {
      let document = app();
      let now = T0;
      for (const [command, elapsed] of [...steps, [{ type: "delete-app" }, 1] as const]) {
        now += elapsed;
        const result = transition(document, command, now);
        if (result.ok) document = result.app;
      }
      for (const id of Object.keys(document.deployments)) {
        for (const command of [{ type: "cleaned-up", id } as const, ...gone(id).slice(1)]) {
          const result = transition(document, command, now);
          if (result.ok) document = result.app;
        }
      }
      const states = Object.values(document.deployments).map(({ state }) => state);
      expect(states.every((state) => state === "removed" || state === "failed")).toBe(true);
    }),
    { numRuns: 500 },
  );
});

function never(): never {
  throw new Error("the active deployment isn't in the document");
}
