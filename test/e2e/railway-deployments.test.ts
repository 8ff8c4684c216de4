import { afterAll, beforeAll, expect, test, type TestContext } from "vitest";
import { z } from "zod";
import { putApp } from "../helpers/deploy.ts";
import {
  begin,
  outcome,
  packFiles,
  START,
  startRailwayStack,
  type RailwayStack,
} from "../helpers/railway-stack.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, until, type PublicAnswer } from "../helpers/stack.ts";
import { WorldPool } from "../helpers/world-pool.ts";

const logPage = z.object({
  lines: z.array(z.object({ text: z.string(), step: z.string() })),
  cursor: z.number(),
  complete: z.boolean(),
});
type LogPage = z.infer<typeof logPage>;

const worlds = new WorldPool(5, () =>
  startRailwayStack({ variables: { GREETING: "hello", PULSE_RAILWAY_REDIS_URL: "redis://r" } }),
);
beforeAll(() => worlds.open());
afterAll(() => worlds.close());
let apps = 0;

interface Shop {
  world: RailwayStack;
  app: string;
  /** Services of the test's own app. */
  ours: () => string[];
  visit: (path?: string, headers?: Record<string, string>) => Promise<PublicAnswer>;
  deploy: (id: string, target: Record<string, unknown>) => ReturnType<typeof outcome>;
  /** Sends a source. */
  put: (source: Uint8Array<ArrayBuffer>, id?: string) => Promise<Response>;
}

/** An app in a world that nobody else is in meanwhile. */
async function newApp(context: TestContext, config: Record<string, unknown> = {}): Promise<Shop> {
  const app = `shop${++apps}`;
  const world = await worlds.borrow(context, async ({ stack, railway }) => {
    await stack.api("DELETE", `/apps/${app}`);
    await until(
      () => railway.state.serviceNames(),
      (names) => names.length === 1,
    );
  });
  await putApp(world.stack, app, {
    hosts: [`${app}.test`],
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 0,
    ...config,
  });
  return {
    world,
    app,
    ours: () => world.railway.state.serviceNames().filter((name) => name.startsWith(`${app}-`)),
    visit: (path = "/", headers = {}) => world.stack.request(`${app}.test`, path, { headers }),
    async deploy(id, target) {
      await begin(world, app, id, target);
      return outcome(world, app, id);
    },
    put: (source, id = "v1") =>
      fetch(`${world.stack.origin}/_signalbox/api/v1/apps/${app}/deployments/${id}/source`, {
        method: "PUT",
        headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" },
        body: source,
      }),
  };
}

test.concurrent(
  "an image becomes a service of its own that serves, with its variables, settings and domain",
  async (context) => {
    const { world, app, visit, deploy } = await newApp(context, { contract: "pulse" });
    const callsBefore = world.railway.faults.calls.length;
    expect(await deploy("v1", { image: "shop:1", env: { EXTRA: "yes" } })).toMatchObject({ state: "active" });
    expect((await visit()).text).toBe("one v1");

    expect(world.railway.faults.calls.length - callsBefore).toBeLessThanOrEqual(25);
    const { state } = world.railway;
    expect(state.instance(`${app}-v1`)?.settings).toMatchObject({
      numReplicas: 1,
      healthcheckPath: "/_pulse/health",
      overlapSeconds: 20,
      drainingSeconds: 30,
    });
    expect(state.instance(`${app}-v1`)?.variables.get("GREETING")).toBe("${{pulse-env.GREETING}}");
    expect(state.variables(`${app}-v1`)).toMatchObject({
      GREETING: "hello",
      EXTRA: "yes",
      PULSE_RAILWAY_REDIS_URL: "redis://r",
      PULSE_DEPLOYMENT_ID: "v1",
      PULSE_SERVER_ADDRESS: `https://${app}.test`,
      SIGNALBOX_APP: app,
      SIGNALBOX_DEPLOYMENT_ID: "v1",
    });
    expect(state.variables(`${app}-v1`)["SIGNALBOX_OWNER"]).toMatch(/^[0-9a-f]{16}$/);
  },
);

