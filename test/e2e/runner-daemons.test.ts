import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { findHolders } from "../../runner/processes/directory-holders.ts";
import { cleanEnvironment } from "../../runner/processes/environment.ts";
import { HostedProcess } from "../../runner/processes/hosted-process.ts";
import { ProcessJournal } from "../../runner/processes/journal.ts";
import { noProcessGroups, type ProcessGroups } from "../../runner/processes/process-group.ts";
import { startTimeOf } from "../../runner/processes/process-table.ts";
import { Cgroups } from "../../runner/shares/cgroups.ts";
import { server, UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

let root: string;
let work: string;
let journal: ProcessJournal;
const started: number[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-daemons-"));
  work = join(root, "app", "work");
  await mkdir(work, { recursive: true });
  journal = await ProcessJournal.open(join(root, "journal"));
});
afterEach(async () => {
  for (const pid of started.splice(0)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, as it should.
    }
  }
  await rm(root, { recursive: true, force: true });
});

function start(command: string, groups: ProcessGroups): Promise<HostedProcess> {
  return HostedProcess.start({
    command,
    cwd: work,
    directory: join(root, "app"),
    groups,
    env: cleanEnvironment({ home: join(root, "home"), temporary: join(root, "tmp") }),
    owner: "test",
    journal,
    output: async (_stream, output) => {
      for await (const _ of output);
    },
    graceMs: 2_000,
  });
}

async function pidIn(file: string): Promise<number> {
  const pid = await until(`${file} has an id`, async () => {
    const text = await readFile(join(work, file), "utf8").catch(() => ""); // not yet
    return /^[1-9]\d*\n$/.test(text) && Number(text);
  });
  started.push(pid);
  return pid;
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  return port;
}

