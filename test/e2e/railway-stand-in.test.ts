import { spawn } from "node:child_process";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { askRailway, deployService, makeDomain, makeService } from "../helpers/railway-api.ts";
import { IMAGES } from "../helpers/railway-images.ts";
import { until } from "../helpers/stack.ts";

let railway: RailwayStandIn;

beforeEach(async () => {
  railway = await startRailwayStandIn({ images: IMAGES, pace: { stepMs: 5, secondMs: 100 } });
});

afterEach(async () => {
  await railway.stop();
});

const ECHO = { source: { image: "example/echo" }, healthcheckPath: "/" };

/** A running service with a domain. */
async function serve(
  name: string,
  settings: Record<string, unknown> = {},
  variables: Record<string, string> = {},
): Promise<{ id: string; url: string; deployment: string }> {
  const id = await makeService(railway, name, { settings: { ...ECHO, ...settings }, variables });
  const domain = await makeDomain(railway, id);
  const deployment = await deployService(railway, id);
  await becomes(name, deployment, "SUCCESS");
  return { id, url: `http://${domain}`, deployment };
}

async function becomes(name: string, deployment: string, status: string): Promise<void> {
  await until(
    () => railway.state.deployments(name).find(({ id }) => id === deployment)?.status,
    (seen) => seen === status,
  );
}

async function text(url: string): Promise<string> {
  return (await fetch(url)).text();
}

async function isGone(group: number | undefined): Promise<void> {
  await until(
    () => isAlive(group ?? 0),
    (alive) => !alive,
  );
}

function isAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false; // nobody is left in it
  }
}

async function upload(
  serviceId: string,
  files: Record<string, string>,
  headers = asAccount(),
): Promise<Response> {
  const encoder = new TextEncoder();
  const entries = Object.entries(files).map(([name, content]) => {
    const body = encoder.encode(content);
    return { header: { name, size: body.length }, body };
  });
  return sendUpload(serviceId, gzipSync(await packTar(entries)), headers);
}

function sendUpload(serviceId: string, body: Uint8Array<ArrayBuffer>, headers: Record<string, string>) {
  const { projectId, environmentId, url } = railway;
  return fetch(`${url}/project/${projectId}/environment/${environmentId}/up?serviceId=${serviceId}`, {
    method: "POST",
    headers: { "content-type": "application/gzip", ...headers },
    body,
  });
}

function asAccount(): Record<string, string> {
  return { authorization: `Bearer ${railway.accountToken}` };
}

function asProject(): Record<string, string> {
  return { "project-access-token": railway.projectToken };
}

test("each kind of token reaches what Railway lets it reach, and nothing else", async () => {
  const other = railway.state.addProject("other");
  const ask = async (query: string, headers: Record<string, string>): Promise<unknown> => {
    const { data, errors } = await askRailway(railway, query, {}, headers);
    return errors[0]?.message ?? data;
  };
  const workspace = { authorization: `Bearer ${railway.workspaceToken}` };
  const wrong = { authorization: "Bearer wrong" };
  expect(await ask("{ me { email } }", asAccount())).toEqual({ me: { email: "operator@example.com" } });
  for (const headers of [workspace, asProject(), wrong, {}])
    expect(await ask("{ me { email } }", headers)).toBe("Not Authorized");
  const names = "{ projects { edges { node { name } } } }";
  expect(await ask(names, workspace)).toEqual({
    projects: { edges: [{ node: { name: "signalbox" } }, { node: { name: "other" } }] },
  });
  expect(await ask(names, asProject())).toBe("Not Authorized");
  const { projectId, environmentId } = railway;
  expect(await ask("{ projectToken { projectId environmentId } }", asProject())).toEqual({
    projectToken: { projectId, environmentId },
  });
  expect(await ask("{ projectToken { projectId } }", asAccount())).toBe("Not Authorized");
  expect(await ask(`{ project(id: "${projectId}") { name } }`, asProject())).toMatchObject({ project: {} });
  expect(await ask(`{ project(id: "${other.id}") { name } }`, asProject())).toBe("Not Authorized");
  expect(
    await ask(`{ project(id: "${projectId}") { name } }`, {
      authorization: `Bearer ${railway.projectToken}`,
    }),
  ).toBe("Not Authorized");
  expect((await upload("any", {}, wrong)).status).toBe(401);
});

