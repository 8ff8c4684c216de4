import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findHolders } from "../../runner/processes/directory-holders.ts";
import { cleanEnvironment } from "../../runner/processes/environment.ts";
import { HostedProcess } from "../../runner/processes/hosted-process.ts";
import { ProcessJournal } from "../../runner/processes/journal.ts";
import { noProcessGroups, type ProcessGroups } from "../../runner/processes/process-group.ts";
import { startTimeOf } from "../../runner/processes/process-table.ts";
import { Cgroups } from "../../runner/shares/cgroups.ts";
import { until } from "../helpers/unconnected-runner.ts";

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
    expect(await readFile(`/proc/${pid}/environ`, "utf8")).not.toContain("SIGNALBOX_PROCESS=");
    await hosted.stop();
    expect(await startTimeOf(pid)).toBeNull();
    expect((await findHolders(join(root, "app"), null)).ours).toEqual([]);
    expect(await readdir(join(root, "journal"))).toEqual([]);
  });
});
