import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  appConfig,
  appDocument,
  isRoutable,
  newAppDocument,
  type AppDocument,
} from "../../functions/apps/app-document.ts";
import type { Command } from "../../functions/apps/command.ts";
import { violations } from "../../functions/apps/invariants.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import { FINISHED_DEPLOYMENTS_KEPT, LIVE_DEPLOYMENTS_LIMIT } from "../../functions/protocol/limits.ts";

const T0 = 1_800_000_000_000;
const target = { kind: "url", url: "https://backend.example" } as const;

function app(config: Record<string, unknown> = {}): AppDocument {
  return newAppDocument("shop", appConfig.parse(config), T0);
}

function run(start: AppDocument, commands: Command[], now = T0): AppDocument {
  return commands.reduce((document, command) => {
    const result = transition(document, command, now);
    if (!result.ok) throw new Error(`${command.type}: ${result.refusal.code} ${result.refusal.message}`);
    return result.app;
  }, start);
}

function refusal(start: AppDocument, command: Command, now = T0): string | null {
  const result = transition(start, command, now);
  return result.ok ? null : result.refusal.code;
}

function ready(id: string): Command[] {
  return [
    { type: "create", id, name: "prod", target, promote: false },
    { type: "provisioned", id, url: "https://backend.example", resources: {} },
    { type: "verified", id },
  ];
}

function released(id: string): Command[] {
  return [...ready(id), { type: "promote", id }];
}

function gone(id: string): Command[] {
  return [
    { type: "retire", id, reason: "deleted" },
    { type: "reload-told", id, sockets: 0 },
    { type: "unroute", id },
    { type: "removed", id },
  ];
}

describe("a rollout", () => {
  test("goes from pending over ready to active, and leaves the former one draining until an absolute time", () => {
    const two = run(app({ drainTtlSeconds: 60, previousRetentionSeconds: 30 }), [
      ...released("v1"),
      ...released("v2"),
    ]);
    expect(two.active).toBe("v2");
    expect(two.deployments["v1"]).toMatchObject({ state: "draining", drainDeadline: T0 + 60_000 });
    expect(two.previous).toEqual({ id: "v1", retainUntil: T0 + 30_000 });
  });

  test("promotes itself when it was asked to, unless a newer one is active already", () => {
    const create = (id: string): Command[] =>
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

describe("commands that make no sense are refused", () => {
  const one = run(app(), released("v1"));
  const two = run(one, ready("v2"));
  const cases: [string, AppDocument, Command, string][] = [
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
    ["verifying twice", two, { type: "verified", id: "v2" }, "wrong_state"],
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
const rollout: fc.Arbitrary<Command> = fc.oneof(
  id.map((id) => ({ type: "create", id, name: "prod", target, promote: true }) as const),
  id.map((id) => ({ type: "provisioned", id, url: "https://b.example", resources: {} }) as const),
  id.map((id) => ({ type: "verified", id }) as const),
  id.map((id) => ({ type: "promote", id }) as const),
  fc.constant({ type: "rollback" } as const),
);
const other: fc.Arbitrary<Command> = fc.oneof(
  id.map((id) => ({ type: "fail", id, code: "x", reason: "y" }) as const),
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
    .map((mode) => ({ type: "pause", mode, message: "m", retryAfterSeconds: 1, maxHoldSeconds: 1 }) as const),
  fc.constant({ type: "resume" } as const),
  fc.option(id).map((id) => ({ type: "set-minimum", id }) as const),
  fc
    .tuple(id, fc.constantFrom("drained", "deadline", "deleted", "expired"))
    .map(([id, reason]) => ({ type: "retire", id, reason }) as const),
  id.map((id) => ({ type: "spare", id }) as const),
  fc.tuple(id, fc.option(fc.nat())).map(([id, sockets]) => ({ type: "reload-told", id, sockets }) as const),
  id.map((id) => ({ type: "unroute", id }) as const),
  id.map((id) => ({ type: "removed", id }) as const),
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
      const all: [Command, number][] = deletes ? [...steps, [{ type: "delete-app" }, 1]] : steps;
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
