import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test, type TestContext, vi } from "vitest";
import { Workspace, type WorkspaceOptions } from "../../runner/workspace.ts";
import { archive } from "../helpers/archive.ts";
import { processesWith } from "../helpers/program.ts";
import { UnconnectedRunner, server, until } from "../helpers/unconnected-runner.ts";

/** As the product's, only shorter. */
const timing = { backoffFirstMs: 100, backoffLimitMs: 400, stopGraceMs: 1_000 };

/** The runner and the workspace of one test. */
class World {
  readonly root: string;
  runner: UnconnectedRunner;

  private constructor(root: string, runner: UnconnectedRunner) {
    this.root = root;
    this.runner = runner;
  }

  static async open(
    { onTestFinished, expect }: TestContext,
    options: Partial<WorkspaceOptions> = {},
  ): Promise<World> {
    const root = await mkdtemp(join(tmpdir(), "signalbox-deployments-"));
    const world = new World(root, await startRunner(root, options));
    onTestFinished(async () => {
      await world.runner.stop();
      expect(processesWith(root)).toEqual([]);
      await rm(root, { recursive: true, force: true });
    });
    return world;
  }

  /** The next runner in the workspace of one that has ended. */
  async restart(): Promise<void> {
    this.runner = await startRunner(this.root);
  }
}

function startRunner(root: string, options: Partial<WorkspaceOptions> = {}): Promise<UnconnectedRunner> {
  return UnconnectedRunner.start({ root, timing, ...options }, { RUNNER_SHARED_SECRET: "hush" });
}

const app = { "server.mjs": server("response.end(process.env.GREETING + ' ' + request.url)") };
const start = "node server.mjs";

