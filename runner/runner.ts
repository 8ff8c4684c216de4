import { mkdir, stat } from "node:fs/promises";
import { hostname, loadavg } from "node:os";
import {
  commandTypes,
  drainOf,
  type Command,
  type CommandType,
  type Fields,
} from "../functions/protocol/control.ts";
import { BUILD_EVENTS_MESSAGE, type BuildEventsMessage } from "../functions/protocol/builds.ts";
import { STOP_GRACE_MS } from "../functions/protocol/limits.ts";
import { SettingError, type RunnerConfig } from "./config.ts";
import { Commands, type CommandHandler } from "./connection/commands.ts";
import { Credential } from "./connection/credential.ts";
import {
  Connection,
  connectionTimings,
  type ConnectionState,
  type ConnectionTimings,
  type NewEvent,
} from "./connection/connection.ts";
import { HealthServer } from "./health.ts";
import { InternalApi } from "./internal-api.ts";
import { classOf, Counts, serviceLabels } from "./observability/counts.ts";
import { runnerMetricsText } from "./observability/runner-samples.ts";
import { RunnerTracing } from "./observability/tracing.ts";
import type { Reporter } from "./observability/sentry.ts";
import type { Log } from "./terminal/log.ts";
import { RUNNER_SERVICE } from "../functions/protocol/runner-api.ts";
import { noOverview, type Overview } from "./terminal/overview.ts";
import type { Services } from "./tunnel/services.ts";
import { Tunnel } from "./tunnel/tunnel.ts";
import { version } from "./version.ts";

/** A part of a runner: workspaces, builds, dev servers, deployments. Every member is optional. */
export interface RunnerPart extends Partial<Services> {
  readonly name: string;
  /** Before the runner connects. */
  start?(): Promise<void>;
  /** What its log says once it has started. */
  notes?(): string[];
  /** Units of work under way that a shutdown waits for. */
  busy?(): number;
  /** Takes no new work from now on, and checkpoints what can't be finished soon. */
  shutDown?(): void;
  /** Takes no new work while an operator drains the runner; what it has goes on. */
  setDrained?(isDrained: boolean): void;
  /** Ends everything, verified gone. */
  stop?(): Promise<void>;
  /** There is a connection to the hub. */
  connected?(): void;
  /** Takes a message of the hub's own; false if it isn't for this part. */
  hubMessage?(message: Command): boolean;
  /** For the terminal. */
  overview?(): Overview;
  /** Fields for `/health` and for heartbeats. */
  status?(): Fields;
  readonly commands?: Partial<Record<CommandType, CommandHandler>>;
}

export interface RunnerOptions {
  config: RunnerConfig;
  log: Log;
  reporter: Reporter;
  timings?: Partial<ConnectionTimings>;
  /** Told each secret that the runner gets later, for no log to show it. */
  onSecret?: (secret: string) => void;
}

/** How often a shutdown checks for unfinished work. */
const SHUTDOWN_POLL_MS = 50;

/** One runner: its connection, its tunnel, its parts, and their common life. */
export class Runner {
  readonly internalApi: InternalApi;
  readonly connection: Connection;
  readonly tunnel: Tunnel;
  readonly counts = new Counts();
  /** Null: no spans are made, and traceparent is passed on as it came. */
  readonly tracing: RunnerTracing | null;
  readonly #options: RunnerOptions;
  readonly #credential: Credential;
  readonly #commands: Commands;
  readonly #parts: RunnerPart[] = [];
  #health: HealthServer | undefined;
  /** SIGTERM came. */
  #isShuttingDown = false;
  /** By an operator. */
  #isDrained = false;
  /** The last refusal that was reported. */
  #refusal = "";

