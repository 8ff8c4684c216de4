import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { appConfig, newAppDocument, type AppDocument } from "../../functions/apps/app-document.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import { orphanOf } from "../../functions/janitor/orphan.ts";
import { sweepServices } from "../../functions/janitor/sweep-services.ts";
import { ownerOf, type ServiceMark } from "../../functions/providers/railway/service.ts";
import { installationIdOf } from "../../functions/state/installation-id.ts";
import { startGraphqlServer, type ScriptedServer } from "../helpers/graphql-server.ts";
import { MemoryStore } from "../helpers/memory-store.ts";

const CREATED = Date.parse("2026-01-01T00:00:00.500Z");
const OLD = "2026-01-01T00:00:01Z";
const TOKEN = "the-internal-token";

/** App `shop` with a deployment `v1` that is as it is given. */
function shop(given: Partial<AppDocument["deployments"][string]> = {}): AppDocument {
  const created = transition(
    newAppDocument("shop", appConfig.parse({}), CREATED),
    { type: "create", id: "v1", name: "prod", target: { kind: "railway", image: "a" }, promote: true },
    CREATED,
  );
  const v1 = created.ok ? created.app.deployments["v1"] : undefined;
  if (!created.ok || !v1) throw new Error("It couldn't be created");
  return { ...created.app, deployments: { v1: { ...v1, ...given } } };
}

const mark: ServiceMark = {
  owner: "o",
  installation: "s",
  app: "shop",
  deployment: "v1",
  created: new Date(CREATED).toISOString(),
};
/** The same after so many other deployments that ended at a time. */
function shopAfter(deployments: number, endedAt: number, given: Partial<AppDocument> = {}): AppDocument {
  const { deployments: before, ...app } = shop({ state: "removed", stateSince: endedAt });
  const [v1] = Object.values(before);
  const others = Array.from({ length: deployments }, (_, index) => [`later${index}`, v1] as const);
  return {
    ...app,
    deployments: Object.fromEntries(others.flatMap(([id, one]) => (one ? [[id, one]] : []))),
    ...given,
  };
}

const uses = { resources: { service: "one" } };

describe("a service with our mark", () => {
  test.each([
    ["of a removed deployment", shop({ state: "removed", ...uses }), "its deployment is removed"],
    [
      "of a failed one that is cleaned up",
      shop({ state: "failed", cleanedUp: true }),
      "its deployment is failed",
    ],
    [
      "of an earlier one of its id",
      shop({ createdAt: CREATED + 1 }),
      "it is an earlier deployment's of the same id",
    ],
    [
      "that a deployment doesn't use",
      shop({ resources: { service: "two" } }),
      "its deployment has another service",
    ],
    ["of a deployment that is forgotten", shopAfter(20, CREATED), "its deployment is forgotten"],
    [
      "of an earlier app",
      shopAfter(0, 0, { createdAt: CREATED + 1 }),
      "it is an earlier app's of the same name",
    ],
  ])("%s is an orphan", (_, app, why) => {
    expect(orphanOf({ app }, mark, "one")).toEqual({ why, isProven: true });
  });

  test.each([
    ["of a deployment that has no service yet", shop()],
    ["of a failed one that is being cleaned up", shop({ state: "failed" })],
    ["of the active one", shop({ state: "active", ...uses })],
    ["of a draining one", shop({ state: "draining", ...uses })],
    ["that an unfinished one uses, whatever its mark says", shop({ createdAt: CREATED + 1, ...uses })],
  ])("%s is none", (_, app) => {
    expect(orphanOf({ app }, mark, "one")).toBeNull();
  });

  test.each([
    ["whose deployment isn't there, with fewer than are kept", shopAfter(19, CREATED + 1)],
    ["that is newer than what the document has kept", shopAfter(20, CREATED - 1)],
    ["that is newer than its id's deployment", shop({ createdAt: CREATED - 1, state: "removed" })],
  ])("%s isn't proven to be one", (_, app) => {
    expect(orphanOf({ app }, mark, "one")).toMatchObject({ isProven: false });
  });

  test.each([
    [CREATED - 1, false],
    [null, false],
    [CREATED + 1, true],
  ])("whose app was deleted at %s: proven is %s", (deletedAt, isProven) => {
    expect(orphanOf({ app: null, deletedAt }, mark, "one")).toMatchObject({ isProven });
  });
});

