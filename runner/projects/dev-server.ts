import { setTimeout as sleep } from "node:timers/promises";
import type { DevServerState, ProjectView } from "../../functions/protocol/builds.ts";
import { waitUntilReady } from "../deployments/health-probe.ts";
import { type Server, startServer, StepFailure, type StepOptions } from "../deployments/steps.ts";
import { type LogFile, systemLine } from "../logs/log-file.ts";
import { isFree, type Ports } from "../ports.ts";
import type { Exit } from "../processes/hosted-process.ts";
import { listeningPorts, showsListeners } from "../processes/listeners.ts";
import { asRunnerError } from "../runner-error.ts";
import { type DevCommand, devCommandOf } from "./dev-command.ts";
import { portElsewhere } from "./port-elsewhere.ts";

/** A first compilation takes seconds; Next's first page up to a minute on a small machine. */
const READY_LIMIT_MS = 120_000;
/** Without visitors a server is stopped after this; the next visit starts it again. */
const IDLE_AFTER_MS = 30 * 60_000;
/** A visit starts a server that crashed only after this: until then its visitors see why. Doubles with each crash. */
const CRASHED_FOR_MS = 10_000;
const CRASHED_LIMIT_MS = 60_000;
/** A server that ran so long crashes for the first time. */
const STABLE_MS = 5 * 60_000;
/** How old the list of further ports may be. */
const PORTS_AGE_MS = 1_000;
/** Somebody else may take the port between the look and the start, but not each time. */
const STARTS_LIMIT = 3;
/** It has so long to say that somebody else has its port. */
const OWN_LOOKS = 20;
const OWN_LOOK_MS = 100;
/** What servers say when their port is taken. */
const PORT_TAKEN = /EADDRINUSE|already in use/i;

/** How to start it, where it isn't to be found out. */
export interface DevWish {
  command?: string;
  env?: Readonly<Record<string, string>>;
  preferredPort?: number;
}

export type DevServerEvent =
  | { type: "ready"; port: number; framework: string; command: string }
  | {
      type: "exited";
      exit: Exit;
      ranMs: number;
      state: "stopped" | "failed";
      reason: string | null;
      lastLines: readonly string[];
    }
  | { type: "failed"; reason: string; lastLines: readonly string[] };

export interface DevServerOptions {
  /** Who holds its port and its processes. */
  owner: string;
  directory: string;
  ports: Ports;
  /** What its process is started with, but for command and environment. */
  step: (command: string, signal: AbortSignal) => Omit<StepOptions, "log">;
  log: () => Promise<LogFile>;
  tell: (event: DevServerEvent) => void;
  /** Comes before each start. */
  prepare?: (signal: AbortSignal) => Promise<void>;
  readyLimitMs?: number;
  idleAfterMs?: number;
}

type Started = DevCommand & { port: number };

/** A project's development server: started on demand, stopped when nobody has come for a while. */
export class DevServer {
  readonly #options: DevServerOptions;
  #state: DevServerState = "stopped";
  #reason: string | null = null;
  #lastLines: readonly string[] = [];
  #port: number | null = null;
  /** Where it was before: whoever has its address should find it there again. */
  #formerPort: number | undefined;
  #framework: string | null = null;
  #command: string | null = null;
  #isForwarded = false;
  /** With the sockets that lead to them, where this machine's loopback doesn't. */
  #furtherPorts: ReadonlyMap<number, string | undefined> = new Map();
  #via: string | undefined;
  /** Of the machine, that a guest listens on for its ways out. */
  #foreignPorts: ReadonlySet<number> = new Set();
  #lookedAt = -Infinity;
  #wish: DevWish = {};
  #server: Server | null = null;
  #startedAt = 0;
  #abort = new AbortController();
  #starting: Promise<Started> | null = null;
  #visitedAt = performance.now();
  #crashedAt = -Infinity;
  #crashes = 0;
  #idleWatch: NodeJS.Timeout | undefined;

  constructor(options: DevServerOptions) {
    this.#options = options;
  }

