import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { passOn } from "./clean-output.ts";
import { GuardedProcess } from "./guarded-process.ts";

/** The Worker's settings, as `wrangler.toml` and its secrets would give them. */
export type WorkerSettings = Record<string, string>;

export interface Workerd {
  port: number;
  pid: number;
  /** Where its inspector listens; 0 unless it was asked for. */
  inspectorPort: number;
  exited: Promise<number | null>;
  /** The Worker's log, where it was asked for as a pipe. */
  stdout: Readable | null;
  /** Fires the cron trigger, as Cloudflare would at that time. */
  runCron(at?: Date): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/**
 * Runs the built Worker in workerd itself, with its Durable Objects on disk. Settings reach it through files that only this
 * user can read and that are deleted once it has started: an environment can be read for as long as its process runs.
 */
export async function startWorkerd(options: {
  worker: string;
  /** Where Durable Objects keep their data. */
  stateDirectory: string;
  /** 0 takes a free port. */
  port: number;
  settings: WorkerSettings;
  stdout?: "inherit" | "pipe" | "ignore";
  /** Lets a debugger in, on a free port of this machine, which may collect garbage. */
  inspect?: boolean;
}): Promise<Workerd> {
  await mkdir(options.stateDirectory, { recursive: true });
  const directory = await mkdtemp(join(tmpdir(), "signalbox-"));
  const configFile = join(directory, "workerd.capnp");
  await writeFile(configFile, capnp(options, await compatibility()));
  await writeFile(join(directory, "cron.js"), CRON_WORKER);
  for (const [name, value] of Object.entries(options.settings))
    await writeFile(join(directory, settingFile(name)), value, { mode: 0o600 });
  const isPassedOn = (options.stdout ?? "inherit") === "inherit";
  const guarded = new GuardedProcess(
    workerdBinary(),
    [
      "serve",
      "--experimental",
      `--import-path=${dirname(options.worker)}`,
      "--control-fd=3",
      ...(options.inspect === true ? ["--inspector-addr=127.0.0.1:0"] : []),
      configFile,
    ],
    {
      // workerd takes what the settings name and nothing of this process's own secrets.
      env: { PATH: process.env["PATH"] ?? "", TZ: "UTC" },
      stdout: isPassedOn ? "pipe" : (options.stdout ?? "pipe"),
      controlPipe: true,
    },
  );
  if (isPassedOn) {
    passOn(guarded.child.stdout, process.stdout);
    passOn(guarded.child.stderr, process.stderr);
  }
  const control = guarded.child.stdio[3] as Readable;
  try {
    const sockets = ["http", "cron", ...(options.inspect === true ? [INSPECTOR] : [])];
    const ports = await listening(control, guarded.exited, sockets);
    const port = ports.get("http") ?? 0;
    const cronPort = ports.get("cron") ?? 0;
    return {
      port,
      pid: guarded.child.pid ?? 0,
      inspectorPort: ports.get(INSPECTOR) ?? 0,
      exited: guarded.exited,
      stdout: guarded.child.stdout,
      async runCron(at = new Date()) {
        const response = await fetch(`http://127.0.0.1:${cronPort}/?at=${at.getTime()}`, { method: "POST" });
        if (!response.ok) throw new Error(`The cron trigger failed: ${await response.text()}`);
      },
      stop: () => guarded.stop(),
      kill: () => guarded.kill(),
    };
  } catch (error) {
    await guarded.kill();
    throw error;
  } finally {
    // workerd has read its configuration by the time that it listens.
    await rm(directory, { recursive: true, force: true });
  }
}

function settingFile(name: string): string {
  return `setting-${name}`;
}

/** What workerd calls the event of its inspector's port. */
const INSPECTOR = "listen-inspector";

function workerdBinary(): string {
  const require = createRequire(import.meta.url);
  const found: unknown = require("workerd");
  if (
    typeof found === "object" &&
    found !== null &&
    "default" in found &&
    typeof found.default === "string"
  ) {
    return found.default;
  }
  throw new Error("The workerd package doesn't say where its binary is; run `npm ci` again.");
}

async function listening(
  control: Readable,
  exited: Promise<number | null>,
  sockets: string[],
): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  const ready = new Promise<Map<string, number>>((resolve) => {
    createInterface({ input: control }).on("line", (line) => {
      const event: unknown = JSON.parse(line);
      if (typeof event !== "object" || event === null || !("event" in event) || !("port" in event)) return;
      const name = "socket" in event ? String(event.socket) : String(event.event);
      ports.set(name, Number(event.port));
      if (sockets.every((socket) => ports.has(socket))) resolve(ports);
    });
  });
  const died = exited.then((code) => {
    throw new Error(`workerd ended with code ${code} before it listened. Is the port taken?`);
  });
  died.catch(() => undefined);
  return Promise.race([ready, died]);
}

