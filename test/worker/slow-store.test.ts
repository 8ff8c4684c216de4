import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { appConfig, isRoutable, newAppDocument, type Deployment } from "../../functions/apps/app-document.ts";
import type { AppCommand } from "../../functions/apps/command.ts";
import { applyCommand, commitDocument } from "../../functions/apps/commit.ts";
import { tableAgeLimitMs } from "../../functions/apps/due.ts";
import { RouteTables } from "../../functions/edge/table.ts";
import { RolloutDriver } from "../../functions/rollouts/driver.ts";
import { EmbeddedStoreClient } from "../../functions/state/embedded-client.ts";
import { MemoryStore } from "../helpers/memory-store.ts";

const TTL_MS = 5_000;
const TICK_MS = 250;
const VISITS = 120;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  vi.spyOn(console, "error").mockReturnValue(undefined);
  vi.spyOn(console, "log").mockReturnValue(undefined);
});
afterEach(() => {
  vi.useRealTimers();
});

/** The embedded store's object, whose answers take their time to arrive. */
function slowObject(store: MemoryStore, delayMs: () => number) {
  const stub = new Proxy(store, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== "function") return method;
      return async (...args: unknown[]): Promise<unknown> => {
        const answer: unknown = await Reflect.apply(method, target, args);
        await new Promise((resolve) => setTimeout(resolve, delayMs()));
        return answer;
      };
    },
  });
  return { getByName: () => stub };
}

/** A location whose reads fail for longer than the store is given serves its last good table, by design. */
test.each([
  ["everybody", 2_400],
  ["everybody", 4_900],
  ["everybody", 7_000],
  ["everybody", 9_900],
  ["one edge location", 1_000],
  ["one edge location", 2_400],
  ["one edge location", 3_600],
  ["one edge location", 4_900],
] as const)(
  "with a store that answers %s in %i ms, no visitor is sent to a backend that was removed",
  async (whom, slowMs) => {
    const memory = new MemoryStore(Date.now);
    let delayMs = 0;
    const open = (delayMs: () => number): EmbeddedStoreClient => {
      const object: unknown = slowObject(memory, delayMs);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a namespace is more than the client uses of it
      return new EmbeddedStoreClient(object as ConstructorParameters<typeof EmbeddedStoreClient>[0]);
    };
    const store = open(() => (whom === "everybody" ? delayMs : 0));
    const edgeStore = open(() => delayMs);
    await makeApp(memory);

    let removedAt = Infinity;
    let alarm: number | null = Date.now();
    const driver = driverOf(
      store,
      (time) => (alarm = time),
      () => (removedAt = Date.now()),
    );
    // Isolates whose last visitor came right before, and whose next one comes at some time after.
    const isolates = Array.from(
      { length: VISITS },
      () => new RouteTables({ store: () => edgeStore, ttlMs: TTL_MS }),
    );
    const background: Promise<unknown>[] = [];
    const late: string[] = [];
    const visit = async (isolate: number): Promise<void> => {
      const tables = isolates[isolate];
      const known = await tables?.get("shop.test", null, (work) => background.push(work)).catch(() => null);
      const v1 = known?.app?.deployments["v1"];
      if (v1 && isRoutable(v1) && Date.now() > removedAt) {
        late.push(`${isolate * TICK_MS} ms after: ${Date.now() - removedAt} ms too late`);
      }
    };
    const pass = async (ticks: number, visits: boolean): Promise<void> => {
      for (let tick = 0; tick < ticks; tick++) {
        if (visits) background.push(visit(tick));
        if (alarm !== null && Date.now() >= alarm) background.push(driver.reconcile());
        await vi.advanceTimersByTimeAsync(TICK_MS);
      }
    };

    await pass(1, false);
    for (const isolate of isolates.keys()) background.push(visit(isolate));
    await vi.advanceTimersByTimeAsync(1);
    await command(memory, { type: "retire", id: "v1", reason: "deleted" });
    background.push(driver.reconcile());
    await vi.advanceTimersByTimeAsync(1);
    delayMs = slowMs;
    await pass(VISITS, true);
    delayMs = 0;
    await pass(VISITS, false);
    expect(late).toEqual([]);
    expect(removedAt).toBeLessThan(Infinity);
  },
);

/** v2 is active, v1 drains; both have answered for longer than any table lives. */
async function makeApp(store: MemoryStore): Promise<void> {
  const config = appConfig.parse({ hosts: ["shop.test"], contract: "none", previousRetentionSeconds: 0 });
  const author = { actor: "operator", action: "app.create" };
  const app = newAppDocument("shop", config, Date.now());
  await commitDocument(store, app, 0, { author, details: {}, isDefault: false });
  for (const id of ["v1", "v2"]) {
    const target = { kind: "url", url: `http://${id}.test` } as const;
    await command(store, { type: "create", id, name: "prod", target, promote: false });
    await command(store, { type: "provisioned", id, url: target.url, resources: {} });
    await command(store, { type: "verified", id, contract: "pulse" });
    await command(store, { type: "promote", id });
  }
  vi.setSystemTime(Date.now() + 60_000);
}

async function command(store: MemoryStore, command: AppCommand): Promise<void> {
  const author = { actor: "operator", action: command.type };
  expect((await applyCommand(store, "shop", command, author)).kind).toBe("applied");
}

function driverOf(
  store: EmbeddedStoreClient,
  wakeAt: (time: number | null) => void,
  onRemove: (deployment: Deployment) => void,
): RolloutDriver {
  const never = (): Promise<never> => Promise.reject(new Error("Nothing is provisioned here."));
  const provider = {
    place: never,
    provision: never,
    redeploy: never,
    logs: never,
    openStreams: () => Promise.resolve(null),
    remove: (deployment: Deployment) => {
      onRemove(deployment);
      return Promise.resolve({ status: "done", value: null } as const);
    },
  };
  return new RolloutDriver("shop", {
    store,
    providers: { url: provider, runner: provider, railway: provider },
    verify: never,
    tellReload: () => Promise.resolve({ sockets: 0, why: "" }),
    sessionsLeft: () => Promise.resolve({ kind: "known", sessions: 0 }),
    endPages: () => Promise.resolve(),
    tableAgeLimitMs: tableAgeLimitMs(TTL_MS),
    progress: {
      observe: () => undefined,
      step: () => undefined,
      buildLog: () => ({ cursor: 0, append: () => undefined }),
    },
    now: Date.now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          resolve();
        });
      }),
    wakeAt: (time) => {
      wakeAt(time);
      return Promise.resolve();
    },
  });
}
