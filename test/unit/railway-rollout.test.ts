import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  appConfig,
  newAppDocument,
  type AppDocument,
  type Deployment,
} from "../../functions/apps/app-document.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import type { BuildLog, Provider } from "../../functions/providers/provider.ts";
import { railwayProvider } from "../../functions/providers/railway/provider.ts";
import { ownerOf, serviceNames } from "../../functions/providers/railway/service.ts";
import { MemoryStore } from "../helpers/memory-store.ts";
import { HANDLED, startGraphqlServer, type ScriptedServer } from "../helpers/graphql-server.ts";

const INTERNAL_TOKEN = "the-internal-token";
const CREATED = Date.parse("2026-01-01T00:00:00Z");

interface Service {
  id: string;
  name: string;
  createdAt: string;
  groupId: string | null;
  variables: Record<string, string>;
  settings: Record<string, unknown>;
  domains: string[];
  latest: { id: string; status: string; createdAt: string } | null;
}

/** Just enough of a Railway to say what state it is in. */
let services: Service[];
let server: ScriptedServer;
let provider: Provider;
let store: MemoryStore;
let log: BuildLog & { lines: string[] };
let made: number;
/** Asked before each call; what it returns is the answer. */
let instead: (name: string) => unknown;

const newId = (): string => `id${++made}`;
const serviceAt = (id: unknown): Service | undefined => services.find((one) => one.id === id);
const named = (name: string): Service[] => services.filter((one) => one.name === name);

beforeEach(async () => {
  made = 0;
  store = new MemoryStore(Date.now);
  instead = () => undefined;
  services = [serviceOf("pulse-env", { variables: { KEY: "value" } })];
  log = {
    cursor: 0,
    lines: [],
    append(lines, cursor) {
      this.lines.push(...lines);
      this.cursor = cursor;
    },
  };
  server = await startGraphqlServer(({ name, variables }) => instead(name) ?? answer(name, variables));
  provider = fresh();
});
afterEach(async () => {
  vi.useRealTimers();
  await server.stop();
});

/** One that remembers nothing, as after a restart of the Worker. */
function fresh(): Provider {
  return railwayProvider({
    internalToken: INTERNAL_TOKEN,
    store,
    railway: {
      token: { kind: "account", value: "t" },
      place: { project: "p", environment: "e" },
      envService: "pulse-env",
      apiUrl: server.url,
      callsPerMinute: 10_000,
    },
  });
}

function serviceOf(name: string, given: Partial<Service> = {}): Service {
  return {
    id: newId(),
    name,
    createdAt: new Date(CREATED + made).toISOString(),
    groupId: null,
    variables: {},
    settings: {},
    domains: [],
    latest: null,
    ...given,
  };
}

const header = ({ id, name, createdAt, groupId }: Service) => ({
  id,
  name,
  createdAt,
  groupId,
  deletedAt: null,
});
const domainsOf = ({ domains }: Service) => ({
  serviceDomains: domains.map((domain) => ({ domain, targetPort: 8080 })),
});
const instanceOf = (service: Service) => ({
  source: null,
  startCommand: null,
  buildCommand: null,
  dockerfilePath: null,
  healthcheckPath: null,
  healthcheckTimeout: null,
  overlapSeconds: null,
  drainingSeconds: null,
  numReplicas: null,
  ...service.settings,
  domains: domainsOf(service),
  latestDeployment: service.latest,
});