interface Service {
  id: string;
  createdAt: string;
  variables: Record<string, string> | Error;
}

let store: MemoryStore;
let services: Service[];
let server: ScriptedServer;
/** Asked before each call. */
let before: (name: string, service: unknown) => void;
let ours: Record<string, string>;

beforeEach(async () => {
  store = new MemoryStore(Date.now);
  before = () => undefined;
  services = [];
  // App `shop` was deleted, until a test says otherwise.
  const audit = { at: CREATED + 1, app: "shop", fromVersion: 1, toVersion: null, details: {} };
  store.audit.push({ ...audit, actor: "controller", action: "app.deleted" });
  ours = {
    SIGNALBOX_OWNER: await ownerOf(TOKEN),
    SIGNALBOX_STACK: await installationIdOf(store)(),
    SIGNALBOX_APP: "shop",
    SIGNALBOX_DEPLOYMENT_ID: "v1",
    SIGNALBOX_DEPLOYMENT_CREATED: mark.created,
  };
  server = await startGraphqlServer(({ name, variables: { service } }) => {
    before(name, service);
    const found = services.find(({ id }) => id === service);
    switch (name) {
      case "projectServices": {
        const nodes = services.map(({ id, createdAt }) => ({
          node: { id, name: id, groupId: null, createdAt, deletedAt: null },
        }));
        return { project: { id: "p", name: "p", services: { edges: nodes } } };
      }
      case "serviceVariables":
        if (!found) return new Error("Service not found");
        return found.variables instanceof Error ? found.variables : { variables: found.variables };
      case "serviceDelete":
        services = services.filter((one) => one !== found);
        return { serviceDelete: true };
      default:
        throw new Error(`Nobody should call ${name}`);
    }
  });
});
afterEach(() => server.stop());

function add(id: string, variables: Service["variables"], createdAt = OLD): void {
  services.push({ id, createdAt, variables });
}

const sweep = (options: { dryRun?: boolean; callsPerMinute?: number; mayGoOn?: () => boolean } = {}) =>
  sweepServices({
    store,
    railway: {
      token: { kind: "account", value: crypto.randomUUID() },
      place: { project: "p", environment: "e" },
      envService: "pulse-env",
      apiUrl: server.url,
      callsPerMinute: options.callsPerMinute ?? 10_000,
    },
    internalToken: TOKEN,
    dryRun: options.dryRun ?? false,
    now: Date.now,
    mayGoOn: options.mayGoOn ?? (() => true),
  });
const reasons = async (options = {}) =>
  (await sweep(options)).decisions.map(({ action, reason }) => `${action} ${reason}`);
const calls = (name: string): number => server.calls.filter((call) => call.name === name).length;
const there = (): string[] => services.map(({ id }) => id);