test.concurrent(
  "what comes past the edge is turned away, but for the platform's health check",
  async (context) => {
    const { world, app, visit, deploy } = await newApp(context);
    await deploy("v1", { image: "shop:1" });
    const domain = world.railway.state.instance(`${app}-v1`)?.domains[0]?.domain;
    const direct = `http://${domain}`;
    expect((await fetch(`${direct}/`)).status).toBe(404);
    expect((await fetch(`${direct}/_pulse/meta`)).status).toBe(404);
    expect(
      (await fetch(`${direct}/`, { headers: { "x-pulse-railway-internal-token": "guess" } })).status,
    ).toBe(404);
    expect((await fetch(`${direct}/_pulse/health`)).status).toBe(200);
    const seen: Record<string, string> = JSON.parse((await visit("/headers")).text);
    expect(seen["x-pulse-railway-internal-token"]).toBe(INTERNAL_TOKEN);
  },
);

test.concurrent("an app without the contract is sent no token, and isn't guarded", async (context) => {
  const { world, app, visit, deploy } = await newApp(context, { contract: "none" });
  await deploy("v1", { image: "shop:1" });
  expect(JSON.parse((await visit("/headers")).text)).not.toHaveProperty("x-pulse-railway-internal-token");
  const domain = world.railway.state.instance(`${app}-v1`)?.domains[0]?.domain;
  expect((await fetch(`http://${domain}/`)).status).toBe(200);
});

test.concurrent(
  "an uploaded source is built and served, and its build's output is in the progress",
  async (context) => {
    const { world, app, visit, put } = await newApp(context);
    await begin(world, app, "v1", { upload: true, start: START, build: "echo building the shop" });
    const source = await packFiles({ "note.txt": "hello" });
    const sent = await put(source);
    expect(sent.status).toBe(200);
    const first = await sent.json();
    expect(first).toEqual({ deploymentId: world.railway.state.deployments(`${app}-v1`)[0]?.id });
    // Its answer was lost: sending it again starts no second build.
    expect([200, 409]).toContain((await put(source)).status);
    expect(await outcome(world, app, "v1")).toMatchObject({ state: "active" });
    expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
    expect((await visit()).text).toContain("v1");
    const events = await world.stack.request(
      "localhost",
      `/_signalbox/api/v1/apps/${app}/deployments/v1/events`,
      {
        headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
      },
    );
    expect(events.text).toContain("building the shop");
    const { body } = await world.stack.api("GET", `/audit?app=${app}&limit=100`);
    expect(body["entries"]).toContainEqual(
      expect.objectContaining({
        actor: "operator",
        action: "deployment.upload",
        details: { deployment: "v1", railwayDeployment: Object(first).deploymentId },
      }),
    );
  },
);

test.concurrent("a source that nobody waits for is refused, saying why", async (context) => {
  const { deploy, put } = await newApp(context);
  await deploy("v1", { image: "shop:1" });
  const source = await packFiles({ "note.txt": "hello" });
  const refused = await put(source);
  expect(refused.status).toBe(409);
  expect(await refused.json()).toMatchObject({ code: "source_not_expected" });
  expect((await put(source, "v9")).status).toBe(404);
});

test.concurrent("a repository's branch is deployed", async (context) => {
  const { visit, deploy } = await newApp(context);
  expect(await deploy("v1", { repo: { repo: "acme/shop", branch: "main" } })).toMatchObject({
    state: "active",
  });
  expect((await visit()).text).toBe("repo v1");
});

test.concurrent("a service is put where the service with the variables is on the canvas", async (context) => {
  const { world, app, deploy } = await newApp(context);
  const env = world.railway.state.service("pulse-env");
  const group = world.railway.state.world.addGroup("Pulse", world.railway.projectId);
  if (env) env.groupId = group.id;
  await deploy("v1", { image: "shop:1" });
  expect(world.railway.state.service(`${app}-v1`)?.groupId).toBe(group.id);
  expect(world.railway.state.deployments(`${app}-v1`)).toHaveLength(1);
  if (env) env.groupId = null;
});