  constructor(options: RunnerOptions) {
    const { config, log } = options;
    this.#options = options;
    this.tracing = config.tracing === null ? null : new RunnerTracing(config.tracing, config.runnerId);
    this.internalApi = new InternalApi((error) => this.#failed("internal API", error));
    this.tunnel = new Tunnel({
      resolve: (service, isSocket) => this.#resolve(service, isSocket),
      begun: (port, head) => this.tracing?.begun(port, head) ?? head,
      ended: (port) => {
        const labels = [...serviceLabels(port.service), classOf(port.status)];
        this.counts.add("signalbox_runner_requests_total", labels);
        this.tracing?.ended(port);
      },
    });
    this.#commands = new Commands(
      (event) => this.send(event),
      (error, command) => this.#failed(command.type, error),
    );
    this.#credential = new Credential({ ...config, log, onSecret: options.onSecret ?? (() => undefined) });
    this.connection = new Connection({
      url: config.brokerUrl,
      runnerId: config.runnerId,
      credential: this.#credential,
      timings: { ...connectionTimings, heartbeatIntervalMs: config.heartbeatIntervalMs, ...options.timings },
      log,
      openStreams: (link) => this.tunnel.openConnection(link),
      command: (command) => this.#command(command),
      status: () => this.status(),
      stateChanged: (state) => this.#stateChanged(state),
    });
  }

  /** Adds something that this runner does. Before `start`. */
  attach(part: RunnerPart): void {
    this.#parts.push(part);
    for (const type of commandTypes) {
      const handler = part.commands?.[type];
      if (handler !== undefined) this.#commands.handle(type, handler);
    }
  }

  /** Tells the hub something, now or when there is a connection again. */
  send(event: NewEvent): void {
    this.connection.send(event);
  }

  /** False while there is no hub to send them to: a SentryVibe broker takes none. */
  sendBuildEvents(message: BuildEventsMessage): boolean {
    if (!this.connection.hasStreams) return false;
    this.connection.send({ type: BUILD_EVENTS_MESSAGE, ...message });
    return true;
  }

  /** Whether the other side is a SentryVibe broker. */
  get isBroker(): boolean {
    return this.connection.connected && !this.connection.hasStreams;
  }