async function answerOf(port: number | null, path = "/"): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}${path}`)).text();
}

test.concurrent(
  "a source becomes a running server, with logs of each step, and is gone after it is removed",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    expect((await fetch(`${world.runner.origin}/sources/${sha256}`, { method: "HEAD" })).status).toBe(200);
    const spec = {
      source: { sha256 },
      install: "echo installing; mkdir lib",
      build: "echo building >&2; test -d lib",
      start,
      env: { GREETING: "hello" },
      healthPath: "/up",
    };
    const accepted = await world.runner.put("shop/v1", spec);
    expect(accepted).toMatchObject({ status: 202, body: { app: "shop", id: "v1", state: "unpacking" } });
    const { port } = await world.runner.reaches("shop/v1", "running", "failed");
    expect(await answerOf(port, "/x")).toBe("hello /x");
    const { body } = await world.runner.json("GET", "/deployments/shop/v1/logs?cursor=0&limit=100");
    expect(body).toMatchObject({ truncated: false });
    expect(body["lines"]).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ step: "install", stream: "stdout", text: "installing" }),
        expect.objectContaining({ step: "build", stream: "stderr", text: "building" }),
        expect.objectContaining({ step: "start", stream: "stdout", text: `up on ${port}` }),
      ]),
    );
    const after = await world.runner.json(
      "GET",
      `/deployments/shop/v1/logs?cursor=${String(body["cursor"])}`,
    );
    expect(after.body).toMatchObject({ lines: [], cursor: body["cursor"], truncated: false });
    expect(await world.runner.put("shop/v1", spec)).toMatchObject({
      status: 202,
      body: { state: "running", port },
    });
    expect(await world.runner.put("shop/v1", { ...spec, start: "other" })).toMatchObject({
      status: 409,
      body: { code: "deployment_exists" },
    });
    expect(await world.runner.json("DELETE", "/deployments/shop/v1")).toEqual({
      status: 200,
      body: { removed: true },
    });
    await expect(answerOf(port)).rejects.toThrow("fetch failed");
    expect(await world.runner.json("GET", "/deployments/shop/v1")).toMatchObject({ status: 404 });
    expect(await world.runner.json("DELETE", "/deployments/shop/v1")).toEqual({
      status: 200,
      body: { removed: true },
    });
    expect(await readdir(join(world.root, ".signalbox", "deployments"))).toEqual([]);
    expect(await readdir(join(world.root, ".signalbox", "trash"))).toEqual([]);
    expect(await readdir(join(world.root, ".signalbox", "processes"))).toEqual([]);
  },
);

test.concurrent("what is installed by default is what the lockfile says", async (context) => {
  const world = await World.open(context);
  const sha256 = await world.runner.upload({
    "package.json": JSON.stringify({
      name: "app",
      version: "1.0.0",
      dependencies: { greeting: "file:./greeting" },
      scripts: { start: "node server.mjs" },
    }),
    "package-lock.json": JSON.stringify({
      name: "app",
      version: "1.0.0",
      lockfileVersion: 3,
      packages: {
        "": { name: "app", version: "1.0.0", dependencies: { greeting: "file:./greeting" } },
        greeting: { version: "1.0.0" },
        "node_modules/greeting": { resolved: "greeting", link: true },
      },
    }),
    "greeting/package.json": JSON.stringify({ name: "greeting", version: "1.0.0", main: "index.js" }),
    "greeting/index.js": "module.exports = 'from a package';",
    "server.mjs": `import greeting from "greeting";\n${server("response.end(greeting)")}`,
  });
  await world.runner.put("shop/v1", { source: { sha256 }, start: "npm start" });
  const { port, reason } = await world.runner.reaches("shop/v1", "running", "failed");
  expect(reason).toBeNull();
  expect(await answerOf(port)).toBe("from a package");
  expect(await world.runner.logs("shop/v1")).toContain("$ npm ci");
});

test.concurrent.for([
  ["install", { install: "echo no such package >&2; exit 4" }, "The install exited with code 4"],
  ["build", { build: "echo no such package >&2; kill -9 $$" }, "The build was ended by SIGKILL"],
  ["start", { start: "echo no such package >&2; exit 1" }, "The start command exited with code 1"],
] as const)(
  "a failing %s is a failure with a reason and the last lines",
  async ([, more, reason], context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    await world.runner.put("shop/v1", { source: { sha256 }, start, ...more });
    const status = await world.runner.reaches("shop/v1", "failed", "running");
    expect(status).toMatchObject({ state: "failed", reason });
    expect(status.lastLines).toContain("no such package");
    expect(processesWith(world.root)).toEqual([]);
  },
);

test.concurrent(
  "an install that hangs is ended at its limit, with everything that it started",
  async (context) => {
    const world = await World.open(context, { timing: { ...timing, installLimitMs: 500 } });
    const sha256 = await world.runner.upload(app);
    await world.runner.put("shop/v1", { source: { sha256 }, start, install: "setsid sleep 100 & sleep 100" });
    const status = await world.runner.reaches("shop/v1", "failed");
    expect(status.reason).toBe("The install took longer than 0.5 s");
    expect(processesWith(world.root)).toEqual([]);
  },
);

test.concurrent(
  "a server that never listens fails at the deadline and says what it must listen on",
  async (context) => {
    // Long enough for the sick one to listen, on any machine.
    const world = await World.open(context, { timing: { ...timing, healthLimitMs: 12_000 } });
    const sha256 = await world.runner.upload(app);
    const sick = await world.runner.upload({
      "server.mjs": server("response.writeHead(500).end('no\\u001b[2J database\\nstack')"),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start: "sleep 100" });
    await world.runner.put("shop/v3", { source: { sha256: sick }, start, healthPath: "/up" });
    expect((await world.runner.reaches("shop/v1", "failed")).reason).toMatch(
      /Nothing listened on port \d+ of (its own )?127\.0\.0\.1 or ::1 within 12 s: (in a sandbox )?the app must listen on the address in HOST and the port in PORT/,
    );
    expect((await world.runner.reaches("shop/v3", "failed")).reason).toMatch(
      /^\/up answered 500 Internal Server Error \("no database"\) to Host localhost:\d+, and never with success within 12 s$/,
    );
  },
);

/** What the control plane says of an app at shop.test. */
const atShop = { env: { PULSE_SERVER_ADDRESS: "https://shop.test" }, healthPath: "/up" };

test.concurrent("health is asked by the public host, as visitors ask", async (context) => {
  const world = await World.open(context);
  const sha256 = await world.runner.upload({
    "server.mjs": server(`
      const { host, "x-forwarded-host": forwarded, "x-forwarded-proto": proto } = request.headers;
      response.writeHead(host === "shop.test" && forwarded === host && proto === "https" ? 200 : 403).end();`),
  });
  await world.runner.put("shop/v1", { source: { sha256 }, start, ...atShop });
  expect((await world.runner.reaches("shop/v1", "running", "failed")).reason).toBeNull();
});

test.concurrent(
  "an app that is asked locally gets its own host and no word of the public one",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": server(`
      const { host, "x-forwarded-host": forwarded } = request.headers;
      response.writeHead(host === "localhost:" + process.env.PORT && !forwarded ? 200 : 403).end();`),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start, ...atShop, host: "local" });
    expect((await world.runner.reaches("shop/v1", "running", "failed")).reason).toBeNull();
  },
);

test.concurrent(
  "an app that refuses the public host fails at once, with its answer and the remedy",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": server(`
      const isKnown = request.headers.host.startsWith("localhost");
      response.writeHead(isKnown ? 200 : 403, { "content-type": "text/plain" }).end("Blocked host");`),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start, ...atShop });
    // The limit is the product's own of 300 s.
    const { reason, port } = await world.runner.reaches("shop/v1", "running", "failed");
    expect(reason).toBe(
      `/up answered 403 Forbidden ("Blocked host") to Host shop.test, and with success to localhost:${port}: ` +
        `set "host": "local", or have the app answer to shop.test`,
    );
  },
);

test.concurrent(
  "a port that takes connections and says nothing is told from one that nobody has",
  async (context) => {
    const world = await World.open(context, { timing: { ...timing, healthLimitMs: 12_000 } });
    const sha256 = await world.runner.upload({
      "silent.mjs": `import { createServer } from "node:net"; createServer(() => {}).listen(process.env.PORT, process.env.HOST);`,
      "odd.mjs": `import { createServer } from "node:net"; createServer((socket) => socket.end("hello\\n")).listen(process.env.PORT, process.env.HOST);`,
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start: "node silent.mjs", healthPath: "/up" });
    await world.runner.put("shop/v2", { source: { sha256 }, start: "node odd.mjs", healthPath: "/up" });
    expect((await world.runner.reaches("shop/v1", "failed")).reason).toMatch(
      /^\/up wasn't answered within 12 s: the app took the connection on port \d+, and said nothing$/,
    );
    expect((await world.runner.reaches("shop/v2", "failed")).reason).toContain(
      "answered something that isn't HTTP",
    );
  },
);

test.concurrent.for([undefined, "/up"])(
  "an app that listens on ::1 alone is found (health path: %s)",
  async (healthPath, context) => {
    // The network of a sandbox is entered by 127.0.0.1 alone.
    const world = await World.open(context, { confinement: { level: "none" } });
    const sha256 = await world.runner.upload({
      "server.mjs": server("response.end('six')").replace("process.env.HOST", "'::1'"),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start, ...(healthPath ? { healthPath } : {}) });
    const { port, reason } = await world.runner.reaches("shop/v1", "running", "failed");
    expect(reason).toBeNull();
    expect(await (await fetch(`http://[::1]:${port}/`)).text()).toBe("six");
  },
);