test.concurrent(
  "a new deployment takes over, pins stay, and rollback brings the former one back",
  async (context) => {
    const { world, app, visit, deploy } = await newApp(context, { previousRetentionSeconds: 600 });
    await deploy("v1", { image: "shop:1" });
    await deploy("v2", { image: "shop:2" });
    await until(
      () => visit(),
      ({ text }) => text === "two v2",
    );
    expect((await visit("/", { "x-pulse-deployment": "v1" })).text).toBe("one v1");
    await world.stack.api("POST", `/apps/${app}/rollback`);
    await until(
      () => visit(),
      ({ text }) => text === "one v1",
    );
  },
);

test.concurrent("a redeploy deploys once, in place, and serves on meanwhile", async (context) => {
  const { world, app, visit, deploy } = await newApp(context);
  await deploy("v1", { image: "shop:1" });
  const [before] = world.railway.state.deployments(`${app}-v1`);
  await world.stack.api("POST", `/apps/${app}/deployments/v1/redeploy`);
  await until(
    () => world.stack.api("GET", `/apps/${app}/deployments/v1`),
    ({ body }) => body["redeploying"] === false,
  );
  const after = world.railway.state.deployments(`${app}-v1`);
  expect(after).toHaveLength(2);
  expect(after[0]?.status).toBe("SUCCESS");
  expect(after[1]?.id).toBe(before?.id);
  expect((await visit()).text).toBe("one v1");
  // And once more, which is another request.
  await world.stack.api("POST", `/apps/${app}/deployments/v1/redeploy`);
  await until(
    () => world.railway.state.deployments(`${app}-v1`).length,
    (count) => count === 3,
  );
});

test.concurrent("a removed deployment's service is deleted, and no other", async (context) => {
  const { world, app, ours, deploy } = await newApp(context);
  await deploy("v1", { image: "shop:1" });
  await deploy("v2", { image: "shop:2" });
  await world.stack.api("DELETE", `/apps/${app}/deployments/v1`);
  await until(ours, (names) => !names.includes(`${app}-v1`));
  expect(ours()).toEqual([`${app}-v2`]);
});

test.concurrent("a build that fails says why, and nothing of it stays", async (context) => {
  const { world, app, ours, deploy } = await newApp(context);
  world.railway.faults.failingBuilds.add(`${app}-v1`);
  const { state, reason } = await deploy("v1", { image: "shop:1" });
  expect(state).toBe("failed");
  expect(reason).toContain("Railway couldn't build or start it.");
  expect(reason).toContain("the build was made to fail");
  await until(ours, (names) => names.length === 0);
});

test.concurrent("an app that crashes again and again fails with what it said last", async (context) => {
  const { world, app, ours, deploy } = await newApp(context, { contract: "pulse" });
  world.railway.faults.crashing.add(`${app}-v1`);
  const { state, reason } = await deploy("v1", { image: "shop:1" });
  expect(state).toBe("failed");
  expect(reason).toContain("the process ended with code");
  await until(ours, (names) => names.length === 0);
});

test.concurrent(
  "a service with the deployment's name that isn't ours is named and never touched",
  async (context) => {
    const { world, app, deploy } = await newApp(context);
    const theirs = world.railway.state.addService(`${app}-v1`, { variables: { SIGNALBOX_APP: app } });
    const { state, reason } = await deploy("v1", { image: "shop:1" });
    expect(state).toBe("failed");
    expect(reason).toContain(`${app}-v1`);
    await world.stack.api("DELETE", `/apps/${app}`);
    await until(
      () => world.stack.api("GET", `/apps/${app}`),
      ({ status }) => status === 404,
    );
    expect(world.railway.state.service(`${app}-v1`)?.id).toBe(theirs.id);
    world.railway.state.world.removeService(theirs);
  },
);