const has = (program: string): boolean => {
  try {
    execFileSync("/bin/sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

interface Daemon {
  name: string;
  needs: string;
  prepare?: (port: number) => Promise<void>;
  command: (port: number) => string;
}

const daemons: Daemon[] = [
  {
    name: "redis-server --daemonize",
    needs: "redis-server",
    command: (port) => `redis-server --daemonize yes --port ${port} --pidfile ${work}/pid --dir ${work}`,
  },
  {
    name: "nginx with its workers",
    needs: "nginx",
    prepare: (port) =>
      writeFile(
        join(work, "nginx.conf"),
        `pid ${work}/pid; error_log ${work}/error.log; events {} user root;
         http { access_log ${work}/access.log; server { listen 127.0.0.1:${port}; } }`,
      ),
    command: () => `nginx -p ${work} -c ${work}/nginx.conf`,
  },
  {
    name: "a process that forked twice in a session of its own with an empty environment",
    needs: "setsid",
    command: () =>
      `(setsid env -i /bin/sh -c '(trap "" TERM HUP; echo $$ > ppid; sh -c "echo \\$\\$ > pid; exec sleep 300") & exit 0' &) ; sleep 0.1`,
  },
];

const cgroups = await Cgroups.open(join(tmpdir(), `signalbox-test-${process.pid}`), {
  memoryBytes: null,
  processes: null,
});
afterAll(async () => {
  if (typeof cgroups !== "string") await cgroups.close();
});
const kinds: { name: string; groups: ProcessGroups | null; why: string }[] = [
  { name: "by what they hold", groups: noProcessGroups, why: "" },
  {
    name: "by cgroup",
    groups: typeof cgroups === "string" ? null : cgroups,
    why: typeof cgroups === "string" ? cgroups : "",
  },
];

describe.each(kinds)("daemons, found $name", ({ groups, why }) => {
  test.for(daemons)("$name ends with the command that started it", async (daemon, { skip }) => {
    if (groups === null) return skip(why);
    if (!has(daemon.needs)) return skip(`${daemon.needs} isn't installed`);
    const port = await freePort();
    await daemon.prepare?.(port);
    const hosted = await start(`${daemon.command(port)}; sleep 300`, groups);
    const pid = await pidIn("pid");
    expect(await startTimeOf(pid)).not.toBeNull();
    await until("its mark is gone", async () => {
      const environment = await readFile(`/proc/${pid}/environ`, "utf8");
      return !environment.includes("SIGNALBOX_PROCESS=");
    });
    await hosted.stop();
    expect(await startTimeOf(pid)).toBeNull();
    expect((await findHolders(join(root, "app"), null)).ours).toEqual([]);
    expect(await readdir(join(root, "journal"))).toEqual([]);
  });
});

test.for([true, false])(
  "a daemon of a deployment ends with the runner that was killed, and with the deployment (cgroups: %s)",
  async (withCgroups, { skip }) => {
    if (!has("redis-server")) return skip("redis-server isn't installed");
    const options = {
      root: join(root, "workspace"),
      // A sandbox's end is that of all in it.
      confinement: { level: "none" as const },
      cgroups: withCgroups,
      timing: { stopGraceMs: 300 },
    };
    let runner = await UnconnectedRunner.start(options);
    try {
      const sha256 = await runner.upload({ "server.mjs": server("response.end('up')") });
      const redis =
        "redis-server --daemonize yes --port 0 --unixsocket $PWD/socket --pidfile $PWD/pid --dir $PWD";
      await runner.put("shop/daemons", { source: { sha256 }, start: `${redis}; exec node server.mjs` });
      await runner.reaches("shop/daemons", "running");
      work = join(root, "workspace/.signalbox/deployments/shop/daemons/work");
      const first = await pidIn("pid");
      const begun = await startTimeOf(first);
      expect(begun).not.toBeNull();
      await runner.kill();
      expect(await startTimeOf(first)).toBe(begun);
      runner = await UnconnectedRunner.start(options);
      await runner.reaches("shop/daemons", "running");
      expect(await startTimeOf(first)).toBeNull();
      const second = await pidIn("pid");
      expect(second).not.toBe(first);
      expect(await runner.json("DELETE", "/deployments/shop/daemons")).toMatchObject({ status: 200 });
      expect(await startTimeOf(second)).toBeNull();
    } finally {
      await runner.stop();
    }
  },
);

describe("who isn't hosted is left alone", () => {
  const strangers: { name: string; needs: string; command: string; why: RegExp }[] = [
    {
      name: "an editor or a backup that somebody has started",
      needs: "sh",
      command: "echo $$ > pid; exec sleep 300 >> log",
      why: /isn't an orphan/,
    },
    {
      name: "a shell with a terminal",
      needs: "script",
      command: `script -qc 'echo $$ > pid; exec sleep 300' /dev/null > /dev/null`,
      why: /has a terminal/,
    },
    {
      name: "who only reads",
      needs: "sh",
      command: "echo $$ > pid; : > log; cd /; exec sleep 300 < $OLDPWD/log",
      why: /^$/,
    },
  ];

  test.for(strangers)("$name", async ({ needs, command, why }, { skip }) => {
    if (!has(needs)) return skip(`${needs} isn't installed`);
    const hosted = await start("sleep 300", noProcessGroups);
    const child = spawn("/bin/sh", ["-c", command], { cwd: work, detached: true, stdio: "ignore" });
    const pid = await pidIn("pid");
    started.push(child.pid ?? 0);
    await until("it is what it becomes", async () =>
      (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).startsWith("sleep"),
    );
    await hosted.stop();
    expect(await startTimeOf(pid)).not.toBeNull();
    const { ours, strangers: found } = await findHolders(join(root, "app"), null);
    expect(ours).toEqual([]);
    const said = found.filter((stranger) => stranger.pid === pid).map((stranger) => stranger.why);
    expect(said.join()).toMatch(why);
  });

  test("a process from before the command, and another user's", async ({ skip }) => {
    if (process.getuid?.() !== 0) return skip("this user can't start another user's process");
    await chmod(root, 0o755);
    // Both are orphans in a session of their own, as daemons are.
    const orphan = (file: string): string =>
      `(setsid sh -c 'cd ${work}; echo $$ > ${work}/${file}; exec sleep 300' > /dev/null 2>&1 &) `;
    spawn("/bin/sh", ["-c", orphan("before")], { stdio: "ignore" });
    const before = await pidIn("before");
    const hosted = await start("sleep 300", noProcessGroups);
    await chmod(work, 0o777);
    spawn("/bin/sh", ["-c", orphan("other")], { stdio: "ignore", uid: 65_534, gid: 65_534 });
    const other = await pidIn("other");
    await hosted.stop();
    for (const pid of [before, other]) expect(await startTimeOf(pid)).not.toBeNull();
  });
});