test.concurrent(
  "a crashed server is started again for ever, with growing pauses, and only routed while it is up",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": server("if (request.url === '/die') process.exit(3); response.end('up')"),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    for (let crash = 1; crash <= 5; crash++) {
      const { port } = await world.runner.reaches("shop/v1", "running");
      await answerOf(port, "/die").catch(() => undefined);
      const status = await until("the crash is counted", async () => {
        const status = await world.runner.status("shop/v1");
        return status.crashes === crash ? status : null;
      });
      if (status.state === "starting")
        expect(status.reason).toMatch(/exited with code 3; it starts again in/);
    }
    const { port } = await world.runner.reaches("shop/v1", "running");
    expect(await answerOf(port)).toBe("up");
    const pauses = [...(await world.runner.logs("shop/v1")).matchAll(/starts again in ([\d.]+) s/g)].map(
      (match) => Number(match[1]),
    );
    expect(pauses.length).toBe(5);
    expect(pauses[0]).toBeLessThanOrEqual(0.1);
    expect(pauses[4]).toBeGreaterThanOrEqual(0.2);
    expect(pauses[4]).toBeLessThanOrEqual(0.4);
  },
);

test.concurrent("a crash after a long stable time counts as the first", async (context) => {
  const world = await World.open(context, { timing: { ...timing, stableMs: 0 } });
  const sha256 = await world.runner.upload({
    "server.mjs": server("if (request.url === '/die') process.exit(3); response.end('up')"),
  });
  await world.runner.put("shop/v1", { source: { sha256 }, start });
  // A crash is counted before it is written down.
  const pauses = async (): Promise<RegExpExecArray[]> => [
    ...(await world.runner.logs("shop/v1")).matchAll(/starts again in ([\d.]+) s/g),
  ];
  for (let crash = 1; crash <= 4; crash++) {
    const { port } = await world.runner.reaches("shop/v1", "running");
    await answerOf(port, "/die").catch(() => undefined);
    await until("the crash is told of", async () => (await pauses()).length === crash);
  }
  expect((await pauses()).map((match) => Number(match[1]) <= 0.1)).toEqual([true, true, true, true]);
});

