import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { ControlClient } from "../../scripts/client/control-client.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { until } from "../helpers/stack.ts";

const homes: string[] = [];
const children: ChildProcess[] = [];

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(homes.map((home) => rm(home, { recursive: true, force: true })));
});

async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), "signalbox-home-"));
  homes.push(home);
  return home;
}

interface Started {
  child: ChildProcess;
  lines: string[];
  errors: () => string;
  /** Resolves with the address once the stack is ready; rejects when it ends before. */
  ready: Promise<string>;
  exited: Promise<number | null>;
}

function start(env: Record<string, string>): Started {
  const child = spawn(process.execPath, [join(projectRoot, "scripts/start.ts")], {
    cwd: tmpdir(),
    env: { PATH: process.env["PATH"] ?? "", PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const lines: string[] = [];
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const exited = once(child, "exit").then(([code]: unknown[]) => (typeof code === "number" ? code : null));
  const ready = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      const port = /^Signalbox is ready: http:\/\/signalbox\.localhost:(\d+)\/_signalbox\/$/.exec(line)?.[1];
      if (port !== undefined) resolve(`http://localhost:${port}`);
    });
    void exited.then((code) => reject(new Error(`ended with ${code}: ${errors}`)));
  });
  ready.catch(() => undefined);
  return { child, lines, errors: () => errors, ready, exited };
}

const local = z.object({ url: z.string(), controlToken: z.string(), runnerSharedSecret: z.string() });

async function readLocal(home: string): Promise<z.infer<typeof local>> {
  return local.parse(JSON.parse(await readFile(join(home, "local.json"), "utf8")));
}

/** The processes that mention a home or a child of the stack; the kernel's word, not ours. */
async function descendants(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => ""); // it has ended
  const own = children.trim().split(" ").filter(Boolean).map(Number);
  const below = await Promise.all(own.map(descendants));
  return [...own, ...below.flat()];
}

/** Whether a runner started it: it carries the runner's mark. */
async function isHosted(pid: number): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  return environment.includes("SIGNALBOX_PROCESS=");
}

/** A process that nobody has waited for yet is as gone as it can be. */
async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z");
  return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
}

async function living(pids: number[]): Promise<number[]> {
  return (await Promise.all(pids.map(async (pid) => ((await isAlive(pid)) ? [pid] : [])))).flat();
}

test.concurrent(
  "the stack starts with the example, ends with everything it started, and finds its state again",
  async () => {
    const home = await newHome();
    const first = start({ SIGNALBOX_HOME: home });
    const url = await first.ready;
    const settings = await readLocal(home);
    expect(settings.url).toBe(url);
    expect((await stat(join(home, "local.json"))).mode & 0o777).toBe(0o600);
    expect(await (await fetch(`${url}/_signalbox/healthz`)).json()).toEqual({ ok: true });
    const elsewhere = await fetch(`${url}/_signalbox/`);
    expect(elsewhere.status).toBe(404);
    const dashboard = elsewhere.headers.get("link")?.match(/^<(.*)>; rel="alternate"$/)?.[1] ?? "";
    expect(first.lines).toContain(`Signalbox is ready: ${dashboard}`);
    const page = await fetch(`${url}/`);
    expect(page.headers.get("x-pulse-selected-deployment")).toBe("v1");
    expect(await page.text()).toContain('<span id="version">v1</span>');
    const control = new ControlClient(url, settings.controlToken);
    await control.call("PUT", "/apps/kept", { hosts: ["kept.test"] });

    const started = await descendants(first.child.pid ?? 0);
    expect(started.length).toBeGreaterThan(1);
    first.child.kill("SIGINT");
    expect(await first.exited).toBe(0);
    await until(
      () => living(started),
      (left) => left.length === 0,
    );

    const second = start({ SIGNALBOX_HOME: home });
    const again = await second.ready;
    expect((await readLocal(home)).controlToken).toBe(settings.controlToken);
    expect(await new ControlClient(again, settings.controlToken).call("GET", "/apps/kept")).toMatchObject({
      version: 1,
    });
    expect(await (await fetch(`${again}/`)).text()).toContain('<span id="version">v1</span>');

    const third = start({ SIGNALBOX_HOME: home });
    expect(await third.exited).toBe(1);
    expect(third.errors()).toContain("is in use by the stack with process id");

    const left = await descendants(second.child.pid ?? 0);
    const hosted = (await Promise.all(left.map(async (pid) => ((await isHosted(pid)) ? [pid] : [])))).flat();
    expect(hosted.length).toBeGreaterThan(0);
    second.child.kill("SIGKILL");
    await until(
      () => living(left.filter((pid) => !hosted.includes(pid))),
      (pids) => pids.length === 0,
    );
    const fourth = start({ SIGNALBOX_HOME: home });
    expect(await (await fetch(`${await fourth.ready}/`)).text()).toContain('<span id="version">v1</span>');
    // What a killed runner hosted can only be ended by its successor.
    expect(await living(hosted)).toEqual([]);
    fourth.child.kill("SIGTERM");
    expect(await fourth.exited).toBe(0);
  },
);

test.concurrent("without the example it serves no app, and says how to deploy one", async () => {
  const stack = start({ SIGNALBOX_HOME: await newHome(), SIGNALBOX_DEMO: "0" });
  const response = await fetch(await stack.ready);
  expect(response.status).toBe(404);
  expect(await response.text()).toContain("PUT /_signalbox/api/v1/apps/NAME");
  stack.child.kill("SIGINT");
  expect(await stack.exited).toBe(0);
});

test.concurrent("the cron trigger fires on the minute", async () => {
  const home = await newHome();
  const stack = start({ SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0" });
  const control = new ControlClient(await stack.ready, (await readLocal(home)).controlToken);
  expect(await control.call("GET", "/janitor/last")).toEqual({ report: null, stale: true });
  const last = await until(
    async () => JSON.stringify(await control.call("GET", "/janitor/last")),
    (report) => report.includes('"completed"'),
    75_000,
  );
  expect(last).toContain('"stale":false');
  stack.child.kill("SIGINT");
  await stack.exited;
});

const mistakes: [string, Record<string, string>, string][] = [
  ["a port that isn't one", { PORT: "80a" }, "PORT must be"],
  ["a flag that isn't one", { SIGNALBOX_DEMO: "yes" }, "SIGNALBOX_DEMO must be 0 or 1"],
  [
    "half of Upstash's settings",
    { UPSTASH_REDIS_REST_URL: "https://x.example" },
    "UPSTASH_REDIS_REST_TOKEN is missing",
  ],
  ["a secret that is too short", { CONTROL_TOKEN: "short" }, "CONTROL_TOKEN must have at least 16"],
];
test.concurrent.each(mistakes)("%s stops the start, naming the setting", async (_name, env, message) => {
  const stack = start({ SIGNALBOX_HOME: await newHome(), ...env });
  expect(await stack.exited).toBe(1);
  expect(stack.errors()).toContain(message);
  expect(stack.errors()).not.toContain("    at ");
});

test.concurrent("a port that is taken stops the start, and leaves nothing running", async () => {
  const squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const address = squatter.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const stack = start({ SIGNALBOX_HOME: await newHome(), PORT: String(port) });
  expect(await stack.exited).toBe(1);
  expect(stack.errors()).toContain("Is the port taken?");
  squatter.close();
});