function answer(name: string, variables: Record<string, unknown>): unknown {
  const service = serviceAt(variables["service"]);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the client sends is what is under test
  const input = variables["input"] as Record<string, unknown> & { variables: Record<string, string> };
  switch (name) {
    case "projectServices":
      return {
        project: {
          id: "p",
          name: "shop",
          services: { edges: services.map((one) => ({ node: header(one) })) },
        },
      };
    case "serviceCreate": {
      const created = serviceOf(String(input["name"]), { variables: input.variables });
      services.push(created);
      return { serviceCreate: header(created) };
    }
    case "serviceDomainCreate": {
      const domain = `${String(input["serviceId"])}.up.test`;
      serviceAt(input["serviceId"])?.domains.push(domain);
      return { serviceDomainCreate: { domain } };
    }
  }
  if (!service) return new Error("Service not found");
  switch (name) {
    case "serviceVariables":
      return { variables: service.variables };
    case "serviceState":
      return { service: header(service), variables: service.variables, serviceInstance: instanceOf(service) };
    case "latestDeployment":
      return { serviceInstance: instanceOf(service) };
    case "buildProgress":
      return { serviceInstance: instanceOf(service), buildLogs: [] };
    case "serviceInstanceUpdate":
      Object.assign(service.settings, input);
      return { serviceInstanceUpdate: true };
    case "serviceInstanceDeployV2":
      service.latest = { id: newId(), status: "BUILDING", createdAt: new Date().toISOString() };
      return { serviceInstanceDeployV2: service.latest.id };
    case "serviceDelete":
      services = services.filter((one) => one !== service);
      return { serviceDelete: true };
    case "environmentPatchCommit":
      return { environmentPatchCommit: "w" };
    default:
      return new Error(`nobody expected ${name}`);
  }
}

function deploymentOf(id = "v1", createdAt = CREATED): { app: AppDocument; deployment: Deployment } {
  const created = transition(
    newAppDocument("shop", appConfig.parse({}), createdAt),
    { type: "create", id, name: "prod", target: { kind: "railway", image: "shop:1" }, promote: true },
    createdAt,
  );
  const deployment = created.ok ? created.app.deployments[id] : undefined;
  if (!created.ok || !deployment) throw new Error("It couldn't be created");
  return { app: created.app, deployment };
}

async function mark(id = "v1", createdAt = CREATED): Promise<Record<string, string>> {
  return {
    SIGNALBOX_OWNER: await ownerOf(INTERNAL_TOKEN),
    SIGNALBOX_APP: "shop",
    SIGNALBOX_DEPLOYMENT_ID: id,
    SIGNALBOX_DEPLOYMENT_CREATED: new Date(createdAt).toISOString(),
  };
}

const provision = ({ app, deployment } = deploymentOf()) => provider.provision(deployment, app, log);
const remove = ({ app, deployment } = deploymentOf()) => provider.remove(deployment, app);
const callsOf = (name: string): number => server.calls.filter((call) => call.name === name).length;

describe("a state of a deployment on Railway", () => {
  test.for([
    ["QUEUED", "wait", "queued"],
    ["WAITING", "wait", "waiting"],
    ["INITIALIZING", "wait", "prepares"],
    ["BUILDING", "wait", "building"],
    ["DEPLOYING", "wait", "starting"],
    ["NEEDS_APPROVAL", "wait", "approval"],
    ["SOMETHING_NEW", "wait", "waiting"],
    ["SUCCESS", "done", ""],
    ["SLEEPING", "done", ""],
    ["FAILED", "failed", "couldn't build or start"],
    ["CRASHED", "failed", "crashed"],
    ["REMOVED", "failed", "removed"],
    ["REMOVING", "failed", "removed"],
    ["SKIPPED", "failed", "skipped"],
  ] as const)("%s means: %s", async ([status, outcome, words]) => {
    await provision();
    const [service] = named("shop-v1");
    if (!service?.latest) throw new Error("Nothing was deployed");
    service.latest.status = status;
    const step = await provision();
    expect(step.status).toBe(outcome);
    if (step.status === "done") {
      expect(step.value).toEqual({
        url: `http://${service.id}.up.test`,
        resources: {
          service: service.id,
          railwayDeployment: service.latest.id,
          project: "p",
          environment: "e",
        },
      });
    } else expect(JSON.stringify(step)).toContain(words);
  });
});