test.concurrent(
  "restart gives a new process on the same port, and revives what had failed",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": server("response.end(String(performance.timeOrigin))"),
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    const before = await world.runner.reaches("shop/v1", "running");
    const startedAt = await answerOf(before.port);
    const restarts = await Promise.all(
      [1, 2, 3].map(() => world.runner.json("POST", "/deployments/shop/v1/restart")),
    );
    expect(restarts.map(({ status }) => status)).toEqual([202, 202, 202]);
    const after = await world.runner.reaches("shop/v1", "running");
    expect(after.port).toBe(before.port);
    expect(await answerOf(after.port)).not.toBe(startedAt);
    const flag = "$HOME/flag";
    await world.runner.put("shop/v2", {
      source: { sha256 },
      build: `test -e ${flag} || { touch ${flag}; exit 1; }`,
      start,
    });
    await world.runner.reaches("shop/v2", "failed");
    await world.runner.json("POST", "/deployments/shop/v2/restart");
    await world.runner.reaches("shop/v2", "running");
  },
);

test.concurrent(
  "a deployment is removed at any moment of its life, and the id can be used again",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    const spec = { source: { sha256 }, install: "sleep 0.15", build: "sleep 0.15", start };
    for (let delay = 0; delay < 700; delay += 100) {
      expect((await world.runner.put("shop/v1", spec)).status).toBe(202);
      await new Promise((resolve) => setTimeout(resolve, delay));
      const answers = await Promise.all(
        [1, 2].map(() => world.runner.json("DELETE", "/deployments/shop/v1")),
      );
      expect(answers).toEqual([1, 2].map(() => ({ status: 200, body: { removed: true } })));
      expect(processesWith(world.root)).toEqual([]);
    }
    expect(await readdir(join(world.root, ".signalbox", "deployments"))).toEqual([]);
  },
);

test.concurrent(
  "a hosted process knows nothing of the runner's secrets, and has its app's home",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": server("response.end(JSON.stringify(process.env))"),
    });
    await world.runner.put("shop/v1", {
      source: { sha256 },
      start,
      env: { PULSE_DEPLOYMENT_ID: "v1", PORT: "1", HOST: "0.0.0.0" },
    });
    const { port } = await world.runner.reaches("shop/v1", "running");
    const text = await answerOf(port);
    expect(text).not.toContain("hush");
    const env = JSON.parse(text) as Record<string, string>;
    expect(env).toMatchObject({ PULSE_DEPLOYMENT_ID: "v1", PORT: String(port), HOST: "127.0.0.1" });
    expect(env["HOME"]).toContain(join(world.root, ".signalbox", "deployments", "shop", ".home"));
    expect(JSON.stringify(await world.runner.json("GET", "/status"))).not.toContain("PULSE_DEPLOYMENT_ID");
    const record = join(world.root, ".signalbox", "deployments", "shop", "v1", "deployment.json");
    // Its state is known before it is on disk.
    await until("it is recorded", async () => JSON.parse(await readFile(record, "utf8")).state === "running");
  },
);