test("a refused call answers 200 with errors, a call that isn't in the schema 400", async () => {
  const refused = await askRailway(railway, `{ service(id: "none") { name } }`);
  expect(refused).toMatchObject({ status: 200, data: null, errors: [{ message: "Service not found" }] });
  const unknown = await askRailway(railway, "{ me { password } }");
  expect(unknown.status).toBe(400);
  expect(unknown.errors[0]?.message).toContain('Cannot query field "password"');
});

test("a service's name is unique in its project and has at most 32 characters", async () => {
  await makeService(railway, "web");
  await expect(makeService(railway, "web")).rejects.toThrow("already exists");
  await expect(makeService(railway, "w".repeat(33))).rejects.toThrow("32 characters");
  expect(railway.state.serviceNames()).toEqual(["web"]);
});

test("an image is deployed through all states, serves HTTP, streams and WebSockets, and is gone when deleted", async () => {
  const { id, url, deployment } = await serve("web");
  expect(railway.state.deployments("web")[0]?.history).toEqual([
    "QUEUED",
    "INITIALIZING",
    "BUILDING",
    "DEPLOYING",
    "SUCCESS",
  ]);
  expect(await text(url)).toBe(deployment);

  const sending = request(`${url}/stream`, { method: "POST" });
  sending.flushHeaders();
  const [streamed] = (await once(sending, "response")) as [IncomingMessage];
  expect(String((await once(streamed, "data"))[0])).toBe("first\n");
  sending.write("second\n");
  expect(String((await once(streamed, "data"))[0])).toBe("second\n");
  sending.end();
  await once(streamed, "end");

  const socket = new WebSocket(url.replace("http", "ws"));
  await once(socket, "open");
  socket.send("hello");
  expect(String((await once(socket, "message"))[0])).toBe(deployment);

  const [running] = railway.state.processes();
  const cut = once(socket, "close");
  await askRailway(railway, `mutation { serviceDelete(id: "${id}") }`);
  await cut;
  expect(railway.state.serviceNames()).toEqual([]);
  expect(railway.state.processes()).toEqual([]);
  await isGone(running?.group);
  await expect(fetch(url)).rejects.toThrow("fetch failed");
});

test("variables refer to other services, and are asked for rendered or as they were written", async () => {
  await makeService(railway, "env", { variables: { SECRET: "s3cret", GREETING: "hello ${{SECRET}}" } });
  const written = {
    A: "${{env.SECRET}}",
    B: "${{ env.GREETING }}!",
    C: "${{nobody.X}}",
    D: "${{E}}",
    E: "own",
  };
  const { id, url } = await serve("web", {}, written);
  const env = JSON.parse(await text(`${url}/env`)) as Record<string, string>;
  expect(env).toMatchObject({
    A: "s3cret",
    B: "hello s3cret!",
    C: "",
    D: "own",
    RAILWAY_SERVICE_NAME: "web",
  });
  const { projectId, environmentId } = railway;
  const ask = async (unrendered: boolean): Promise<unknown> =>
    (
      await askRailway(
        railway,
        `query ($p: String!, $e: String!, $s: String!, $u: Boolean) {
          variables(projectId: $p, environmentId: $e, serviceId: $s, unrendered: $u)
        }`,
        { p: projectId, e: environmentId, s: id, u: unrendered },
      )
    ).data.variables;
  expect(await ask(true)).toEqual(written);
  expect(await ask(false)).toMatchObject({ A: "s3cret", RAILWAY_PROJECT_ID: projectId });
});

