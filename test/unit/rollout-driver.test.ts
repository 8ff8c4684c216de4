import { beforeEach, describe, expect, test, vi } from "vitest";
import {
  appConfig,
  newAppDocument,
  parseAppDocument,
  type AppDocument,
  type Deployment,
} from "../../functions/apps/app-document.ts";
import { applyCommand, commitDocument } from "../../functions/apps/commit.ts";
import type { SessionProbe } from "../../functions/apps/contract.ts";
import type { AppCommand } from "../../functions/apps/command.ts";
import { STORE_OUTAGE_MS, STORE_TIMEOUT_MS } from "../../functions/protocol/limits.ts";
import { violations } from "../../functions/apps/invariants.ts";
import { RolloutDriver } from "../../functions/rollouts/driver.ts";
import type { Verification } from "../../functions/rollouts/steps.ts";
import type { Provisioned, StepOutcome } from "../../functions/providers/provider.ts";
import { MemoryStore } from "../helpers/memory-store.ts";

const APP = "shop";
const START = 1_800_000_000_000;
const TABLE_AGE_MS = 12_000;
const MINUTE = 60_000;

/** Time as the test says it is; whoever sleeps is woken by its passing. */
class Clock {
  time = START;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();
  readonly now = (): number => this.time;
  readonly sleep = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const sleeper = { at: this.time + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        resolve();
      });
    });

  get sleeping(): number {
    return this.#sleepers.size;
  }

  advance(ms: number): void {
    this.time += ms;
    for (const sleeper of this.#sleepers) if (sleeper.at <= this.time) sleeper.wake();
  }
}

/** An app, its store and its backends, all in memory; what a backend or a provider does is up to the test. */
class World {
  readonly clock = new Clock();
  readonly store = new MemoryStore(this.clock.now);
  readonly steps: string[] = [];
  readonly calls: string[] = [];
  provision: (deployment: Deployment) => Promise<StepOutcome<Provisioned>> = () =>
    Promise.resolve({ status: "done", value: { url: "http://backend.test", resources: { service: "s" } } });
  remove: (deployment: Deployment) => Promise<StepOutcome<null>> = () =>
    Promise.resolve({ status: "done", value: null });
  verify: (deployment: Deployment) => Promise<Verification> = () =>
    Promise.resolve({ ok: true, contract: "pulse" });
  probe: (deployment: Deployment) => Promise<SessionProbe> = () =>
    Promise.resolve({ kind: "known", sessions: 0 });
  tell: (deployment: Deployment) => Promise<{ sockets: number | null; why: string }> = () =>
    Promise.resolve({ sockets: 0, why: "" });
  /** What the driver last asked its Durable Object for. */
  alarm: number | null = null;
  driver = this.fresh();

  /** A driver that remembers nothing, as after a restart. */
  fresh(): RolloutDriver {
    const provider = {
      place: (target: Deployment["target"]) => Promise.resolve(target),
      openStreams: () => Promise.resolve(null),
      logs: () => Promise.reject(new Error("Nobody reads logs here.")),
      provision: (deployment: Deployment) => this.#called("provision", deployment, this.provision),
      redeploy: (deployment: Deployment) => this.#called("redeploy", deployment, this.provision),
      remove: (deployment: Deployment) => this.#called("remove", deployment, this.remove),
    };
    return new RolloutDriver(APP, {
      store: this.store,
      providers: { url: provider, runner: provider, railway: provider },
      verify: (_, deployment) => this.#called("verify", deployment, this.verify),
      tellReload: (_, deployment) => this.#called("reload", deployment, this.tell),
      sessionsLeft: (_, deployment) => this.#called("probe", deployment, this.probe),
      endPages: () => Promise.resolve(),
      tableAgeLimitMs: TABLE_AGE_MS,
      progress: {
        observe: () => undefined,
        buildLog: () => ({ cursor: 0, append: () => undefined }),
        step: (id, step, status, detail) => {
          this.steps.push(`${id} ${step} ${status}${detail === "" ? "" : `: ${detail}`}`);
        },
      },
      now: this.clock.now,
      sleep: this.clock.sleep,
      wakeAt: (time) => {
        this.alarm = time;
        return Promise.resolve();
      },
    });
  }