  async start(): Promise<void> {
    const { config, log } = this.#options;
    await makeWorkspace(config.workspaceRoot, log);
    if (config.healthServer) await this.#listen();
    log.info(`[runner] workspace root: ${config.workspaceRoot}`);
    log.info(`[runner] api base url: ${config.apiBaseUrl}`);
    log.info(`[runner] runner id: ${config.runnerId}`);
    await this.internalApi.listen();
    this.#commands.handleByDefault("runner-health-check", (_, { answer }) => {
      answer({ type: "runner-status", payload: this.status() });
      return Promise.resolve();
    });
    for (const part of this.#parts) {
      await part.start?.();
      for (const note of part.notes?.() ?? []) log.info(`[runner] ${note}`);
    }
    await this.#credential.open();
    this.connection.start();
  }

  /** Lets running work finish, up to the drain timeout, and serves requests meanwhile. Call `stop` next. */
  async shutDown(): Promise<void> {
    const { config, log } = this.#options;
    this.#isShuttingDown = true;
    this.#commands.shutDown();
    for (const part of this.#parts) part.shutDown?.();
    this.connection.tell();
    const finished = await waitUntil(() => this.#busy() === 0, config.drainTimeoutMs);
    if (!finished) log.warn(`[runner] ${this.#busy()} pieces of work didn't finish in time`);
    this.tunnel.shutDown();
    await waitUntil(() => this.tunnel.requests === 0, Math.min(STOP_GRACE_MS, config.drainTimeoutMs));
  }

  /** Ends everything, in order, finished or not. */
  async stop(): Promise<void> {
    for (const part of this.#parts.toReversed()) {
      await part.stop?.().catch((error: unknown) => this.#failed(part.name, error));
    }
    await this.connection.stop("the runner stopped");
    this.tunnel.close();
    await this.internalApi.close();
    await this.#health?.close();
    await this.tracing?.flush();
  }

  /** What it hosts, for the terminal. */
  overview(): Overview {
    return this.#parts.reduce((all, part) => {
      const { deployments, projects } = part.overview?.() ?? noOverview;
      return {
        deployments: [...all.deployments, ...deployments],
        projects: [...all.projects, ...projects],
      };
    }, noOverview);
  }

  get isDraining(): boolean {
    return this.#isShuttingDown || this.#isDrained;
  }

  /** What heartbeats say. The first fields are what a SentryVibe broker's web app reads. */
  status(): Fields {
    return {
      status: this.#isShuttingDown || this.#isDrained ? "degraded" : "online",
      version,
      hostname: hostname(),
      platform: process.platform,
      labels: this.#options.config.labels,
      uptimeSeconds: Math.round(process.uptime()),
      load: loadavg()[0] ?? 0,
      draining: this.#isShuttingDown,
      drainRequested: this.#isDrained,
      busy: this.#busy(),
      streams: this.tunnel.openStreams(),
      ...this.#partStatus(),
    };
  }

  #command(command: Command): void {
    const draining = drainOf(command);
    if (draining === null) {
      if (!this.#parts.some((part) => part.hubMessage?.(command) ?? false))
        void this.#commands.dispatch(command);
      return;
    }
    this.#options.log.info(
      draining
        ? "[runner] an operator drains this runner: no new work"
        : "[runner] the operator lifted the drain",
    );
    this.#setDrained(draining);
    this.send({ type: "ack", commandId: command.id });
    this.connection.tell();
  }

  #setDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
    this.#commands.setDrained(isDrained);
    for (const part of this.#parts) part.setDrained?.(isDrained);
  }

  #busy(): number {
    return this.#parts.reduce((sum, part) => sum + (part.busy?.() ?? 0), this.#commands.running);
  }

  #partStatus(): Fields {
    return Object.assign({}, ...this.#parts.map((part) => part.status?.() ?? {}));
  }

  #resolve(service: string, isSocket: boolean) {
    if (service === RUNNER_SERVICE) return this.internalApi.target;
    for (const part of this.#parts) {
      const address = part.lookup?.(service, isSocket) ?? null;
      if (address !== null) return { address, headers: [] };
    }
    return null;
  }

  async #listen(): Promise<void> {
    const { config, log } = this.#options;
    this.#health = new HealthServer({
      port: config.healthPort,
      ...(config.serviceMode ? {} : { host: "127.0.0.1" }),
      runnerId: config.runnerId,
      workspaceRoot: config.workspaceRoot,
      connected: () => this.connection.connected,
      more: () => ({
        version,
        draining: this.#isShuttingDown,
        drainRequested: this.#isDrained,
        connection: this.connection.state,
        ...this.#partStatus(),
      }),
      metrics: () => this.#metrics(),
    });
    try {
      log.info(`✅ Health endpoint listening on port ${await this.#health.listen()}`);
    } catch (error) {
      throw new SettingError(`HEALTH_PORT ${config.healthPort} can't be listened on: ${codeOf(error)}.`);
    }
  }

  #metrics(): string {
    const { tunnel, connection } = this;
    return runnerMetricsText(this.counts, {
      isConnected: connection.connected,
      isDraining: this.isDraining,
      requests: tunnel.requests,
      webSockets: tunnel.webSockets,
      bytesIn: tunnel.bytesIn,
      bytesOut: tunnel.bytesOut,
      status: this.#partStatus(),
    });
  }

  /** Reports a refusal once, since a person must act on it. A lost connection heals by itself. */
  #stateChanged({ name, reason }: ConnectionState): void {
    this.counts.add("signalbox_runner_connection_changes_total", [name]);
    if (name === "online") {
      this.#refusal = "";
      // If an operator's drain still holds, the hub repeats it at once.
      this.#setDrained(false);
      for (const part of this.#parts) part.connected?.();
    }
    if ((name !== "refused" && name !== "replaced") || reason === this.#refusal) return;
    this.#refusal = reason;
    const error = new Error(`The connection was ${name}: ${reason}`);
    error.name = name === "refused" ? "ConnectionRefused" : "ConnectionReplaced";
    this.#options.reporter.report(error, { tags: { where: "connection" } });
  }

  #failed(where: string, error: unknown): void {
    const { log, reporter } = this.#options;
    log.error(
      `[runner] ${where} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    reporter.report(error, { tags: { where } });
  }
}

async function makeWorkspace(path: string, log: Log): Promise<void> {
  try {
    const existing = await stat(path).catch(() => null);
    if (existing?.isDirectory() === true) return;
    log.info(`📁 Creating workspace directory: ${path}`);
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw new SettingError(`WORKSPACE_ROOT ${path} can't be made: ${codeOf(error)}.`);
  }
}

async function waitUntil(reached: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!reached()) {
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => {
      setTimeout(resolve, SHUTDOWN_POLL_MS);
    });
  }
  return true;
}

function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return error instanceof Error ? error.message : String(error);
}