test("an upload is built and started, redeployed from what was uploaded, and its logs can be read", async () => {
  const id = await makeService(railway, "app", {
    settings: { buildCommand: "echo building; echo built > built.txt", healthcheckPath: "/" },
  });
  const domain = await makeDomain(railway, id);
  const server = `require("node:http").createServer((_, answer) =>
    answer.end(require("node:fs").readFileSync("built.txt"))).listen(process.env.PORT); console.log("up")`;
  const answer = await upload(id, { "server.js": server, Procfile: "web: node server.js\n" }, asProject());
  const { deploymentId, deploymentDomain } = (await answer.json()) as Record<string, string>;
  expect(deploymentDomain).toBe(domain);
  await becomes("app", deploymentId ?? "", "SUCCESS");
  expect(await text(`http://${domain}`)).toBe("built\n");
  const logs = await askRailway(
    railway,
    `query ($id: String!) {
      build: buildLogs(deploymentId: $id, limit: 100) { message }
      deploy: deploymentLogs(deploymentId: $id, limit: 1) { message severity tags { serviceId } }
    }`,
    { id: deploymentId },
  );
  expect(JSON.stringify(logs.data.build)).toContain('"building"');
  expect(logs.data.deploy).toEqual([{ message: "up", severity: "info", tags: { serviceId: id } }]);

  const again = await askRailway(railway, `mutation { deploymentRedeploy(id: "${deploymentId}") { id } }`);
  await becomes("app", again.data.deploymentRedeploy.id, "SUCCESS");
  await becomes("app", deploymentId ?? "", "REMOVED");
  expect(await text(`http://${domain}`)).toBe("built\n");
});

test("an upload with package.json starts by its start script; one without a start command, or damaged, fails", async () => {
  const id = await makeService(railway, "app", { settings: { healthcheckPath: "/" } });
  const domain = await makeDomain(railway, id);
  const status = async (sent: Response): Promise<string[]> => {
    const { deploymentId } = (await sent.json()) as { deploymentId: string };
    const find = () => railway.state.deployments("app").find((one) => one.id === deploymentId);
    await until(
      () => find()?.status ?? "",
      (seen) => ["SUCCESS", "FAILED"].includes(seen),
    );
    return [find()?.status ?? "", find()?.buildLogs.at(-1)?.message ?? ""];
  };
  const server = `require("node:http").createServer((_, answer) => answer.end("npm")).listen(process.env.PORT)`;
  const manifest = JSON.stringify({ scripts: { start: "node server.js" } });
  expect(await status(await upload(id, { "server.js": server, "package.json": manifest }))).toEqual([
    "SUCCESS",
    "start command: npm start",
  ]);
  expect(await text(`http://${domain}`)).toBe("npm");
  expect(await status(await upload(id, { "readme.txt": "no start" }))).toEqual([
    "FAILED",
    "No start command was found.",
  ]);
  const damaged = await status(await sendUpload(id, new Uint8Array(100), asAccount()));
  expect(damaged[0]).toBe("FAILED");
  const escaping = await status(await upload(id, { "../outside.txt": "x" }));
  expect(escaping[0]).toBe("FAILED");
  expect(await text(`http://${domain}`)).toBe("npm");
});

test("on a new deployment the old process goes on for the overlap, is asked to end, and killed after the draining time", async () => {
  const { id, url, deployment } = await serve(
    "web",
    { overlapSeconds: 3, drainingSeconds: 2 },
    { STUBBORN: "1" },
  );
  const [old] = railway.state.processes();
  const socket = new WebSocket(url.replace("http", "ws"));
  await once(socket, "open");
  const second = await deployService(railway, id);
  await becomes("web", second, "SUCCESS");
  expect(await text(url)).toBe(second);
  socket.send("who?");
  expect(String((await once(socket, "message"))[0])).toBe(deployment);
  const [code] = await once(socket, "close");
  expect(code).toBe(1006);
  await becomes("web", deployment, "REMOVED");
  await isGone(old?.group);
  const former = railway.state.deployments("web").find((one) => one.id === deployment);
  expect(former?.deployLogs.map(({ message }) => message)).toContain("asked to end");
  expect(former?.history.slice(-3)).toEqual(["SUCCESS", "REMOVING", "REMOVED"]);
});