test.concurrent(
  "two deployments of an app run side by side, and the tunnel's lookup knows only what is running",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    await world.runner.put("shop/v1", { source: { sha256 }, start, env: { GREETING: "one" } });
    await world.runner.put("shop/v2", { source: { sha256 }, start, env: { GREETING: "two" } });
    const [one, two] = await Promise.all([
      world.runner.reaches("shop/v1", "running"),
      world.runner.reaches("shop/v2", "running"),
    ]);
    expect(one.port).not.toBe(two.port);
    expect(await answerOf(one.port)).toBe("one /");
    expect(await answerOf(two.port)).toBe("two /");
  },
);

test.concurrent(
  "a port that was taken while the runner was away is replaced, and said so",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    const { port } = await world.runner.reaches("shop/v1", "running");
    await world.runner.stop();
    const stranger = createServer();
    await once(stranger.listen(port ?? 0, "127.0.0.1"), "listening");
    try {
      await world.restart();
      const after = await world.runner.reaches("shop/v1", "running");
      expect(after.port).not.toBe(port);
      expect(world.runner.lines.join("\n")).toContain(
        `"type":"port-conflict","owner":"shop/v1","port":${port}`,
      );
      expect(world.runner.lines.join("\n")).toContain(`"originalPort":${port},"newPort":${after.port}`);
    } finally {
      await new Promise((resolve) => stranger.close(resolve));
    }
  },
);

test.concurrent("the internal API refuses what isn't valid, before it costs anything", async (context) => {
  const world = await World.open(context);
  const sha256 = await world.runner.upload(app);
  const good = { source: { sha256 }, start };
  const json = (method: string, path: string, body?: string): Promise<Response> =>
    fetch(`${world.runner.origin}${path}`, { method, ...(body === undefined ? {} : { body }) });
  const refusals: [Promise<Response>, number, string][] = [
    [json("PUT", "/deployments/shop/v1", "{"), 400, "invalid_request"],
    [json("PUT", "/deployments/shop/v1", "x".repeat(70_000)), 413, "too_large"],
    [json("PUT", "/deployments/shop/v1", JSON.stringify({ ...good, extra: 1 })), 400, "invalid_request"],
    [json("PUT", "/deployments/shop/..%2f..%2fx", JSON.stringify(good)), 400, "invalid_request"],
    [json("PUT", "/deployments/Shop/v1", JSON.stringify(good)), 400, "invalid_request"],
    [
      json("PUT", "/deployments/shop/v1", JSON.stringify({ ...good, source: { sha256: "0".repeat(64) } })),
      404,
      "source_not_found",
    ],
    [json("GET", "/deployments/shop/v1"), 404, "deployment_not_found"],
    [json("GET", "/deployments/shop/v1/logs?cursor=-1"), 400, "invalid_request"],
    [json("GET", "/deployments/shop/v1/logs?limit=100000"), 400, "invalid_request"],
    [json("POST", "/deployments/shop/v1/restart"), 404, "deployment_not_found"],
    [json("PATCH", "/deployments/shop/v1"), 405, "method_not_allowed"],
    [json("GET", "/etc/passwd"), 404, "not_found"],
    [json("PUT", "/sources", "not gzip at all, but long enough"), 400, "invalid_archive"],
  ];
  for (const [asked, status, code] of refusals) {
    const response = await asked;
    expect([response.status, await response.json()]).toEqual([status, expect.objectContaining({ code })]);
  }
  const { data } = await archive(app);
  const wrong = await fetch(`${world.runner.origin}/sources`, {
    method: "PUT",
    headers: { "x-signalbox-sha256": "0".repeat(64) },
    body: new Uint8Array(data),
  });
  expect(await wrong.json()).toMatchObject({ code: "hash_mismatch" });
  expect((await fetch(`${world.runner.origin}/sources/${"0".repeat(64)}`, { method: "HEAD" })).status).toBe(
    404,
  );
});

