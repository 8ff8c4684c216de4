import type { DevServerState, ProjectView } from "../../functions/protocol/builds.ts";
import { waitUntilReady } from "../deployments/health-probe.ts";
import { type Server, startServer, StepFailure, type StepOptions } from "../deployments/steps.ts";
import { type LogFile, systemLine } from "../logs/log-file.ts";
import { isFree, type Ports } from "../ports.ts";
import { asRunnerError } from "../runner-error.ts";
import { type DevCommand, devCommandOf } from "./dev-command.ts";

/** A first compilation takes seconds; Next's first page up to a minute on a small machine. */
const READY_LIMIT_MS = 120_000;
/** Without visitors a server is stopped after this; the next visit starts it again. */
const IDLE_AFTER_MS = 30 * 60_000;
/** A visit starts a server that crashed only after this: until then its visitors see why. */
const CRASHED_FOR_MS = 10_000;

export interface DevServerOptions {
  /** Who holds its port and its processes. */
  owner: string;
  directory: string;
  ports: Ports;
  /** What its process is started with, but for command and environment. */
  step: (command: string, signal: AbortSignal) => Omit<StepOptions, "log">;
  log: () => Promise<LogFile>;
  readyLimitMs?: number;
  idleAfterMs?: number;
}

/** A project's development server: started on demand, stopped when nobody has come for a while. */
export class DevServer {
  readonly #options: DevServerOptions;
  #state: DevServerState = "stopped";
  #reason: string | null = null;
  #lastLines: readonly string[] = [];
  #port: number | null = null;
  #framework: string | null = null;
  #server: Server | null = null;
  #abort = new AbortController();
  #starting: Promise<DevCommand & { port: number }> | null = null;
  #visitedAt = performance.now();
  #crashedAt = -Infinity;
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

  /** The port to send visitors to, which counts as a visit; null while there is none. */
  visit(): number | null {
    this.#visitedAt = performance.now();
    return this.#state === "running" ? this.#port : null;
  }

  /** Whether a visit may start it. */
  get mayWake(): boolean {
    return performance.now() - this.#crashedAt >= CRASHED_FOR_MS;
  }

  /** Resolves when it answers. Throws {@link StepFailure} if it doesn't come up. */
  async ensure(): Promise<DevCommand & { port: number }> {
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = null;
      throw error;
    });
    return this.#starting;
  }

  async stop(): Promise<void> {
    this.#abort.abort(new StepFailure("The dev server was stopped", []));
    await this.#starting?.catch(() => undefined);
    await this.#end();
    this.#become("stopped", null);
  }

  async #start(): Promise<DevCommand & { port: number }> {
    const { directory, owner, ports, step, readyLimitMs = READY_LIMIT_MS } = this.#options;
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#visitedAt = performance.now();
    this.#become("starting", null);
    try {
      const found = await devCommandOf(directory);
      if (found === null) {
        throw new StepFailure(
          "The project has nothing to start: no dev or start script in package.json, and no index.html",
          [],
        );
      }
      let port = await ports.reserve(owner, { range: found.ports });
      if (!(await isFree(port))) port = await ports.reallocate(owner, found.ports);
      this.#port = port;
      this.#framework = found.framework;
      const log = await this.#options.log();
      await log.append([systemLine(`$ ${found.command}   (PORT=${port})`, "start")]);
      const options = step(found.command, signal);
      const server = await startServer({
        ...options,
        log,
        port,
        given: { ...options.given, PORT: String(port), HOST: "127.0.0.1" },
      });
      this.#server = server;
      const ready = waitUntilReady({
        port,
        healthPath: undefined,
        host: "local",
        publicHost: null,
        isForwarded: options.confinement.status.network === "own",
        limitMs: readyLimitMs,
        signal,
      });
      ready.catch(() => undefined);
      const first = await Promise.race([server.ended, ready]);
      signal.throwIfAborted();
      if (first instanceof StepFailure) throw first;
      if (first.state !== "ready") throw new StepFailure(first.reason, server.lastLines);
      this.#become("running", null);
      void server.exited.then(() => this.#crashed(server));
      this.#watchIdleness();
      return { ...found, port };
    } catch (error) {
      await this.#end();
      const failure =
        error instanceof StepFailure ? error : new StepFailure(asRunnerError(error).message, []);
      if (!signal.aborted) this.#become("crashed", failure.message, failure.lastLines);
      throw failure;
    }
  }

  #crashed(server: Server): void {
    if (this.#server !== server) return;
    this.#starting = null;
    this.#become("crashed", "The dev server ended by itself", server.lastLines);
    void this.#end();
  }

  async #end(): Promise<void> {
    clearInterval(this.#idleWatch);
    const server = this.#server;
    this.#server = null;
    this.#starting = null;
    await server?.stop();
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
      Math.min(idleAfterMs, 60_000),
    );
    this.#idleWatch.unref();
  }
}