test("a deployment that never becomes healthy fails, and the one before goes on", async () => {
  const { id, url, deployment } = await serve("web", { healthcheckTimeout: 5 });
  await askRailway(
    railway,
    `mutation ($s: String!, $e: String!) {
      serviceInstanceUpdate(serviceId: $s, environmentId: $e, input: { source: { image: "example/deaf" } })
    }`,
    { s: id, e: railway.environmentId },
  );
  await becomes("web", await deployService(railway, id), "FAILED");
  expect(await text(url)).toBe(deployment);
  await until(
    () => railway.state.processes().length,
    (count) => count === 1,
  );
});

test("what crashes is started again as its restart policy says, and is CRASHED then", async () => {
  const id = await makeService(railway, "web", {
    settings: { source: { image: "example/echo" }, restartPolicyMaxRetries: 2 },
  });
  railway.faults.crashing.add("web");
  const deployment = await deployService(railway, id);
  await becomes("web", deployment, "CRASHED");
  const crashes = railway.state
    .deployments("web")[0]
    ?.deployLogs.filter(({ message }) => message === "made to crash");
  expect(crashes).toHaveLength(3);
});

test("a sleeping service answers one 502 while it wakes", async () => {
  const { url, deployment } = await serve("web", { sleepApplication: true });
  await railway.state.sleep("web");
  expect(railway.state.processes()).toEqual([]);
  expect(railway.state.deployments("web")[0]?.status).toBe("SLEEPING");
  const first = await fetch(url);
  expect([first.status, first.headers.get("x-railway-fallback")]).toEqual([502, "true"]);
  expect(await text(url)).toBe(deployment);
  expect(railway.state.deployments("web")[0]?.status).toBe("SUCCESS");
});

test("services are moved into a canvas group by a staged change that is committed", async () => {
  const id = await makeService(railway, "web");
  const group = railway.state.world.addGroup("Backends", railway.projectId);
  const staged = await askRailway(
    railway,
    `mutation ($e: String!, $input: EnvironmentConfig!) {
      environmentStageChanges(environmentId: $e, input: $input, merge: true) { status }
    }`,
    { e: railway.environmentId, input: { services: { [id]: { groupId: group.id } } } },
  );
  expect(staged.data.environmentStageChanges.status).toBe("STAGED");
  expect(railway.state.service("web")?.groupId).toBeNull();
  const commit = `mutation ($e: String!) { environmentPatchCommitStaged(environmentId: $e, skipDeploys: true) }`;
  await askRailway(railway, commit, { e: railway.environmentId });
  expect(railway.state.service("web")?.groupId).toBe(group.id);
  expect((await askRailway(railway, commit, { e: railway.environmentId })).errors).toHaveLength(1);
  await askRailway(
    railway,
    `mutation ($e: String!, $patch: EnvironmentConfig!) { environmentPatchCommit(environmentId: $e, patch: $patch) }`,
    { e: railway.environmentId, patch: { services: { [id]: { groupId: null } } } },
  );
  expect(railway.state.service("web")?.groupId).toBeNull();
});

