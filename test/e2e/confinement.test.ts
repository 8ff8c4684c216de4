import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { access, chmod, chown, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, test, type TestContext } from "vitest";
import type { ConfinementSettings } from "../../runner/confinement/settings.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

/** A guest that does what it is told, to see what it can: at each level that this host offers, as root and as another. */

type Level = "sandbox" | "user" | "none";
const isRoot = process.getuid?.() === 0;
const OTHER = 47_123;
const asOther = [
  "setpriv",
  "--reuid",
  String(OTHER),
  "--regid",
  String(OTHER),
  "--clear-groups",
  "--inh-caps=-all",
];
/** A machine's users may open this device on most systems, and not on all that run tests. */
const TUN = join(mkdtempSync(join(tmpdir(), "signalbox-tun-")), "tun");
const hasTun =
  isRoot &&
  spawnSync("mknod", ["-m", "666", TUN, "c", "10", "200"]).status === 0 &&
  spawnSync("unshare", ["--mount", "mount", "--bind", TUN, "/dev/net/tun"]).status === 0;
const withTun = hasTun
  ? ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /dev/net/tun && exec "$@"', TUN]
  : [];
afterAll(() => rmSync(dirname(TUN), { recursive: true, force: true }));

const levels: [level: Level, as: "root" | "another user"][] = isRoot
  ? [
      ["sandbox", "root"],
      ["user", "root"],
      ["sandbox", "another user"],
    ]
  : [["sandbox", "another user"]];

const SECRET = "the-runners-own-secret";
const NEIGHBOUR_SECRET = "the-neighbours-own-secret";

const LARGE_BYTES = 24 * 1024 ** 2;

/** Runs what it is sent, and answers the value or the error's code. */
const obedient = `import { createServer } from "node:http";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
const require = createRequire(import.meta.url);
const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
process.on("SIGTERM", () => { require("fs").writeFileSync(process.env.HOME + "/ended", "in order"); process.exit(0); });
createServer(async (request, response) => {
  try {
    const value = await new AsyncFunction("require", await text(request))(require);
    response.end(JSON.stringify({ value: value ?? null }));
  } catch (error) {
    response.end(JSON.stringify({ error: error.code ?? error.message }));
  }
}).listen(process.env.PORT, process.env.HOST);
`;

class World {
  readonly root: string;
  readonly runner: UnconnectedRunner;
  readonly ports = new Map<string, number>();

  private constructor(root: string, runner: UnconnectedRunner) {
    this.root = root;
    this.runner = runner;
  }

  static async open(
    context: TestContext,
    level: Level,
    as: "root" | "another user",
    more: Partial<ConfinementSettings> = {},
  ): Promise<World> {
    const root = await mkdtemp(join(tmpdir(), "signalbox-confinement-"));
    const before = isRoot && as === "another user" ? asOther : [];
    if (before.length > 0) await chown(root, OTHER, OTHER);
    // A system user has to get there.
    await chmod(root, 0o711);
    const reach = spawnSync(
      before[0] ?? process.execPath,
      [...before.slice(1), process.execPath, "--version"].slice(before.length > 0 ? 0 : 1),
    );
    if (reach.status !== 0) context.skip(`another user can't run ${process.execPath}`);
    const runner = await UnconnectedRunner.start(
      { root, confinement: { level, ...more } },
      { RUNNER_SHARED_SECRET: SECRET },
      before.length > 0 ? [...withTun, ...before] : [],
    );
    context.onTestFinished(async () => {
      await runner.stop();
      await rm(root, { recursive: true, force: true });
    });
    return new World(root, runner);
  }

  /** Deploys an obedient guest. */
  async guest(key: string, env: Record<string, string> = {}, build?: string): Promise<void> {
    const sha256 = await this.runner.upload({ "server.mjs": obedient });
    await this.runner.put(key, { source: { sha256 }, start: "node server.mjs", build, env });
    const { port, reason } = await this.runner.reaches(key, "running", "failed");
    expect(reason).toBeNull();
    this.ports.set(key, port ?? 0);
  }