  get view(): ProjectView["devServer"] {
    return {
      state: this.#state,
      port: this.#port,
      reason: this.#reason,
      lastLines: [...this.#lastLines],
    };
  }

  get framework(): string | null {
    return this.#framework;
  }

  /** What it was last started with. */
  get command(): string | null {
    return this.#command;
  }

  /** Somebody has come. */
  visited(): void {
    this.#visitedAt = performance.now();
  }

  /** The port to send visitors to; null while there is none. */
  get runningPort(): number | null {
    return this.#state === "running" ? this.#port : null;
  }

  /** The socket that leads to one of its ports, where this machine's loopback doesn't. */
  viaOf(port: number): string | undefined {
    return port === this.#port ? this.#via : this.#furtherPorts.get(port);
  }

  /** Another port, if the server or what it started listens on it; null also for one that was opened a moment ago. */
  furtherPort(port: number): number | null {
    if (this.#state !== "running" || this.#server === null) return null;
    if (port === this.#port) return port;
    void this.#lookForPorts(this.#server);
    return this.#furtherPorts.has(port) ? port : null;
  }

  /** Whether a visit may start it. */
  get mayWake(): boolean {
    const pauseMs = Math.min(CRASHED_LIMIT_MS, CRASHED_FOR_MS * 2 ** Math.max(0, this.#crashes - 1));
    return performance.now() - this.#crashedAt >= pauseMs;
  }

  /** What it is started with from now on; whether that is something else than before. */
  wish(wish: DevWish): boolean {
    const isNew = JSON.stringify(wish) !== JSON.stringify(this.#wish);
    this.#wish = wish;
    return isNew;
  }

  /** Whether it, or what it started, listens on a port. */
  async listensOn(port: number): Promise<boolean> {
    if (this.#server === null) return false;
    return port === this.#port || (await this.#portsOf(this.#server)).has(port);
  }

  /** Resolves when it answers. Throws {@link StepFailure} if it doesn't come up. */
  async ensure(): Promise<Started> {
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = null;
      this.#release();
      throw error;
    });
    return this.#starting;
  }

  /** Answers how it ended; null: it didn't run. */
  async stop(): Promise<{ exit: Exit; ranMs: number } | null> {
    this.#abort.abort(new StepFailure("The dev server was stopped", []));
    await this.#starting?.catch(() => undefined);
    const ended = await this.#end("stopped", null);
    this.#starting = null;
    this.#release();
    this.#become("stopped", null);
    return ended;
  }

  async #start(): Promise<Started> {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#visitedAt = performance.now();
    this.#become("starting", null);
    for (let starts = 1; ; starts++) {
      try {
        await this.#options.prepare?.(signal);
        return await this.#startOnce(signal);
      } catch (error) {
        const failure =
          error instanceof StepFailure ? error : new StepFailure(asRunnerError(error).message, []);
        const port = this.#port;
        await this.#end("failed", failure.message);
        if (signal.aborted) throw failure;
        if (starts < STARTS_LIMIT && port !== null && (await this.#lost(port, failure))) continue;
        this.#become("crashed", failure.message, failure.lastLines);
        this.#options.tell({ type: "failed", reason: failure.message, lastLines: failure.lastLines });
        throw failure;
      }
    }
  }

  async #startOnce(signal: AbortSignal): Promise<Started> {
    const { directory, owner, ports, step } = this.#options;
    const { command, env = {}, preferredPort = this.#formerPort } = this.#wish;
    const detected = await devCommandOf(directory, command);
    if (detected === null) {
      throw new StepFailure(
        "The project has nothing to start: no dev or start script in package.json, and no index.html",
        [],
      );
    }
    const preferred = preferredPort === undefined ? {} : { preferred: preferredPort };
    let port = await ports.reserve(owner, { range: detected.ports, ...preferred });
    if (!(await isFree(port))) port = await ports.reallocate(owner, detected.ports);
    this.#port = port;
    this.#framework = detected.framework;
    this.#command = detected.command;
    const log = await this.#options.log();
    await log.append([systemLine(`$ ${detected.command}   (PORT=${port})`, "start")]);
    const options = step(detected.command, signal);
    const server = await startServer({
      ...options,
      log,
      port,
      given: { ...options.given, ...env, PORT: String(port), HOST: "127.0.0.1" },
    });
    this.#isForwarded = options.confinement.status.network === "own";
    this.#foreignPorts = options.confinement.ports;
    this.#furtherPorts = new Map();
    this.#via = undefined;
    this.#lookedAt = -Infinity;
    this.#server = server;
    this.#startedAt = performance.now();
    port = await this.#ready(server, port, signal);
    this.#port = port;
    this.#formerPort = port;
    this.#become("running", null);
    void this.#lookForPorts(server);
    void server.exited.then((exit) => this.#crashed(server, exit));
    this.#watchIdleness();
    const { framework } = detected;
    this.#options.tell({ type: "ready", port, framework, command: detected.command });
    return { ...detected, port };
  }

  /** The port on which it answers, which may be another than it was told. */
  async #ready(server: Server, told: number, signal: AbortSignal): Promise<number> {
    const isForwarded = this.#isForwarded;
    const { owner, ports, readyLimitMs = READY_LIMIT_MS } = this.#options;
    const look = new AbortController();
    const looking = AbortSignal.any([signal, look.signal]);
    const probe = (port: number, limitMs: number, until: AbortSignal, via?: string) =>
      waitUntilReady({
        port,
        via,
        healthPath: undefined,
        host: "local",
        publicHost: null,
        isForwarded,
        limitMs,
        signal: until,
      });
    const ready = probe(told, readyLimitMs, looking);
    const elsewhere = portElsewhere(server.quarry, told, looking, () => this.#portsOf(server));
    for (const one of [ready, elsewhere]) one.catch(() => undefined); // one of them is enough
    try {
      const first = await Promise.race([server.ended, ready, elsewhere]);
      signal.throwIfAborted();
      if (first instanceof StepFailure) throw leftForeground(first);
      if (typeof first === "number") {
        this.#via = await server.reach(first);
        const there = await Promise.race([server.ended, probe(first, readyLimitMs, looking, this.#via)]);
        signal.throwIfAborted();
        if (there instanceof StepFailure) throw there;
        if (there.state !== "ready") throw new StepFailure(there.reason, server.lastLines);
        // In a network of its own the number is nobody else's.
        if (!isForwarded) ports.adopt(owner, first);
        return first;
      }
      if (first.state !== "ready") throw new StepFailure(first.reason, server.lastLines);
      const failure = await Promise.race([server.ended, this.#isAnsweredByOthers(server, told, looking)]);
      signal.throwIfAborted();
      if (failure !== null) throw failure;
      return told;
    } finally {
      look.abort();
    }
  }

  /** Somebody may have taken its port since it was found free, and answers in its place. */
  async #isAnsweredByOthers(server: Server, told: number, signal: AbortSignal): Promise<StepFailure | null> {
    if (this.#isForwarded || !showsListeners) return null;
    for (let looks = 0; looks < OWN_LOOKS; looks++) {
      if ((await listeningPorts(server.quarry)).has(told)) return null;
      await sleep(OWN_LOOK_MS, undefined, { signal });
    }
    return new StepFailure(portTaken(told), server.lastLines);
  }

  /** Whether it failed because somebody else had its port; if they still have it, it gets another one. */
  async #lost(port: number, failure: StepFailure): Promise<boolean> {
    const isTaken =
      failure.message === portTaken(port) || failure.lastLines.some((line) => PORT_TAKEN.test(line));
    if (!isTaken) return false;
    if (await isFree(port)) return true;
    const { owner, ports, directory } = this.#options;
    const detected = await devCommandOf(directory, this.#wish.command);
    if (detected === null) return false;
    this.#formerPort = undefined;
    const { preferredPort: _taken, ...rest } = this.#wish;
    this.#wish = rest;
    await ports.reallocate(owner, detected.ports);
    return true;
  }

  async #portsOf(server: Server): Promise<Set<number>> {
    const ports = await listeningPorts(server.quarry);
    return new Set([...ports].filter((port) => !this.#foreignPorts.has(port)));
  }

  async #lookForPorts(server: Server): Promise<void> {
    if (performance.now() - this.#lookedAt < PORTS_AGE_MS) return;
    this.#lookedAt = performance.now();
    const ports = await this.#portsOf(server);
    const ways = await Promise.all([...ports].map(async (port) => [port, await server.reach(port)] as const));
    if (this.#server === server) this.#furtherPorts = new Map(ways);
  }

  #crashed(server: Server, exit: Exit): void {
    if (this.#server !== server) return;
    if (performance.now() - this.#startedAt >= STABLE_MS) this.#crashes = 0;
    this.#crashes++;
    this.#starting = null;
    const reason = `The dev server ended by itself (${exit.signal ?? `code ${exit.code}`})`;
    this.#become("crashed", reason, server.lastLines);
    void this.#end("failed", reason).then(() => this.#release());
    this.#options.tell({ type: "failed", reason, lastLines: server.lastLines });
  }

  async #end(
    state: "stopped" | "failed",
    reason: string | null,
  ): Promise<{ exit: Exit; ranMs: number } | null> {
    clearInterval(this.#idleWatch);
    const server = this.#server;
    this.#server = null;
    if (server === null) return null;
    const startedAt = this.#startedAt;
    const exit = await server.stop();
    const ranMs = Math.round(performance.now() - startedAt);
    const { lastLines } = server;
    this.#options.tell({ type: "exited", exit, ranMs, state, reason, lastLines });
    return { exit, ranMs };
  }

  /** Unless another start has begun meanwhile. */
  #release(): void {
    if (this.#server !== null || this.#starting !== null) return;
    this.#options.ports.release(this.#options.owner);
    this.#port = null;
  }

  #become(state: DevServerState, reason: string | null, lastLines: readonly string[] = []): void {
    this.#state = state;
    this.#crashedAt = state === "crashed" ? performance.now() : -Infinity;
    this.#reason = reason;
    this.#lastLines = lastLines;
  }

  #watchIdleness(): void {
    const { idleAfterMs = IDLE_AFTER_MS, log } = this.#options;
    clearInterval(this.#idleWatch);
    this.#idleWatch = setInterval(
      () => {
        if (performance.now() - this.#visitedAt < idleAfterMs) return;
        const remark = "Nobody came for a while: the dev server stops, and starts again with the next visit.";
        void log().then((file) => file.append([systemLine(remark, "start")]));
        void this.stop();
      },
      Math.min(idleAfterMs / 2, 60_000),
    );
    this.#idleWatch.unref();
  }
}

function leftForeground(failure: StepFailure): StepFailure {
  if (!failure.message.endsWith("exited with code 0")) return failure;
  const message = `${failure.message}: a dev server must stay in the foreground`;
  return new StepFailure(message, failure.lastLines);
}

function portTaken(port: number): string {
  return `Another program answers on port ${port}`;
}