describe("a rollout", () => {
  test("that was interrupted anywhere goes on from what is there, and makes nothing twice", async () => {
    for (const last of [
      "serviceCreate",
      "serviceInstanceUpdate",
      "serviceDomainCreate",
      "serviceInstanceDeployV2",
    ]) {
      services = services.filter(({ name }) => name === "pulse-env");
      server.calls.length = 0;
      // The Worker dies with the call under way: its work is done, and nobody hears the answer.
      let over = false;
      instead = (name) => {
        if (over) return new Error("Not Authorized");
        over = name === last;
        return undefined;
      };
      await provision();
      instead = () => undefined;
      provider = fresh();
      expect((await provision()).status).toBe("wait");
      expect(named("shop-v1")).toHaveLength(1);
      expect([callsOf("serviceCreate"), callsOf("serviceDomainCreate")]).toEqual([1, 1]);
      expect(callsOf("serviceInstanceDeployV2")).toBeLessThanOrEqual(
        last === "serviceInstanceDeployV2" ? 1 : 2,
      );
      expect(services.find(({ name }) => name === "shop-v1")?.latest).not.toBeNull();
    }
  });

  test("keeps one of two services that a repeated creation made, the one in use", async () => {
    services.push(
      serviceOf("shop-v1", { id: "unused", variables: await mark() }),
      serviceOf("shop-v1", {
        id: "used",
        variables: await mark(),
        domains: ["used.up.test"],
        latest: { id: "d", status: "SUCCESS", createdAt: new Date().toISOString() },
      }),
    );
    expect(await provision()).toMatchObject({ status: "done", value: { url: "http://used.up.test" } });
    expect(named("shop-v1").map(({ id }) => id)).toEqual(["used"]);
  });

  test("never serves what an earlier deployment of the same id left", async () => {
    services.push(
      serviceOf("shop-v1", {
        id: "old",
        variables: await mark("v1", CREATED - 1_000),
        latest: { id: "d", status: "SUCCESS", createdAt: new Date().toISOString() },
      }),
    );
    expect((await provision()).status).toBe("wait");
    expect(services.map(({ id }) => id)).not.toContain("old");
    await provision();
    expect(named("shop-v1").map(({ latest }) => latest?.status)).toEqual(["BUILDING"]);
  });

  test("takes its spare name where another deployment of ours has the usual one, and finds it again", async () => {
    const theirs = serviceOf("shop-v1", { variables: { ...(await mark()), SIGNALBOX_APP: "shop-v" } });
    services.push(theirs);
    await provision();
    provider = fresh();
    await provision();
    const [spare, ...more] = services.filter(({ name }) => /^shop-v1-[0-9a-f]{8}$/.test(name));
    expect(spare?.latest).not.toBeNull();
    expect(more).toEqual([]);
    expect(callsOf("serviceCreate")).toBe(1);
    while ((await remove()).status !== "done");
    expect(services.map(({ name }) => name)).toEqual(["pulse-env", "shop-v1"]);
  });

  test("doesn't give up when its name is taken between look and creation", async () => {
    const variables = { ...(await mark()), SIGNALBOX_APP: "shop-v" };
    instead = (name) => {
      if (name !== "serviceCreate") return undefined;
      instead = () => undefined;
      services.push(serviceOf("shop-v1", { variables }));
      return new Error('A service named "shop-v1" already exists in this project');
    };
    expect((await provision()).status).toBe("wait");
    expect((await provision()).status).toBe("wait");
    expect(named("shop-v1")).toHaveLength(1);
    expect(services).toHaveLength(3);
  });

  test("touches nothing of anybody else's that has its name, the spare one as well", async () => {
    const { app, deployment } = deploymentOf();
    const { usual, spare } = await serviceNames(app, deployment);
    const sibling = { ...(await mark()), SIGNALBOX_APP: "shop-v" };
    services.push(serviceOf(usual, { variables: sibling }), serviceOf(spare, { variables: { A: "1" } }));
    expect(await provision()).toMatchObject({ status: "failed", reason: expect.stringContaining(spare) });
    expect((await remove()).status).toBe("done");
    expect(services).toHaveLength(3);
  });

  test("moves its service into the group of the env service, and goes on where that can't be done", async () => {
    Object.assign(services[0] ?? {}, { groupId: "g1" });
    instead = (name) => (name === "environmentPatchCommit" ? new Error("Group is locked") : undefined);
    expect((await provision()).status).toBe("wait");
    const patch = server.calls.find(({ name }) => name === "environmentPatchCommit")?.variables["patch"];
    expect(patch).toEqual({ services: { [named("shop-v1")[0]?.id ?? ""]: { groupId: "g1" } } });
    expect(log.lines.join()).toContain("Group is locked");
    expect(callsOf("serviceInstanceDeployV2")).toBe(1);
  });

  test("fails when its service is deleted under it", async () => {
    await provision();
    services = services.filter(({ name }) => name !== "shop-v1");
    // At first it could be Railway that doesn't show it yet.
    expect(await provision()).toMatchObject({ status: "wait" });
    expect(await provision()).toMatchObject({ status: "wait" });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 11_000 });
    expect(await provision()).toMatchObject({
      status: "failed",
      reason: expect.stringContaining("was deleted"),
    });
    expect(callsOf("serviceCreate")).toBe(1);
  });

  test("waits as long as Railway says where it makes too many calls", async () => {
    instead = () => undefined;
    server.script = (_call, response) => {
      response.writeHead(429, { "retry-after": "120" }).end();
      return HANDLED;
    };
    const step = await provision();
    if (step.status !== "wait") throw new Error(step.status);
    expect(step.untilMs - Date.now()).toBeGreaterThan(110_000);
  });

  test("with a service that is missing fails with what to run", async () => {
    services = [];
    expect(await provision()).toMatchObject({
      status: "failed",
      reason: expect.stringContaining("pulse-env"),
    });
  });
});