  async create(config: Record<string, unknown> = {}): Promise<void> {
    const fresh = newAppDocument(APP, appConfig.parse(config), this.clock.time);
    const author = { actor: "operator", action: "app.create" };
    await commitDocument(this.store, fresh, 0, { author, details: {}, isDefault: false });
  }

  async command(command: AppCommand): Promise<void> {
    const author = { actor: "operator", action: command.type };
    const result = await applyCommand(this.store, APP, command, author, { now: this.clock.now });
    expect(result.kind).toBe("applied");
  }

  deploy(id: string, promote = true): Promise<void> {
    const target = { kind: "url", url: "http://backend.test" } as const;
    return this.command({ type: "create", id, name: "prod", target, promote });
  }

  run(): Promise<number | null> {
    return this.driver.round();
  }

  /** Runs round after round, each when it is due, until none is due before `until`. */
  async runUntil(until: number): Promise<number | null> {
    for (;;) {
      const wakeAt = await this.run();
      this.check();
      if (wakeAt === null || wakeAt > until) return wakeAt;
      this.clock.time = Math.max(this.clock.time, wakeAt);
    }
  }

  get document(): AppDocument {
    const stored = this.store.apps.get(APP);
    if (!stored) throw new Error("the app is gone");
    return parseAppDocument(stored.body);
  }

  deployment(id: string): Deployment {
    const found = this.document.deployments[id];
    if (!found) throw new Error(`${id} is gone`);
    return found;
  }

  check(): void {
    for (const stored of this.store.apps.values()) {
      expect(violations(parseAppDocument(stored.body))).toEqual([]);
    }
  }

  count(call: string): number {
    return this.calls.filter((made) => made === call).length;
  }

  #called<T>(
    name: string,
    deployment: Deployment,
    answer: (deployment: Deployment) => Promise<T>,
  ): Promise<T> {
    this.calls.push(`${name} ${deployment.id}`);
    return answer(deployment);
  }
}

let world: World;

beforeEach(async () => {
  vi.spyOn(console, "error").mockReturnValue(undefined);
  vi.spyOn(console, "log").mockReturnValue(undefined);
  world = new World();
  await world.create({ previousRetentionSeconds: 0 });
});