describe("a sweep", () => {
  test("takes away what bears the whole mark, and nothing that misses a part of it or differs in one", async () => {
    for (const name of Object.keys(ours)) {
      const { [name]: _, ...rest } = ours;
      add(`without ${name}`, rest);
    }
    add("of others", { ...ours, SIGNALBOX_OWNER: "0123456789abcdef" });
    add("of another stack", { ...ours, SIGNALBOX_STACK: "another" });
    add("unmarked", { API_KEY: "x" });
    add("of no known age", ours, "unknown");
    const foreign = there();
    add("ours", ours);
    expect(await reasons()).toEqual(["keep orphan_too_young", "delete orphaned_service"]);
    expect(there()).toEqual(foreign);
  });

  test("keeps what nothing is known of, and says so", async () => {
    store.audit.length = 0;
    add("one", ours);
    expect(await reasons()).toEqual(["keep orphan_unproven"]);
    expect(there()).toEqual(["one"]);
  });

  test("goes by the newest deletion of its app", async () => {
    const [deleted] = store.audit;
    if (!deleted) throw new Error("the app was never deleted");
    store.audit.splice(0, 1, { ...deleted, at: CREATED - 1 }, deleted);
    add("one", ours);
    expect(await reasons()).toEqual(["delete orphaned_service"]);
  });

  test("makes no call where this stack has never marked anything", async () => {
    store.records.clear();
    add("of a store that is lost", ours);
    expect(await sweep()).toMatchObject({ decisions: [], errors: [] });
    expect(server.calls).toEqual([]);
  });

  test("looks at each service once and reads it again only before its deletion", async () => {
    store.apps.set("shop", {
      name: "shop",
      version: 1,
      isDefault: false,
      hosts: [],
      hasWork: true,
      body: JSON.stringify(shop({ state: "active", resources: { service: "used" } })),
    });
    add("used", ours);
    add("theirs", {});
    for (let run = 0; run < 3; run++) expect(await reasons()).toEqual([]);
    expect([calls("projectServices"), calls("serviceVariables")]).toEqual([3, 2]);
    add("duplicate", ours);
    expect(await reasons()).toEqual(["delete orphaned_service"]);
    expect([there(), calls("serviceVariables")]).toEqual([["used", "theirs"], 4]);
  });

  test("keeps what was given to somebody else between the two looks", async () => {
    add("one", ours);
    let looks = 0;
    before = (name) => {
      if (name === "serviceVariables" && ++looks === 2)
        services = [{ ...services[0]!, variables: { A: "1" } }];
    };
    expect(await reasons()).toEqual(["keep orphan_changed"]);
    expect(there()).toEqual(["one"]);
    expect(await reasons()).toEqual([]);
  });

  test("keeps what a deployment took up between the two looks", async () => {
    add("one", ours);
    let looks = 0;
    before = (name) => {
      if (name !== "serviceVariables" || ++looks !== 2) return;
      const body = JSON.stringify(shop({ state: "active", resources: { service: "one" } }));
      store.apps.set("shop", { name: "shop", version: 1, isDefault: false, hosts: [], hasWork: true, body });
    };
    expect(await reasons()).toEqual(["keep orphan_changed"]);
    expect(there()).toEqual(["one"]);
  });

  test("reads and deletes only so many in one run, and gets to all of them", async () => {
    for (let number = 0; number < 30; number++) add(`one${number}`, ours);
    const first = await sweep();
    expect([calls("serviceVariables"), calls("serviceDelete")]).toEqual([30, 10]);
    expect(first.decisions.filter(({ reason }) => reason === "orphan_next_run")).toHaveLength(10);
    for (let run = 0; run < 3; run++) await sweep();
    expect(there()).toEqual([]);
  });

  test("goes past a service that it may not read", async () => {
    add("hidden", new Error("Not Authorized"));
    add("one", ours);
    const { decisions, errors } = await sweep();
    expect(decisions).toMatchObject([{ reason: "orphaned_service" }]);
    expect(errors).toMatchObject([{ app: "*", message: expect.stringContaining("hidden") }]);
    expect(there()).toEqual(["hidden"]);
  });

  test("leaves rollouts half of the calls", async () => {
    for (let number = 0; number < 20; number++) add(`one${number}`, {});
    const { errors } = await sweep({ callsPerMinute: 10 });
    expect(errors).toMatchObject([{ message: expect.stringContaining("budget") }]);
    expect(server.calls).toHaveLength(5);
  });

  test("touches nothing in a dry run, nor once another janitor is at work", async () => {
    add("one", ours);
    const stack = await store.readRecord("stack", "id");
    expect(await reasons({ dryRun: true })).toEqual(["delete orphaned_service"]);
    expect(await reasons({ mayGoOn: () => false })).toEqual([]);
    expect([there(), calls("serviceDelete")]).toEqual([["one"], 0]);
    expect(await store.readRecord("stack", "id")).toBe(stack);
    expect(store.audit).toHaveLength(1);
  });
});

test("a stack's id is made once, however many ask for it first", async () => {
  const fresh = new MemoryStore(Date.now);
  const asked = await Promise.allSettled(Array.from({ length: 5 }, () => installationIdOf(fresh)()));
  const ids = new Set(asked.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])));
  expect(ids.size).toBe(1);
  expect(await installationIdOf(fresh)()).toBe([...ids][0]);
});