test.concurrent(
  "a variable on the env service that Signalbox sets is refused by its name",
  async (context) => {
    const { world, app } = await newApp(context);
    const env = world.railway.state.instance("pulse-env");
    env?.variables.set("PORT", "1");
    env?.variables.set("RAILWAY_DOCKERFILE_PATH", "x");
    const answer = await world.stack.api("POST", `/apps/${app}/deployments`, {
      id: "v1",
      target: { kind: "railway", image: "shop:1" },
    });
    env?.variables.delete("PORT");
    env?.variables.delete("RAILWAY_DOCKERFILE_PATH");
    expect(answer.status).toBe(422);
    expect(answer.body["code"]).toBe("target_refused");
    expect(answer.body["detail"]).toContain("PORT, RAILWAY_DOCKERFILE_PATH");
  },
);

test.concurrent(
  "the log is what build and app wrote, each line once, and ends with the deployment",
  async (context) => {
    const { world, app, visit, deploy } = await newApp(context);
    await deploy("v1", { image: "shop:1" });
    const read = async (query: string): Promise<LogPage> => {
      const { status, body } = await world.stack.api("GET", `/apps/${app}/deployments/v1/logs?${query}`);
      expect(status).toBe(200);
      return logPage.parse(body);
    };
    const first = await until(
      () => read("cursor=0"),
      ({ lines }) => lines.some(({ text }) => text.includes("version one listens")),
    );
    expect(first.lines.map(({ step }) => step)).toEqual(expect.arrayContaining(["build", "start"]));
    const texts: string[] = [];
    let { cursor } = first;
    for (let number = 0; number < 30; number++) await visit(`/page-${number}`);
    const callsBefore = world.railway.faults.calls.length;
    while (!texts.some((text) => text.includes("page-29"))) {
      const page = await read(`cursor=${cursor}&wait=20&limit=13`);
      texts.push(...page.lines.map(({ text }) => text));
      cursor = page.cursor;
    }
    const pages = Array.from({ length: 30 }, (_, number) => `asked for /page-${number}`);
    expect(texts.filter((text) => text.includes("/page-"))).toEqual(pages);
    expect(world.railway.faults.calls.length - callsBefore).toBeLessThan(12);

    await begin(world, app, "v2", { image: "shop:2" });
    await outcome(world, app, "v2");
    await world.stack.api("DELETE", `/apps/${app}/deployments/v1`);
    await until(
      () => read(`cursor=${cursor}`),
      ({ complete }) => complete,
    );
  },
);

test.concurrent("a sleeping service wakes for its verification", async (context) => {
  const { world, app, visit, deploy } = await newApp(context);
  await deploy("v1", { image: "shop:1" });
  await world.railway.state.sleep(`${app}-v1`);
  await until(
    () => visit(),
    ({ status }) => status === 200,
  );
});

test.concurrent("two apps whose deployments want the same name both run", async (context) => {
  const { world, app, ours } = await newApp(context);
  const other = `${app}-b`;
  await putApp(world.stack, other, { hosts: [`${other}.test`] });
  const wanted: [string, string, string][] = [
    [app, "b-c", "shop:1"],
    [other, "c", "shop:2"],
  ];
  await Promise.all(wanted.map(([name, id, image]) => begin(world, name, id, { image })));
  for (const [name, id] of wanted) {
    expect(await outcome(world, name, id)).toEqual({ state: "active", reason: null });
  }
  expect((await world.stack.request(`${app}.test`, "/")).text).toBe("one b-c");
  expect((await world.stack.request(`${other}.test`, "/")).text).toBe("two c");
  expect(ours()).toEqual([`${app}-b-c`, expect.stringMatching(/-b-c-[0-9a-f]{8}$/)]);
  // As with the test's own app: that both are taken away is seen at the end.
  await world.stack.api("DELETE", `/apps/${other}`);
});