test("a service with a volume finds its files again, and its old process is gone before the new one starts", async () => {
  const id = await makeService(railway, "store", {
    settings: {
      ...ECHO,
      startCommand: 'echo "$RAILWAY_DEPLOYMENT_ID" >> "$DATA/starts"; exec "$NODE" -e "$APP"',
    },
    variables: {
      DATA: "/data",
      NODE: process.execPath,
      APP: `require("node:http").createServer((_, answer) =>
        answer.end(require("node:fs").readFileSync(process.env.DATA + "/starts"))).listen(process.env.PORT)`,
    },
  });
  const { projectId, environmentId } = railway;
  const volume = { projectId, environmentId, serviceId: id, mountPath: "/data" };
  const create = `mutation ($input: VolumeCreateInput!) { volumeCreate(input: $input) { id } }`;
  expect((await askRailway(railway, create, { input: volume })).errors).toEqual([]);
  expect((await askRailway(railway, create, { input: volume })).errors).toHaveLength(1);
  const domain = await makeDomain(railway, id);
  const first = await deployService(railway, id);
  await becomes("store", first, "SUCCESS");
  const second = await deployService(railway, id);
  await becomes("store", second, "SUCCESS");
  expect(await text(`http://${domain}`)).toBe(`${first}\n${second}\n`);
  expect(railway.state.processes()).toHaveLength(1);
});

test("a call fails in each way on demand, and every call is counted", async () => {
  const { faults } = railway;
  const names = "{ me { email } }";
  faults.add("me", { kind: "500" });
  faults.add("me", { kind: "429", retryAfterSeconds: 7 });
  faults.add("me", { kind: "error", message: "not today" });
  faults.add("me", { kind: "slow", ms: 50 });
  await expect(askRailway(railway, names)).resolves.toMatchObject({ status: 500 });
  const limited = await askRailway(railway, names);
  expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "7"]);
  expect((await askRailway(railway, names)).errors).toMatchObject([{ message: "not today" }]);
  const before = performance.now();
  expect((await askRailway(railway, names)).errors).toEqual([]);
  expect(performance.now() - before).toBeGreaterThan(40);

  faults.add("serviceCreate", { kind: "lost" }, { after: 1 });
  await makeService(railway, "first");
  await expect(makeService(railway, "second")).rejects.toThrow("fetch failed");
  expect(railway.state.serviceNames()).toEqual(["first", "second"]);
  faults.add("serviceCreate", { kind: "late", ms: 50 });
  await expect(makeService(railway, "third")).rejects.toThrow("fetch failed");
  expect(railway.state.serviceNames()).toEqual(["first", "second"]);
  await until(
    () => railway.state.serviceNames(),
    (names) => names.includes("third"),
  );
  expect(faults.pending).toBe(0);
  expect([faults.count("me"), faults.count("serviceCreate")]).toEqual([4, 3]);
});

test("a build is made to fail by its service's name", async () => {
  railway.faults.failingBuilds.add("web");
  const id = await makeService(railway, "web", { settings: ECHO });
  await becomes("web", await deployService(railway, id), "FAILED");
  expect(railway.state.processes()).toEqual([]);
});

test("when the stand-in is killed, its services end with it", async () => {
  const script = `
    import { startRailwayStandIn } from "./scripts/railway-stand-in/index.ts";
    const sleeper = { command: ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"] };
    const railway = await startRailwayStandIn({ images: { sleeper }, pace: { stepMs: 1 } });
    railway.state.addService("web", { image: "sleeper" });
    const look = setInterval(() => {
      const [found] = railway.state.processes();
      if (found) { clearInterval(look); console.log(found.group); }
    }, 10);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
    cwd: projectRoot,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    expect(isAlive(Number(line))).toBe(true);
    child.kill("SIGKILL");
    await isGone(Number(line));
  } finally {
    child.kill("SIGKILL");
  }
});

test("run from a shell it says how to reach it, and ends on SIGTERM", async () => {
  const child = spawn(process.execPath, [join(projectRoot, "scripts/railway-stand-in/main.ts")], {
    env: { PATH: process.env["PATH"] ?? "" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  expect(line).toMatch(/^export RAILWAY_API_URL=http:\/\/127\.0\.0\.1:\d+$/);
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});
