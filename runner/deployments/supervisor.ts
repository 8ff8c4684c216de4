// Over 400 lines on purpose: one hosted deployment from its source to its end, whose steps share one state.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { HostedDeployment, HostedState } from "../../functions/protocol/runner-api.ts";
import { LogFile, type LogPage, systemLine } from "../logs/log-file.ts";
import type { Ports } from "../ports.ts";
import { isFree } from "../ports.ts";
import { asRunnerError, RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { installCommand } from "../packages/install-command.ts";
import type { ManagerStore } from "../packages/manager-store.ts";
import type { Confinement } from "../confinement/confinement.ts";
import { inheritedPath } from "../processes/environment.ts";
import { fits, installedNode, wantedNode } from "../packages/node-version.ts";
import type { ProcessJournal } from "../processes/journal.ts";
import type { SourceStore } from "../sources/source-store.ts";
import type { Disk } from "../workspaces/disk.ts";
import type { Trash } from "../workspaces/trash.ts";
import { bringManagers } from "./bring-managers.ts";
import { waitUntilReady } from "./health-probe.ts";
import { type DeploymentManifest, saveManifest } from "./manifest.ts";
import type { Slots } from "./slots.ts";
import { publicHostOf } from "./spec.ts";
import { runStep, startServer, StepFailure } from "./steps.ts";
import { backoffMs, type DeploymentTiming } from "./timing.ts";

/** Before it has ever been ready, a deployment that ends by itself is tried again so often, then it has failed. */
const FIRST_ATTEMPTS = 3;

/** What a supervisor needs of the runner around it. */
export interface SupervisorParts {
  readonly sources: SourceStore;
  readonly disk: Disk;
  readonly ports: Ports;
  readonly journal: ProcessJournal;
  readonly trash: Trash;
  readonly managers: ManagerStore;
  /** The directory with `signalbox-runner`, which this runner is. */
  readonly ownProgram: string;
  readonly confinement: Confinement;
  readonly slots: Slots;
  readonly timing: DeploymentTiming;
  /** Names of further variables of the runner that its processes get. */
  readonly inheritEnvironment: readonly string[];
  /** A deployment's state has changed. */
  onChange(): void;
}

/** Takes one hosted deployment from its source to a process that serves, and again after each crash. */
export class Supervisor {
  readonly key: string;
  readonly #parts: SupervisorParts;
  /** Belongs to this deployment alone: its manifest, `work`, `log` and `tmp`. */
  readonly #directory: string;
  readonly #log: LogFile;
  #manifest: DeploymentManifest;
  #life: Promise<void> = Promise.resolve();
  #restarts: Promise<void> = Promise.resolve();
  #saves: Promise<void> = Promise.resolve();
  #abort = new AbortController();
  #removal: Promise<void> | null = null;
  #isClosed = false;

  private constructor(parts: SupervisorParts, directory: string, manifest: DeploymentManifest, log: LogFile) {
    this.key = manifest.key;
    this.#parts = parts;
    this.#directory = directory;
    this.#manifest = manifest;
    this.#log = log;
  }

  static async open(
    parts: SupervisorParts,
    directory: string,
    manifest: DeploymentManifest,
  ): Promise<Supervisor> {
    return new Supervisor(parts, directory, manifest, await LogFile.open(join(directory, "log")));
  }

  get manifest(): Readonly<DeploymentManifest> {
    return this.#manifest;
  }

  /** Neither serving nor given up yet. */
  get isUnsettled(): boolean {
    const { state, wasReady } = this.#manifest;
    return state !== "running" && state !== "failed" && !(state === "starting" && wasReady);
  }

  /** Begins, or goes on where a killed runner left off. */
  start(): void {
    if (this.#isClosed || this.#manifest.state === "failed" || this.#manifest.state === "stopping") return;
    // Nothing of it runs now, whatever its state was when the last runner was killed.
    this.#manifest = { ...this.#manifest, state: this.#manifest.prepared ? "starting" : "unpacking" };
    this.#abort = new AbortController();
    this.#life = this.#live(this.#abort.signal);
  }

  status(): HostedDeployment {
    const { key, state, reason, lastLines, port, crashes, spec, createdAt, updatedAt } = this.#manifest;
    const [app = "", id = ""] = key.split("/");
    return {
      app,
      id,
      state,
      reason,
      lastLines,
      port,
      crashes,
      source: spec.source,
      confinement: this.#parts.confinement.status,
      logCursor: this.#log.cursor,
      createdAt,
      updatedAt,
    };
  }

  /** Lines from a cursor on; with a signal it waits for the first one until that aborts. */
  async logs(cursor: number, limit?: number, waiting?: AbortSignal): Promise<LogPage> {
    if (waiting) await this.#log.growth(cursor, waiting);
    return this.#log.read(cursor, limit);
  }

  /** Ends its process and starts it again; what had failed is tried again from the step that failed. */
  restart(): Promise<void> {
    // One after the other: two at once would each start a process.
    const restarted = this.#restarts.then(() => this.#restart());
    this.#restarts = restarted.catch(() => undefined); // whoever asked for it is told
    return restarted;
  }

  /** Ends its process and deletes everything of it. */
  remove(): Promise<void> {
    this.#removal ??= this.#remove().catch((error: unknown) => {
      this.#removal = null;
      throw error;
    });
    return this.#removal;
  }

  /** Ends its process for good; the manifest stays, so that the next runner goes on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#halt();
    await this.#restarts;
    await this.#log.close();
  }

  /** Deletes the tree of a failed deployment, which a restart unpacks again. */
  async evict(): Promise<void> {
    if (this.#manifest.state !== "failed") return;
    this.#manifest.prepared = false;
    await this.#save();
    await this.#discardWork();
  }

  get workDirectory(): string {
    return join(this.#directory, "work");
  }

  async #live(signal: AbortSignal): Promise<void> {
    try {
      if (!this.#manifest.prepared) await this.#parts.slots.run(signal, () => this.#prepare(signal));
      await this.#serve(signal);
    } catch (error) {
      if (signal.aborted) return;
      await this.#fail(error);
    } finally {
      if (!signal.aborted) this.#parts.ports.release(this.key);
    }
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const { spec } = this.#manifest;
    const { sources, disk, timing } = this.#parts;
    await this.#set("unpacking");
    await this.#discardWork();
    (await disk.reserve(0)).release();
    await this.#say("unpack", `Unpacking source ${spec.source.sha256}.`);
    await sources.unpack(spec.source.sha256, this.workDirectory, signal);
    await this.#checkNode();
    const install = spec.install ?? (await installCommand(this.workDirectory));
    const binaries = await this.#bringManagers([install ?? "", spec.build ?? "", spec.start], signal);
    if (install !== null) {
      await this.#set("installing");
      await this.#say("install", `$ ${install}`);
      const { NODE_ENV: _, ...env } = spec.env ?? {};
      await runStep({
        ...this.#step("install", install, signal),
        binaries,
        given: env,
        limitMs: timing.installLimitMs,
      });
    }
    if (spec.build !== undefined) {
      await this.#set("building");
      await this.#say("build", `$ ${spec.build}`);
      await runStep({
        ...this.#step("build", spec.build, signal),
        binaries,
        given: spec.env ?? {},
        limitMs: timing.buildLimitMs,
      });
    }
    this.#manifest.prepared = true;
    await this.#set("starting");
  }

  /** Says so where the source asks for another Node than its commands get; they run all the same. */
  async #checkNode(): Promise<void> {
    const wanted = await wantedNode(this.workDirectory);
    const path = inheritedPath();
    const version = wanted === null ? null : await installedNode(path);
    if (wanted === null || version === null || fits(wanted, version)) return;
    await this.#say(
      "unpack",
      `Warning: ${wanted.from} asks for Node ${wanted.range}, and this runner has ${version}.`,
    );
  }

  /** Keeps it running. Only returns by throwing: when it is told to stop, or has never become ready. */
  async #serve(signal: AbortSignal): Promise<never> {
    const { timing } = this.#parts;
    for (let failures = 0; ;) {
      const attempt: { readyAt: number | null } = { readyAt: null };
      let end: StepFailure;
      try {
        end = await this.#serveOnce(signal, attempt);
      } catch (error) {
        if (signal.aborted || !this.#manifest.wasReady) throw error;
        end = new StepFailure(asRunnerError(error).message, []);
      }
      signal.throwIfAborted();
      if (attempt.readyAt !== null && performance.now() - attempt.readyAt >= timing.stableMs) failures = 0;
      failures++;
      this.#manifest.crashes++;
      if (!this.#manifest.wasReady && failures >= FIRST_ATTEMPTS) throw end;
      const delayMs = backoffMs(failures, timing);
      const reason = `${end.message}; it starts again in ${(delayMs / 1_000).toFixed(1)} s.`;
      await this.#set("starting", { reason, lastLines: end.lastLines });
      await this.#say("start", reason);
      await sleep(delayMs, undefined, { signal });
    }
  }

  /** One process from its start to its end; returns why it ended. */
  async #serveOnce(signal: AbortSignal, attempt: { readyAt: number | null }): Promise<StepFailure> {
    const { timing } = this.#parts;
    const { spec } = this.#manifest;
    const binaries = await this.#bringManagers([spec.start], signal);
    const port = await this.#reservePort();
    await this.#say("start", `$ ${spec.start}   (PORT=${port})`);
    const server = await startServer({
      ...this.#step("start", spec.start, signal),
      binaries: [...binaries, this.#parts.ownProgram],
      given: { ...spec.env, PORT: String(port), HOST: "127.0.0.1" },
      port,
    });
    const probing = new AbortController();
    try {
      const readiness = waitUntilReady({
        port,
        healthPath: spec.healthPath,
        host: spec.host ?? "public",
        publicHost: publicHostOf(spec),
        limitMs: timing.healthLimitMs,
        signal: probing.signal,
      });
      readiness.catch(() => undefined);
      const first = await Promise.race([server.ended, readiness]);
      if (first instanceof StepFailure) return first;
      if (first.state !== "ready") {
        const failure = new StepFailure(first.reason, server.lastLines);
        if (!this.#manifest.wasReady) throw failure;
        return failure;
      }
      attempt.readyAt = performance.now();
      this.#manifest.wasReady = true;
      void server.exited.then(() => this.#leaveRunning()).catch(() => undefined); // `ended` rejects too
      await this.#set("running", { lastLines: [] });
      return await server.ended;
    } finally {
      probing.abort();
      await server.stop();
    }
  }

  /** At once, so that nobody is sent to a port where nothing listens while the rest is cleared away. */
  #leaveRunning(): void {
    if (this.#manifest.state === "running") this.#manifest = { ...this.#manifest, state: "starting" };
  }

  async #reservePort(): Promise<number> {
    const { ports } = this.#parts;
    const preferred = this.#manifest.port ?? undefined;
    let port = await ports.reserve(this.key, { preferred });
    // Somebody may have taken it between two starts.
    if (!(await isFree(port))) port = await ports.reallocate(this.key);
    if (port !== this.#manifest.port) {
      this.#manifest.port = port;
      await this.#set("starting", { reason: this.#manifest.reason, lastLines: this.#manifest.lastLines });
    }
    return port;
  }

  #step(step: string, command: string, signal: AbortSignal): Parameters<typeof startServer>[0] {
    const { journal, disk, timing, inheritEnvironment, confinement } = this.#parts;
    return {
      step,
      command,
      signal,
      journal,
      disk,
      owner: this.key,
      log: this.#log,
      work: this.workDirectory,
      // The app's deployments share it, and with it the package manager's cache.
      home: join(this.#directory, "..", ".home"),
      temporary: join(this.#directory, "tmp"),
      inherit: inheritEnvironment,
      graceMs: timing.stopGraceMs,
      diskCheckMs: timing.diskCheckMs,
      binaries: [],
      given: {},
      confinement,
      user: null,
      readable: [],
      port: null,
    };
  }

  #bringManagers(commands: readonly string[], signal: AbortSignal): Promise<string[]> {
    const { managers, timing } = this.#parts;
    const step = { ...this.#step("install", "", signal), limitMs: timing.installLimitMs };
    return bringManagers(managers, commands, step);
  }

  async #fail(error: unknown): Promise<void> {
    const failure = error instanceof StepFailure ? error : null;
    const told = failure ?? asRunnerError(error);
    if (told instanceof RunnerError && told.code === "internal") {
      complain(`deployment ${this.key}`, error);
    }
    try {
      await this.#say("start", `Failed: ${told.message}`);
      await this.#set("failed", { reason: told.message, lastLines: failure?.lastLines ?? [] });
      if (!this.#manifest.prepared) await this.#discardWork();
    } catch (second) {
      // The state on disk is older; a restarted runner fails the same way again.
      complain(`deployment ${this.key}: can't record its failure`, second);
    }
  }

  async #restart(): Promise<void> {
    this.#refuseStopping();
    await this.#halt();
    this.#refuseStopping();
    await this.#set(this.#manifest.prepared ? "starting" : "unpacking");
    this.start();
  }

  async #halt(): Promise<void> {
    this.#abort.abort(new RunnerError("deployment_stopping", "The deployment is being stopped."));
    await this.#life;
  }

  async #remove(): Promise<void> {
    await this.#set("stopping");
    await this.#halt();
    await this.#restarts;
    this.#parts.ports.release(this.key);
    await this.#log.close();
    await this.#parts.trash.discard(this.#directory);
    this.#parts.disk.touch(this.#directory);
  }

  /** The tree, whole or not, and what an interrupted unpacking left. */
  async #discardWork(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      if (name === "work" || name.startsWith("work.") || name === "tmp") {
        await this.#parts.trash.discard(join(this.#directory, name));
      }
    }
    this.#parts.disk.touch(this.#directory);
  }

  async #set(state: HostedState, more: { reason?: string | null; lastLines?: string[] } = {}): Promise<void> {
    const before = this.#manifest.state;
    // A removal ends in nothing but a removal.
    const next = before === "stopping" ? before : state;
    const updatedAt = new Date().toISOString();
    this.#manifest = { ...this.#manifest, reason: null, ...more, state: next, updatedAt };
    this.#parts.onChange();
    try {
      await this.#save();
    } catch (error) {
      // A successor begins from the older state on disk. Serving must go on, and so must removals: they make room.
      if (asRunnerError(error).code !== "disk_full") throw error;
      complain(`deployment ${this.key}: "${next}" isn't recorded: the disk is full`);
    }
  }

  /** In turn, and always the newest: a slow write must not put an older state in its place. */
  #save(): Promise<void> {
    const saved = this.#saves.then(() => saveManifest(this.#directory, this.#manifest));
    this.#saves = saved.catch(() => undefined); // whoever waits for it is told
    return saved;
  }

  #say(step: string, text: string): Promise<void> {
    return this.#log.append([systemLine(text, step)]);
  }

  #refuseStopping(): void {
    if (this.#manifest.state !== "stopping") return;
    throw new RunnerError("deployment_stopping", "The deployment is being removed.");
  }
}