describe("a redeploy", () => {
  async function deployed(): Promise<{ app: AppDocument; deployment: Deployment; service: Service }> {
    const given = deploymentOf();
    const latest = { id: "first", status: "SUCCESS", createdAt: new Date(Date.now() - 60_000).toISOString() };
    const service = serviceOf("shop-v1", { variables: await mark(), domains: ["one.up.test"], latest });
    services.push(service);
    given.deployment.resources = { service: service.id, railwayDeployment: "first" };
    given.deployment.redeploy = { requestedAt: Date.now(), deadline: Infinity, provisioned: false };
    instead = (name) => {
      if (name !== "deploymentRedeploy") return undefined;
      service.latest = { id: newId(), status: "BUILDING", createdAt: new Date().toISOString() };
      return { deploymentRedeploy: service.latest };
    };
    return { ...given, service };
  }

  test("is asked for once, however often the step is taken and whoever takes it", async () => {
    const { app, deployment, service } = await deployed();
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
    provider = fresh();
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
    expect(callsOf("deploymentRedeploy")).toBe(1);
    Object.assign(service.latest ?? {}, { status: "SUCCESS" });
    const step = await provider.redeploy(deployment, app, log);
    expect(step).toMatchObject({
      status: "done",
      value: { resources: { railwayDeployment: service.latest?.id } },
    });
  });

  test("is asked first for the health path that the guard leaves open, where the app keeps the contract", async () => {
    const { app, deployment, service } = await deployed();
    await provider.redeploy(deployment, app, log);
    expect(callsOf("serviceInstanceUpdate")).toBe(0);
    const open = "/ready";
    service.variables["PULSE_RAILWAY_HEALTH_PATH"] = open;
    const again = {
      ...deployment,
      contract: "pulse" as const,
      redeploy: { requestedAt: Date.now() + 60_000, deadline: Infinity, provisioned: false },
    };
    again.resources = { service: service.id, railwayDeployment: service.latest?.id ?? "" };
    await provider.redeploy(again, app, log);
    expect(service.settings).toMatchObject({ healthcheckPath: open, healthcheckTimeout: 300 });
    const order = server.calls.map(({ name }) => name).slice(-2);
    expect(order).toEqual(["serviceInstanceUpdate", "deploymentRedeploy"]);
  });

  test("isn't taken for one that failed before it was asked for", async () => {
    const { app, deployment, service } = await deployed();
    service.latest = {
      id: "second",
      status: "FAILED",
      createdAt: new Date(Date.now() - 30_000).toISOString(),
    };
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
    expect(server.calls.find(({ name }) => name === "deploymentRedeploy")?.variables).toEqual({
      deployment: "first",
    });
  });

  test("isn't taken for the first deployment, however lately that was made", async () => {
    const { app, deployment, service } = await deployed();
    Object.assign(service.latest ?? {}, { createdAt: new Date(Date.now() + 500).toISOString() });
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
    expect(callsOf("deploymentRedeploy")).toBe(1);
  });

  test("isn't over while Railway still shows what ran before", async () => {
    const { app, deployment, service } = await deployed();
    const before = service.latest;
    await provider.redeploy(deployment, app, log);
    service.latest = before;
    expect((await provider.redeploy(deployment, app, log)).status).toBe("wait");
  });

  test("of a service that isn't ours any more fails and touches nothing", async () => {
    const { app, deployment, service } = await deployed();
    service.variables = {};
    expect(await provider.redeploy(deployment, app, log)).toMatchObject({ status: "failed" });
    expect(callsOf("deploymentRedeploy")).toBe(0);
  });
});