  async tell(key: string, code: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.ports.get(key)}/`, { method: "POST", body: code });
    return answer.json();
  }

  /** A guest's processes as this machine knows them. */
  async processesOf(key: string): Promise<number[]> {
    return processesAt(join(this.root, ".signalbox/deployments", key));
  }
}

/** Processes with this working directory or one below it. */
async function processesAt(path: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const at = await readlink(`/proc/${name}/cwd`).catch(() => ""); // ended meanwhile
    if (at === path || at.startsWith(`${path}/`)) found.push(Number(name));
  }
  return found;
}

/** Every variable of every process in sight, as one text. */
const ENVIRONMENTS = `const fs = require("fs");
return fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).map((name) => {
  try { return fs.readFileSync("/proc/" + name + "/environ", "latin1"); } catch { return ""; }
}).join("\\n");`;

/** Paths of all files below a directory that can be read. */
const readable = (path: string): string => `const fs = require("fs"), { join } = require("path");
const found = [];
const walk = (at) => {
  let names; try { names = fs.readdirSync(at, { withFileTypes: true }); } catch { return; }
  for (const entry of names) {
    const path = join(at, entry.name);
    if (entry.isDirectory()) walk(path);
    else try { fs.readFileSync(path); found.push(path); } catch {}
  }
};
walk(${JSON.stringify(path)});
return found;`;

test.for(levels)(
  "in a %s of a runner that is %s, a guest reads nothing of the runner or of its neighbour",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.guest("bank/v1", { TOKEN: NEIGHBOUR_SECRET });
    const environments = JSON.stringify(await world.tell("shop/v1", ENVIRONMENTS));
    expect(environments).toContain("SIGNALBOX_PROCESS");
    expect(environments).not.toContain(SECRET);
    expect(environments).not.toContain(NEIGHBOUR_SECRET);

    const own = join(world.root, ".signalbox/deployments/shop");
    const { value } = (await world.tell("shop/v1", readable(world.root))) as { value: string[] };
    expect(value.filter((path) => !path.startsWith(own) && !path.endsWith("bin/signalbox-runner"))).toEqual(
      [],
    );
    for (const path of [
      join(world.root, ".signalbox/deployments/bank/v1/deployment.json"),
      join(world.root, ".signalbox/deployments/bank/v1/work/server.mjs"),
      join(world.root, ".signalbox/deployments/shop/v1/deployment.json"),
      join(world.root, ".signalbox/runner.lock"),
      join(world.root, ".signalbox/processes"),
      "/etc/shadow",
    ]) {
      const answer = await world.tell(
        "shop/v1",
        `return require("fs").statSync(${JSON.stringify(path)}).isDirectory() ? require("fs").readdirSync(${JSON.stringify(path)}) : require("fs").readFileSync(${JSON.stringify(path)}, "latin1")`,
      );
      expect([path, answer]).toEqual([
        path,
        { error: expect.stringMatching(/^(?:ENOENT|EACCES)$/) as string },
      ]);
    }
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, a guest writes nowhere but in its own directories",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.guest("bank/v1");
    const name = `written-by-${process.pid}`;
    for (const directory of [
      world.root,
      join(world.root, ".signalbox"),
      join(world.root, ".signalbox/bin"),
      join(world.root, ".signalbox/deployments/shop/v1"),
      join(world.root, ".signalbox/deployments/bank/v1/work"),
      "/usr/bin",
      "/etc",
      "/",
      process.cwd(),
    ]) {
      const path = join(directory, name);
      const answer = await world.tell("shop/v1", `require("fs").writeFileSync(${JSON.stringify(path)}, "")`);
      // What leads to its directories below /tmp is of its own memory, if it isn't another user's.
      const isMemory = level === "sandbox" && as === "another user" && path.startsWith("/tmp/");
      if (!isMemory)
        expect([path, answer]).toEqual([
          path,
          { error: expect.stringMatching(/^(?:ENOENT|EACCES|EROFS)$/) as string },
        ]);
      await expect(access(path)).rejects.toMatchObject({ code: "ENOENT" });
    }
    const own = await world.tell(
      "shop/v1",
      `for (const at of [".", process.env.HOME, process.env.TMPDIR, "/tmp", "/dev/shm"]) require("fs").writeFileSync(at + "/${name}", "")`,
    );
    expect(own).toEqual({ value: null });
    await rm(join("/tmp", name), { force: true });
    await rm(join("/dev/shm", name), { force: true });
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, a guest signals and traces nobody, and gains nothing",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.guest("bank/v1");
    const victims = [world.runner.pid, process.pid, ...(await world.processesOf("bank/v1"))];
    expect(victims.length).toBeGreaterThan(2);
    for (const pid of victims) {
      const answers = [
        await world.tell("shop/v1", `process.kill(${pid}, "SIGKILL")`),
        await world.tell("shop/v1", `require("fs").openSync("/proc/${pid}/mem", "r")`),
        await world.tell("shop/v1", `return require("fs").readdirSync("/proc/${pid}/fd")`),
      ];
      for (const answer of answers)
        expect(answer).toEqual({ error: expect.stringMatching(/^(?:ESRCH|EPERM|ENOENT|EACCES)$/) as string });
    }
    expect(await world.tell("bank/v1", "return 'here'")).toEqual({ value: "here" });
    const { value } = (await world.tell(
      "shop/v1",
      `return require("fs").readFileSync("/proc/self/status", "utf8")`,
    )) as { value: string };
    expect(value).toMatch(/^CapEff:\t0+$/m);
    expect(value).toMatch(/^CapPrm:\t0+$/m);
    expect(value).toMatch(/^NoNewPrivs:\t1$/m);
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, loopback is closed to a guest if its network is said to be its own",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.guest("bank/v1");
    const { confinement } = await world.runner.status("shop/v1");
    const server = createServer((socket) => socket.end());
    const abstract = createServer((socket) => socket.end());
    await once(server.listen(0, "127.0.0.1"), "listening");
    await once(abstract.listen(`\0signalbox-test-${process.pid}`), "listening");
    context.onTestFinished(() => void [server, abstract].map((one) => one.close()));
    const connect = (to: string): string =>
      `return new Promise((resolve, reject) => require("net").connect(${to}).on("connect", () => resolve("connected")).on("error", reject))`;
    for (const to of [
      `{ host: "127.0.0.1", port: ${(server.address() as AddressInfo).port} }`,
      `{ host: "127.0.0.1", port: ${world.ports.get("bank/v1")} }`,
      `{ path: "\\0signalbox-test-${process.pid}" }`,
    ]) {
      const answer = await world.tell("shop/v1", connect(to));
      expect([to, answer]).toEqual([
        to,
        confinement?.network === "own" ? { error: "ECONNREFUSED" } : { value: "connected" },
      ]);
    }
    // What it says of itself is what the machine offers.
    const isOwn = level === "sandbox" && (hasTun || !isRoot || as === "root");
    expect(confinement).toMatchObject({ level, network: isOwn ? "own" : "shared" });
  },
);

test.for([
  ...levels.map(([level, as]) => [level, as, true] as const),
  // Where there is no perl, the runner's own program does it.
  ["sandbox", isRoot ? "root" : "another user", false] as const,
])(
  "in a %s of a runner that is %s, 24 MiB go into a guest and out of it without a standstill (small relay: %s)",
  async ([level, as, usesPerl], context) => {
    const large = createHttpServer((_, response) => response.end(Buffer.alloc(LARGE_BYTES)));
    await once(large.listen(0, "127.0.0.1"), "listening");
    context.onTestFinished(() => void large.close());
    const { port } = large.address() as AddressInfo;
    const world = await World.open(context, level, as, { ports: [port], usesPerl });
    await world.guest("shop/v1");
    const begin = performance.now();
    const down = `return (await (await fetch("http://127.0.0.1:${port}/")).arrayBuffer()).byteLength`;
    expect(await world.tell("shop/v1", down)).toEqual({ value: LARGE_BYTES });
    const { value } = (await world.tell("shop/v1", `return "x".repeat(${LARGE_BYTES})`)) as { value: string };
    expect(value).toHaveLength(LARGE_BYTES);
    // Debian 12's pasta takes six seconds for each by itself.
    expect(performance.now() - begin).toBeLessThan(11_000);
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, a guest has a temporary directory with a short name, and its build leaves the processor to servers",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1", {}, `node -p 'require("os").getPriority()' > built`);
    const built = `return require("fs").readFileSync("built", "utf8") - require("os").getPriority()`;
    expect(await world.tell("shop/v1", built)).toEqual({ value: 5 });
    const { value } = (await world.tell(
      "shop/v1",
      `require("fs").writeFileSync(process.env.TMPDIR + "/kept", ""); return process.env.TMPDIR`,
    )) as { value: string };
    expect(value === "/var/tmp").toBe(level === "sandbox");
    await access(join(world.root, ".signalbox/deployments/shop/v1/tmp/kept"));
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, what a guest leaves running is gone with it, and so are its files",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.guest("bank/v1");
    // A session of its own, no parent, no environment; and one that writes over its environment itself.
    await world.tell(
      "shop/v1",
      `const { spawnSync } = require("child_process");
    spawnSync("sh", ["-c", "env -i setsid sh -c 'sleep 4321 & sleep 4321 &' &"], { stdio: "ignore" });
    spawnSync("redis-server", ["--daemonize", "yes", "--port", "0", "--unixsocket", process.env.TMPDIR + "/redis"], { stdio: "ignore" });
    require("fs").writeFileSync("/tmp/left-by-a-guest-${process.pid}", "");`,
    );
    const left = await until("they are there", async () => {
      const found = await world.processesOf("shop/v1");
      return found.length >= 4 ? found : null;
    });
    await world.runner.json("DELETE", "/deployments/shop/v1");
    for (const pid of left)
      // One that has ended and waits for its new parent has no command line any more.
      expect(await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).toBe("");
    expect(await world.processesOf("shop/v1")).toEqual([]);
    await expect(access(join(world.root, ".signalbox/deployments/shop"))).rejects.toMatchObject({
      code: "ENOENT",
    });
    await expect(access(`/tmp/left-by-a-guest-${process.pid}`)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await world.tell("bank/v1", "return 'here'")).toEqual({ value: "here" });
  },
);

test.for(levels)(
  "in a %s of a runner that is %s, a guest is asked to end before it is ended, and its wrappers aren't",
  async ([level, as], context) => {
    const world = await World.open(context, level, as);
    await world.guest("shop/v1");
    await world.runner.json("POST", "/deployments/shop/v1/restart");
    const { port } = await world.runner.reaches("shop/v1", "running");
    world.ports.set("shop/v1", port ?? 0);
    expect(
      await world.tell("shop/v1", `return require("fs").readFileSync(process.env.HOME + "/ended", "utf8")`),
    ).toEqual({ value: "in order" });
  },
);

test.skipIf(!isRoot)(
  "without confinement a guest reads the runner's secret, which is why it is said",
  async (context) => {
    const world = await World.open(context, "none", "root");
    await world.guest("shop/v1");
    expect(JSON.stringify(await world.tell("shop/v1", ENVIRONMENTS))).toContain(SECRET);
    expect((await world.runner.status("shop/v1")).confinement).toMatchObject({
      level: "none",
      network: "shared",
    });
  },
);