/** Lets everything happen that needs no time. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("rolling out", () => {
  test("a deployment is provisioned, verified and promoted in one go, each step reported once", async () => {
    await world.deploy("v1");
    expect(await world.run()).toBeNull();
    expect(world.document.active).toBe("v1");
    expect(world.steps).toEqual([
      "v1 provision started",
      "v1 provision done: http://backend.test",
      "v1 verify started",
      "v1 verify done",
      "v1 promote done",
    ]);
    expect(world.calls).toEqual(["provision v1", "verify v1"]);
  });

  test("one that isn't to be promoted stays ready and is looked at again when it expires", async () => {
    await world.deploy("v1", false);
    const { readyTtlSeconds } = world.document.config;
    expect(await world.run()).toBe(START + readyTtlSeconds * 1_000);
    expect(world.deployment("v1").state).toBe("ready");
    await world.runUntil(START + readyTtlSeconds * 1_000 + MINUTE);
    expect(world.deployment("v1").state).toBe("removed");
    expect(world.count("remove v1")).toBe(1);
  });

  test("a provider that says wait is asked again at that time and not before", async () => {
    world.provision = () => Promise.resolve({ status: "wait", untilMs: START + 7_000, detail: "building" });
    await world.deploy("v1");
    expect(await world.run()).toBe(START + 7_000);
    world.clock.time = START + 6_999;
    expect(await world.run()).toBe(START + 7_000);
    expect(world.count("provision v1")).toBe(1);
    expect(world.steps.at(-1)).toBe("v1 provision waiting: building");
    world.clock.time = START + 7_000;
    world.provision = () =>
      Promise.resolve({ status: "done", value: { url: "http://a.test", resources: {} } });
    expect(await world.run()).toBeNull();
    expect(world.deployment("v1")).toMatchObject({ state: "active", url: "http://a.test" });
  });

  test.each([
    ["in the past", START - 1, START + 100],
    ["after the deadline", START + 365 * 24 * 60 * MINUTE, START + 5 * MINUTE],
    ["never", Infinity, START + 5 * MINUTE],
  ])("a provider that says wait until %s neither spins nor sleeps for ever", async (_, untilMs, expected) => {
    world.provision = () => Promise.resolve({ status: "wait", untilMs, detail: "" });
    await world.deploy("v1");
    expect(await world.run()).toBe(expected);
    expect(world.count("provision v1")).toBe(1);
  });

  test("deleting one whose provider said wait cleans up at once", async () => {
    world.provision = () => Promise.resolve({ status: "wait", untilMs: START + 4 * MINUTE, detail: "" });
    await world.deploy("v1");
    await world.run();
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    expect(await world.run()).toBeNull();
    expect(world.deployment("v1")).toMatchObject({ state: "failed", cleanedUp: true });
  });

  test("a provider's failure fails the deployment with its reason and takes its resources away", async () => {
    world.provision = () => Promise.resolve({ status: "failed", reason: "no such image" });
    await world.deploy("v1");
    expect(await world.run()).toBeNull();
    expect(world.deployment("v1")).toMatchObject({
      state: "failed",
      cleanedUp: true,
      failure: { code: "provision_failed", reason: "no such image" },
    });
    expect(world.calls).toEqual(["provision v1", "remove v1"]);
  });

  test.each([
    ["waits", (): Promise<never> | Promise<StepOutcome<Provisioned>> => wait(10_000)],
    ["throws", (): Promise<never> => Promise.reject(new Error("broken provider"))],
  ])("a provider that only %s has thirty minutes", async (_, provision) => {
    world.provision = provision;
    await world.deploy("v1");
    const wakeAt = await world.runUntil(START + 29 * MINUTE);
    expect(world.deployment("v1").state).toBe("pending");
    expect(wakeAt).not.toBeNull();
    await world.runUntil(START + 41 * MINUTE);
    expect(world.deployment("v1")).toMatchObject({ failure: { code: "provision_timeout" }, cleanedUp: true });
  });

  test("a controller that slept through the provisioning limit asks once more before it gives up", async () => {
    await world.deploy("v1");
    world.clock.advance(3 * 60 * MINUTE);
    await world.run();
    expect(world.document.active).toBe("v1");
  });

  test("a hanging provider holds up nobody, is asked again, and has thirty minutes", async () => {
    world.provision = (deployment) => (deployment.id === "v1" ? new Promise(() => {}) : done());
    await world.deploy("v1");
    await world.deploy("v2");
    let running = world.run();
    await settle();
    expect(world.document.active).toBe("v2");
    for (let minute = 0; minute < 45 && world.deployment("v1").state === "pending"; minute++) {
      world.clock.advance(MINUTE);
      const wakeAt = await running;
      if (wakeAt === null) break;
      world.clock.time = Math.max(world.clock.time, wakeAt);
      running = world.run();
      await settle();
    }
    expect(world.count("provision v1")).toBeGreaterThan(3);
    expect(world.deployment("v1")).toMatchObject({ state: "failed", failure: { code: "provision_timeout" } });
    expect(await running).toBeNull();
    expect(world.clock.sleeping).toBe(0);
  });

  test("verification asks every two seconds up to its limit, then fails with what was last seen", async () => {
    world.verify = () => Promise.resolve({ ok: false, why: "/_pulse/meta answered 502" });
    await world.deploy("v1");
    expect(await world.run()).toBe(START + 2_000);
    await world.runUntil(START + 60 * MINUTE);
    expect(world.count("verify v1")).toBe(91);
    expect(world.deployment("v1")).toMatchObject({
      failure: { code: "verification_failed", reason: "Not verified in time: /_pulse/meta answered 502." },
      stateSince: START + 180_000,
    });
    expect(world.steps.filter((step) => step === "v1 verify started")).toHaveLength(91);
  });

  test("a backend that says it is another deployment is never promoted, and the failure names both", async () => {
    const why = 'the backend says that it is deployment "v0"; set PULSE_DEPLOYMENT_ID=v1 on it';
    world.verify = () => Promise.resolve({ ok: false, why });
    await world.deploy("v1");
    await world.runUntil(START + 60 * MINUTE);
    expect(world.document.active).toBeNull();
    expect(world.deployment("v1").failure?.reason).toContain(why);
  });

  test("of two rollouts the newer wins even where it is ready first", async () => {
    world.verify = (deployment) =>
      Promise.resolve(
        deployment.id === "v1" && world.clock.time < START + 10_000
          ? NOT_YET
          : { ok: true, contract: "pulse" },
      );
    await world.deploy("v1");
    await world.deploy("v2");
    await world.runUntil(START + MINUTE);
    expect(world.document.active).toBe("v2");
    expect(world.deployment("v1")).toMatchObject({ state: "ready", promoteWhenReady: false });
    expect(world.steps).toContain("v1 promote failed: A newer deployment is active or this one is too old.");
    expect(world.steps).not.toContain("v1 promote done");
  });

  test("a redeploy provisions and verifies again, and its failure leaves the deployment as it is", async () => {
    await world.deploy("v1");
    await world.run();
    await world.command({ type: "redeploy", id: "v1" });
    world.provision = () =>
      Promise.resolve({ status: "done", value: { url: "http://b.test", resources: {} } });
    expect(await world.run()).toBeNull();
    expect(world.deployment("v1")).toMatchObject({ state: "active", url: "http://b.test", redeploy: null });
    await world.command({ type: "redeploy", id: "v1" });
    world.provision = () => Promise.resolve({ status: "failed", reason: "build broke" });
    expect(await world.run()).toBeNull();
    expect(world.deployment("v1")).toMatchObject({ state: "active", url: "http://b.test", redeploy: null });
    expect(world.steps.at(-1)).toBe("v1 redeploy failed: build broke");
  });
});

describe("many deployments at once", () => {
  test("a step that throws starves no other deployment and is tried again ever more rarely", async () => {
    world.verify = (deployment) =>
      deployment.id === "v1"
        ? Promise.reject(new Error("a bug"))
        : Promise.resolve({ ok: true, contract: "pulse" });
    for (const id of ["v1", "v2", "v3"]) await world.deploy(id);
    expect(await world.run()).toBe(START + 1_000);
    expect(world.document.active).toBe("v3");
    expect(world.deployment("v2").state).not.toBe("pending");
    const waits: number[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const wakeAt = (await world.run()) ?? 0;
      waits.push(wakeAt - world.clock.time);
      world.clock.time = wakeAt;
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000]);
  });

  test("at most four steps run at once, and those that wait for their turn get it", async () => {
    let atOnce = 0;
    let most = 0;
    const slowly = async <T>(answer: T): Promise<T> => {
      most = Math.max(most, ++atOnce);
      await settle();
      atOnce -= 1;
      return answer;
    };
    world.provision = async () => slowly(await done());
    world.verify = () => slowly({ ok: true, contract: "pulse" });
    for (let index = 0; index < 12; index++) await world.deploy(`v${index}`, false);
    await world.run();
    expect(most).toBe(4);
    expect(Object.values(world.document.deployments).every(({ state }) => state === "ready")).toBe(true);
    expect(world.calls).toHaveLength(24);
  });

  test("a change is seen while a slow step is under way", async () => {
    const slow = Promise.withResolvers<Verification>();
    world.verify = (deployment) =>
      deployment.id === "v1" ? slow.promise : Promise.resolve({ ok: true, contract: "pulse" });
    await world.deploy("v1");
    const running = world.driver.reconcile();
    await settle();
    await world.deploy("v2");
    void world.driver.reconcile();
    await settle();
    expect(world.document.active).toBe("v2");
    slow.resolve({ ok: true, contract: "pulse" });
    await running;
    expect(world.document.active).toBe("v2");
    expect(world.count("verify v1")).toBe(1);
  });
});

describe("what overlaps", () => {
  test("a document that was read before a step's commit and arrives after it sets off nothing twice", async () => {
    const told = Promise.withResolvers<{ sockets: number; why: string }>();
    world.tell = () => told.promise;
    await world.deploy("v1", false);
    await world.run();
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    const running = world.driver.reconcile();
    await settle();
    const arrival = holdNextRead(world.store);
    void world.driver.reconcile();
    await settle();
    told.resolve({ sockets: 1, why: "" });
    await settle();
    expect(world.deployment("v1").retirement?.reload).not.toBeNull();
    arrival.resolve();
    await running;
    expect(world.count("reload v1")).toBe(1);
  });

  test("a round that the store fails ends after its steps, and another one is due soon", async () => {
    const slow = Promise.withResolvers<Verification>();
    world.verify = () => slow.promise;
    await world.deploy("v1");
    let over = false;
    const running = world.driver.reconcile().finally(() => (over = true));
    await settle();
    world.store.fault = () => true;
    void world.driver.reconcile();
    await settle();
    expect(over).toBe(false);
    slow.resolve({ ok: true, contract: "pulse" });
    await running;
    const inMs = (world.alarm ?? 0) - world.clock.time;
    expect(inMs).toBeGreaterThanOrEqual(750);
    expect(inMs).toBeLessThanOrEqual(1_250);
  });

  test("while a round is under way an alarm is set, in case that the process dies, and none once all is done", async () => {
    const slow = Promise.withResolvers<Verification>();
    world.verify = () => slow.promise;
    await world.deploy("v1");
    const running = world.driver.reconcile();
    await settle();
    expect(world.alarm).toBe(START + 1_000);
    slow.resolve({ ok: true, contract: "pulse" });
    await running;
    expect(world.alarm).toBeNull();
  });

  test("a step whose outcome is refused isn't taken again at once", async () => {
    const resources = { too: "large".repeat(200_000) };
    world.provision = () => Promise.resolve({ status: "done", value: { url: "http://a.test", resources } });
    await world.deploy("v1");
    expect(await world.run()).toBe(START + 1_000);
    expect(world.count("provision v1")).toBe(1);
    await world.runUntil(START + 60 * MINUTE);
    expect(world.deployment("v1").failure?.code).toBe("provision_timeout");
  });
});

describe("retiring", () => {
  beforeEach(async () => {
    await world.deploy("v1");
    await world.run();
    world.clock.advance(MINUTE);
    await world.deploy("v2");
    await world.run();
    world.clock.advance(MINUTE);
    world.calls.length = 0;
    world.steps.length = 0;
  });

  test("browsers are told, given their grace, unrouted, and only then is the backend taken away", async () => {
    world.tell = () => Promise.resolve({ sockets: 3, why: "" });
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    const told = world.clock.time;
    expect(await world.run()).toBe(told + 30_000);
    expect(world.calls).toEqual(["reload v1"]);
    world.clock.time = told + 30_000;
    expect(await world.run()).toBe(told + 30_000 + TABLE_AGE_MS);
    expect(world.deployment("v1").retirement?.unroutedAt).toBe(told + 30_000);
    expect(world.calls).toEqual(["reload v1"]);
    world.clock.time = told + 30_000 + TABLE_AGE_MS;
    expect(await world.run()).toBeNull();
    expect(world.calls).toEqual(["reload v1", "remove v1"]);
    expect(world.steps).toEqual(["v1 reload done: 3 sockets told", "v1 unroute done", "v1 remove done"]);
  });

  test("where nobody had to be told there is no grace, but never before old tables have gone", async () => {
    await world.deploy("v3");
    await world.run();
    const drained = world.clock.time;
    await world.command({ type: "retire", id: "v2", reason: "deleted" });
    // An edge location may still be sending new visitors to v2, whose pages have no socket yet.
    expect(await world.run()).toBe(drained + TABLE_AGE_MS);
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    await world.run();
    expect(world.deployment("v1").retirement?.unroutedAt).toBe(drained);
    expect(world.deployment("v2").retirement?.unroutedAt).toBeNull();
  });

  test("a drain deadline retires by itself", async () => {
    const { drainDeadline } = world.deployment("v1");
    expect(await world.run()).toBe(drainDeadline);
    await world.runUntil((drainDeadline ?? 0) + 60 * MINUTE);
    expect(world.deployment("v1")).toMatchObject({ state: "removed", retirement: { reason: "deadline" } });
  });

  test.each<SessionProbe>([
    { kind: "known", sessions: 1 },
    { kind: "unknown", why: "it answered 500" },
  ])("one that the janitor found empty is spared when the last look says otherwise: $kind", async (probe) => {
    await world.command({ type: "retire", id: "v1", reason: "drained" });
    world.probe = () => Promise.resolve(probe);
    expect(await world.run()).toBe(world.deployment("v1").drainDeadline);
    expect(world.deployment("v1").retirement).toBeNull();
    expect(world.calls).toEqual(["probe v1"]);
  });

  test("whoever slips in before old tables have gone keeps the backend until they leave", async () => {
    await world.command({ type: "retire", id: "v1", reason: "drained" });
    world.probe = ({ retirement }) =>
      Promise.resolve({ kind: "known", sessions: retirement?.unroutedAt ? 2 : 0 });
    await world.runUntil(world.clock.time + 10 * MINUTE);
    expect(world.count("remove v1")).toBe(0);
    expect(world.steps.at(-1)).toBe("v1 remove waiting: 2 sessions came back and are still there");
    world.probe = () => Promise.resolve({ kind: "known", sessions: 0 });
    await world.runUntil(world.clock.time + 10 * MINUTE);
    expect(world.deployment("v1").state).toBe("removed");
  });

  test("whoever slips in keeps the backend no longer than to the drain's deadline", async () => {
    await world.command({ type: "retire", id: "v1", reason: "drained" });
    world.probe = ({ retirement }) =>
      Promise.resolve({ kind: "known", sessions: retirement?.unroutedAt ? 2 : 0 });
    const { drainDeadline } = world.deployment("v1");
    await world.runUntil((drainDeadline ?? 0) + 10 * MINUTE);
    expect(world.deployment("v1").state).toBe("removed");
  });

  test("a backend that can't be taken away is tried again, ever more rarely, until it can", async () => {
    world.remove = () => Promise.resolve({ status: "failed", reason: "the API is down" });
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    const since = world.clock.time;
    await world.runUntil(since + 60 * MINUTE);
    expect(world.deployment("v1").state).toBe("draining");
    expect(world.count("remove v1")).toBeGreaterThan(10);
    expect(world.count("remove v1")).toBeLessThan(25);
    world.remove = () => Promise.resolve({ status: "done", value: null });
    await world.runUntil(world.clock.time + 10 * MINUTE);
    expect(world.deployment("v1").state).toBe("removed");
  });

  test("after the store was away, removal waits until edge locations know that it is back", async () => {
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    const unroutedAt = world.clock.time;
    expect(await world.run()).toBe(unroutedAt + TABLE_AGE_MS);
    world.clock.advance(MINUTE);
    world.store.fault = () => true;
    await expect(world.run()).rejects.toThrow("The store is away.");
    world.store.fault = () => false;
    world.clock.advance(10_000);
    expect(await world.run()).toBe(world.clock.time + STORE_OUTAGE_MS + 2 * STORE_TIMEOUT_MS);
    expect(world.count("remove v1")).toBe(0);
  });

  test("a rollback during the grace un-drains, and nothing is taken away", async () => {
    world.tell = () => Promise.resolve({ sockets: 1, why: "" });
    await world.command({ type: "retire", id: "v1", reason: "deleted" });
    await world.run();
    await world.command({ type: "promote", id: "v1" });
    await world.runUntil(world.clock.time + 60 * MINUTE);
    expect(world.document.active).toBe("v1");
    expect(world.count("remove v1")).toBe(0);
  });

  test("a deletion is audited at its own time", async () => {
    world = new World();
    await world.create();
    await world.command({ type: "delete-app" });
    world.clock.advance(5_000);
    await world.run();
    expect(world.store.audit.at(-1)).toMatchObject({ action: "app.deleted", at: START + 5_000 });
  });

  test("a deleted app goes when its last deployment has, whoever is still there", async () => {
    await world.command({ type: "retire", id: "v1", reason: "drained" });
    world.probe = () => Promise.resolve({ kind: "known", sessions: 9 });
    await world.command({ type: "delete-app" });
    await world.runUntil(world.clock.time + 60 * MINUTE);
    expect(world.store.apps.has(APP)).toBe(false);
    expect(world.calls.filter((call) => call.startsWith("remove")).sort()).toEqual([
      "remove v1",
      "remove v2",
    ]);
  });
});

describe("a crash between any two calls of the store", () => {
  test.each(["before", "after"] as const)(
    "is resumed where the call failed %s it was carried out",
    async (phase) => {
      let total = Infinity;
      for (let failing = 1; failing <= total; failing++) {
        world = new World();
        await world.create({ previousRetentionSeconds: 0, reloadGraceSeconds: 30 });
        world.tell = () => Promise.resolve({ sockets: 1, why: "" });
        world.store.calls = 0;
        await wholeLife(world, failing, phase);
        if (world.store.calls < failing) total = 0;
        const where = `failing call ${failing} ${phase} it ran`;
        expect(world.store.apps.has(APP), where).toBe(false);
        expect(world.calls, where).toEqual(
          expect.arrayContaining(["provision v1", "verify v2", "reload v1", "remove v1", "remove v2"]),
        );
        const versions = world.store.audit.map(({ toVersion }) => toVersion);
        const rising = [...versions.keys()].map((index) => index + 1);
        expect(versions.slice(0, -1), where).toEqual(rising.slice(0, -1));
        const effects = ["provision v1", "provision v2", "reload v1", "remove v1", "reload v2", "remove v2"];
        for (const effect of effects) {
          // Once, or once more when the crash came between the effect and its commit.
          expect(world.count(effect), `${effect}, ${where}`).toBeGreaterThanOrEqual(1);
          expect(world.count(effect), `${effect}, ${where}`).toBeLessThanOrEqual(2);
        }
      }
      expect(total).toBe(0);
    },
  );
});

/** v1 rolled out, replaced by v2, deleted; then the app deleted. The process dies at store call number `failing`. */
async function wholeLife(world: World, failing: number, phase: "before" | "after"): Promise<void> {
  let active = false;
  let seen = 0;
  world.store.fault = (_, at) => {
    if (!active) return false;
    if (at === "before") seen += 1;
    return seen === failing && at === phase;
  };
  const drive = async (until: number): Promise<void> => {
    active = true;
    for (;;) {
      let wakeAt: number | null = world.clock.time;
      try {
        wakeAt = await world.run();
      } catch {
        world.driver = world.fresh(); // it came back with nothing but the store
      }
      world.check();
      if (wakeAt === null || wakeAt > until) break;
      world.clock.time = Math.max(world.clock.time, wakeAt);
    }
    active = false;
  };
  await world.deploy("v1");
  await drive(world.clock.time + MINUTE);
  world.clock.advance(MINUTE);
  await world.deploy("v2");
  await drive(world.clock.time + MINUTE);
  expect(world.document.active).toBe("v2");
  await world.command({ type: "retire", id: "v1", reason: "deleted" });
  await drive(world.clock.time + 10 * MINUTE);
  expect(world.deployment("v1").state).toBe("removed");
  await world.command({ type: "delete-app" });
  await drive(world.clock.time + 10 * MINUTE);
  world.store.calls = seen;
}

/** The next read sees the app as it is now and arrives when the test lets it. */
function holdNextRead(store: MemoryStore): { resolve: () => void } {
  const arrival = Promise.withResolvers<void>();
  const readApp = store.readApp.bind(store);
  store.readApp = async (name) => {
    store.readApp = readApp;
    const stored = await readApp(name);
    await arrival.promise;
    return stored;
  };
  return arrival;
}

const NOT_YET: Verification = { ok: false, why: "not yet" };

function wait(ms: number): Promise<StepOutcome<Provisioned>> {
  return Promise.resolve({ status: "wait", untilMs: world.clock.time + ms, detail: "still building" });
}

function done(): Promise<StepOutcome<Provisioned>> {
  return Promise.resolve({ status: "done", value: { url: "http://backend.test", resources: {} } });
}