describe("what has come up and is being verified", () => {
  test.for([
    ["SUCCESS", null],
    ["SLEEPING", null],
    ["DEPLOYING", null],
    ["CRASHED", "crashed"],
    ["FAILED", "couldn't"],
    ["REMOVED", "removed"],
  ] as const)("is given up as %s: %s", async ([status, words]) => {
    const given = deploymentOf();
    const latest = { id: "first", status, createdAt: new Date().toISOString() };
    const service = serviceOf("shop-v1", { variables: await mark(), latest });
    services.push(service);
    given.deployment.resources = { service: service.id, railwayDeployment: "first" };
    const said = await provider.givenUp(given.deployment, given.app);
    if (words === null) expect(said).toBeNull();
    else expect(said).toContain(words);
    // Each look costs a call, and the next verification is two seconds away.
    const calls = server.calls.length;
    expect(await provider.givenUp(given.deployment, given.app)).toBeNull();
    expect(server.calls).toHaveLength(calls);
  });

  test("isn't given up while Railway can't be asked", async () => {
    const given = deploymentOf();
    given.deployment.resources = { service: "gone", railwayDeployment: "first" };
    expect(await provider.givenUp(given.deployment, given.app)).toBeNull();
  });
});

describe("a removal", () => {
  test("deletes what carries the mark, whatever it is called by now, and looks that it is gone", async () => {
    const given = deploymentOf();
    given.deployment.resources = { service: "renamed" };
    services.push(serviceOf("called-otherwise", { id: "renamed", variables: await mark() }));
    services.push(serviceOf("shop-v1", { id: "theirs", variables: { SIGNALBOX_APP: "shop" } }));
    expect((await remove(given)).status).toBe("wait");
    expect((await remove(given)).status).toBe("done");
    expect(services.map(({ id }) => id)).toEqual([expect.anything(), "theirs"]);
  });

  test("of what was given to somebody else between two looks deletes nothing", async () => {
    services.push(
      serviceOf("shop-v1", {
        id: "theirs",
        variables: { ...(await mark()), SIGNALBOX_OWNER: "f".repeat(16) },
      }),
    );
    expect((await remove()).status).toBe("done");
    expect(callsOf("serviceDelete")).toBe(0);
  });

  test("waits for a service that may still appear, its creation having been left without an answer", async () => {
    instead = (name) => (name === "serviceCreate" ? new Error("Problem processing request") : undefined);
    await provision();
    expect((await remove()).status).toBe("wait");
    services.push(serviceOf("shop-v1", { variables: await mark() }));
    expect((await remove()).status).toBe("wait");
    expect(named("shop-v1")).toEqual([]);
  });

  test("of a service that is deleted meanwhile is done", async () => {
    services.push(serviceOf("shop-v1", { variables: await mark() }));
    instead = (name) => (name === "serviceDelete" ? new Error("Service not found") : undefined);
    expect((await remove()).status).toBe("wait");
    services = services.slice(0, 1);
    expect((await remove()).status).toBe("done");
  });
});