test.concurrent("a refused upload is answered while the client still sends", async (context) => {
  const world = await World.open(context);
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    async pull(controller) {
      sent++;
      // Without a turn of the event loop nothing else of this process runs any more.
      await new Promise((resolve) => setImmediate(resolve));
      controller.enqueue(new Uint8Array(65_536));
    },
  });
  const response = await fetch(`${world.runner.origin}/sources`, {
    method: "PUT",
    body: endless,
    duplex: "half",
  });
  expect(response.status).toBe(400);
  expect(sent).toBeLessThan(10_000);
});

test.concurrent(
  "a refused upload is answered to a client that reads once it has sent all",
  async (context) => {
    const world = await World.open(context);
    const chunk = Buffer.alloc(65_536);
    const chunks = 64;
    const socket = connect(Number(new URL(world.runner.origin).port), "127.0.0.1").pause();
    const write = (bytes: string | Buffer): Promise<void> =>
      new Promise((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())));
    await write(
      `PUT /sources HTTP/1.1\r\nhost: runner\r\nx-signalbox-sha256: none\r\ncontent-length: ${chunk.length * chunks}\r\n\r\n`,
    );
    for (let sent = 0; sent < chunks; sent++) await write(chunk);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 /);
  },
);

test.concurrent(
  "a restart that is asked for again while the old process takes its time is one restart",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": `process.on("SIGTERM", () => undefined);\n${server("response.end('up')")}`,
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    await world.runner.reaches("shop/v1", "running");
    const ask = (): Promise<{ status: number; body: Record<string, unknown> }> =>
      world.runner.json("POST", "/deployments/shop/v1/restart?request=7");
    const answers = await Promise.all([ask(), ask(), ask()]);
    // Nobody is told that it runs while it is the old one that does.
    expect(answers.map(({ body }) => body["state"])).toEqual(["starting", "starting", "starting"]);
    await world.runner.reaches("shop/v1", "running");
    expect((await ask()).body["state"]).toBe("running");
    const starts = (await world.runner.logs("shop/v1"))
      .split("\n")
      .filter((line) => line.startsWith("$ node"));
    expect(starts).toHaveLength(2);
  },
);

test.concurrent(
  "a restart that is under way when the runner ends doesn't start a process that nobody ends",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload({
      "server.mjs": `process.on("SIGTERM", () => undefined);\n${server("response.end('up')")}`,
    });
    await world.runner.put("shop/v1", { source: { sha256 }, start });
    await world.runner.reaches("shop/v1", "running");
    await world.runner.stop();
    const inside = await Workspace.open({ root: world.root, timing });
    const { deployments, journal } = inside;
    await until("it runs again", () => deployments.status("shop/v1").state === "running");
    const restarted = deployments.restart("shop/v1").catch(() => undefined);
    const record = vi.spyOn(journal, "record");
    await inside.close();
    await restarted;
    // Before a process is started it is in the journal; a start takes a tenth of this.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(record).not.toHaveBeenCalled();
    expect(processesWith(world.root)).toEqual([]);
  },
);

test.concurrent(
  "what isn't a deployment, or can't be deleted, doesn't keep a runner from starting",
  async (context) => {
    const world = await World.open(context);
    const sha256 = await world.runner.upload(app);
    await world.runner.put("shop/v1", { source: { sha256 }, start, env: { GREETING: "hello" } });
    const { port } = await world.runner.reaches("shop/v1", "running");
    await world.runner.kill();
    const own = join(world.root, ".signalbox");
    await writeFile(join(own, "deployments", ".DS_Store"), "a file browser was here");
    await writeFile(join(own, "deployments", "shop", "notes.txt"), "and a person");
    await mkdir(join(own, "deployments", "shop", "broken"));
    await writeFile(join(own, "deployments", "shop", "broken", "deployment.json"), "{}");
    await world.restart();
    await world.runner.reaches("shop/v1", "running");
    expect(await answerOf(port, "/x")).toBe("hello /x");
  },
);