/** Turns a request on a private socket into the cron trigger's event. */
const CRON_WORKER = `export default {
  async fetch(request, env) {
    const scheduledTime = new Date(Number(new URL(request.url).searchParams.get("at")));
    const result = await env.SIGNALBOX.scheduled({ cron: "* * * * *", scheduledTime });
    return new Response(result.outcome, { status: result.outcome === "ok" ? 200 : 500 });
  },
};`;

interface Compatibility {
  date: string;
  flags: string[];
}

/** What the Worker is deployed with: wrangler.toml is the one place that says so. */
async function compatibility(): Promise<Compatibility> {
  const text = await readFile(new URL("../../wrangler.toml", import.meta.url), "utf8");
  const date = /^compatibility_date = "(\d{4}-\d{2}-\d{2})"$/m.exec(text)?.[1];
  const flags = /^compatibility_flags = \[(.*)\]$/m.exec(text)?.[1];
  if (date === undefined || flags === undefined) {
    throw new Error("wrangler.toml must have compatibility_date and compatibility_flags, each in one line.");
  }
  return { date, flags: [...flags.matchAll(/"([^"]+)"/g)].map(([, flag = ""]) => flag) };
}

function capnp(
  options: {
    worker: string;
    stateDirectory: string;
    port: number;
    settings: WorkerSettings;
    inspect?: boolean;
  },
  { date, flags }: Compatibility,
): string {
  const text = (value: string): string => JSON.stringify(value);
  const settings = Object.keys(options.settings).map(
    (name) => `(name = ${text(name)}, text = embed ${text(settingFile(name))})`,
  );
  const objects = ["AppController", "EmbeddedStore", "RunnerHub", "PageHub", "ChangeHub"];
  const bindings = objects.map((name) => {
    const binding = name.replace(/(?!^)[A-Z]/g, "_$&").toUpperCase();
    return `(name = ${text(binding)}, durableObjectNamespace = ${text(name)})`;
  });
  const namespaces = objects.map(
    (name) => `(className = ${text(name)}, uniqueKey = ${text(`signalbox-${name}`)}, enableSql = true)`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (${options.inspect === true ? '\n  v8Flags = ["--expose-gc"],' : ""}
  services = [
    (name = "signalbox", worker = .signalbox),
    (name = "cron", worker = .cron),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    (name = "state", disk = (path = ${text(options.stateDirectory)}, writable = true)),
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:${options.port}", http = (), service = "signalbox"),
    (name = "cron", address = "127.0.0.1:0", http = (), service = "cron"),
  ],
);
const signalbox :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed ${text(`/${basename(options.worker)}`)})],
  compatibilityDate = ${text(date)},
  compatibilityFlags = [${flags.map(text).join(", ")}],
  bindings = [${[...bindings, ...settings].join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}],
  durableObjectStorage = (localDisk = "state"),
);
const cron :Workerd.Worker = (
  modules = [(name = "cron.js", esModule = embed "cron.js")],
  compatibilityDate = ${text(date)},
  compatibilityFlags = ["service_binding_extra_handlers"],
  bindings = [(name = "SIGNALBOX", service = "signalbox")],
);
`;
}
