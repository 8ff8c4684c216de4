// Over 400 lines on purpose: a project is where builds, dev server, files, git and variables meet; each has a file of its own.

import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  IMPORT_AGENT,
  type BuildView,
  type ProjectView,
  type UndoView,
} from "../../functions/protocol/builds.ts";
import { AgentSession, type AgentTold } from "../builds/agent-session.ts";
import type { AgentCommand, Agents } from "../builds/agents.ts";
import type { Gateway, Passage } from "../builds/gateway.ts";
import type { BuildLimits, OwnLimits } from "../builds/limits.ts";
import { summaryOf } from "../builds/summary.ts";
import type { Belongings } from "../../functions/protocol/workspace-api.ts";
import { Build, type BuildSession, type BuildWork } from "../builds/build.ts";
import { EventLog } from "../builds/event-log.ts";
import type { Outbox } from "../builds/outbox.ts";
import type { Confinement } from "../confinement/confinement.ts";
import { bringManagers } from "../deployments/bring-managers.ts";
import { runCollected, runStep, startPiped, type StepOptions } from "../deployments/steps.ts";
import type { DeploymentTiming } from "../deployments/timing.ts";
import { type LogPage, systemLine } from "../logs/log-file.ts";
import type { ProjectLogs } from "../logs/project-logs.ts";
import type { GitSettings } from "../git/remote.ts";
import { installCommand } from "../packages/install-command.ts";
import { hasOwnRegistry } from "../package-cache/own-registry.ts";
import type { PackageCache } from "../package-cache/package-cache.ts";
import type { ManagerStore } from "../packages/manager-store.ts";
import type { Ports } from "../ports.ts";
import type { ProcessJournal } from "../processes/journal.ts";
import { RunnerError } from "../runner-error.ts";
import type { SourceStore } from "../sources/source-store.ts";
import type { Shares } from "../shares/shares.ts";
import type { Disk } from "../workspaces/disk.ts";
import type { Trash } from "../workspaces/trash.ts";
import type { Workspaces } from "../workspaces/workspaces.ts";
import { devCommandOf } from "./dev-command.ts";
import { EnvStore } from "./env-store.ts";
import { DevServer, type DevServerEvent } from "./dev-server.ts";
import { buildFile, projectFile, type ProjectManifest } from "./manifest.ts";
import { ImportSession } from "./import-session.ts";
import { Mask } from "./mask.ts";
import { type ChangedSince, ProjectCheckpoints } from "./project-checkpoints.ts";
import { ProjectFiles } from "./project-files.ts";
import { ProjectGit, type RunGuest } from "./project-git.ts";
import { ProjectHold } from "./project-hold.ts";
import { ProjectImages } from "./project-images.ts";

/** What a project needs of the runner around it. */
export interface ProjectParts {
  readonly workspaces: Workspaces;
  readonly disk: Disk;
  readonly ports: Ports;
  readonly journal: ProcessJournal;
  readonly trash: Trash;
  readonly logs: ProjectLogs;
  readonly managers: ManagerStore;
  /** Null: package managers go to the registry by themselves. */
  readonly packages: PackageCache | null;
  readonly confinement: Confinement;
  /** The directory with `signalbox-runner`, which this runner is. */
  readonly ownProgram: string;
  readonly shares: Shares;
  readonly timing: DeploymentTiming;
  readonly inheritEnvironment: readonly string[];
  readonly agents: Agents;
  readonly outbox: Outbox;
  readonly sources: SourceStore;
  readonly git: GitSettings;
  /** The runner's own, which are masked in all that projects show. */
  readonly secrets: readonly string[];
  readonly gateway: Gateway;
  readonly buildLimits: BuildLimits;
  readonly devServerIdleMs?: number;
  /** Hears of each project's dev server. */
  readonly serverEvent: (slug: string, event: DevServerEvent) => void;
}

/** A prompt as it was asked for. */
export interface AskedBuild {
  id: string;
  prompt: string;
  agent: string | null;
  limits?: OwnLimits | undefined;
  /** SHA-256 of images that were uploaded before. */
  images?: readonly string[] | undefined;
}

/** Builds that a project remembers; the oldest are forgotten first. */
const BUILDS_KEPT = 50;
/** A clone of a large repository takes minutes. */
const REFILL_LIMIT_MS = 10 * 60_000;
/** Prompts that wait for their turn. */
const QUEUE_LIMIT = 20;

/** A project: a workspace, its builds one after the other, and its dev server. */
export class Project implements BuildWork {
  readonly project: string;
  /** The workspace. */
  readonly directory: string;
  readonly devServer: DevServer;
  readonly env: EnvStore;
  #git: ProjectGit | null = null;
  readonly files: ProjectFiles;
  readonly mask: Mask;
  readonly checkpoints: ProjectCheckpoints;
  readonly images: ProjectImages;
  readonly #hold: ProjectHold;
  readonly #parts: ProjectParts;
  /** What the runner keeps of it: manifest, builds, home, temporary files. */
  readonly #own: string;
  #manifest: ProjectManifest;
  readonly #builds = new Map<string, Build>();
  #turn: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** What is deleted while it is idle; a dev server waits for that. */
  #tidying: Promise<unknown> = Promise.resolve();
  /** Of what was installed last: an install that would change nothing is left out. */
  #installed = "";

  private constructor(
    parts: ProjectParts,
    own: string,
    directory: string,
    manifest: ProjectManifest,
    env: EnvStore,
    mask: Mask,
  ) {
    this.project = manifest.slug;
    this.directory = directory;
    this.env = env;
    this.files = new ProjectFiles(directory, parts);
    this.mask = mask;
    this.images = new ProjectImages(join(own, "images"), parts.disk);
    this.#hold = new ProjectHold(manifest.slug);
    this.checkpoints = new ProjectCheckpoints({
      directory: join(own, "checkpoints"),
      workspace: directory,
      project: manifest.slug,
      builds: () => [...this.#builds.values()],
      user: () => this.#manifest.user,
    });
    this.#parts = parts;
    this.#own = own;
    this.#manifest = manifest;
    this.devServer = new DevServer({
      owner: this.#owner,
      directory,
      ports: parts.ports,
      step: (command, signal) => this.#stepBase("start", command, signal),
      log: () => parts.logs.open(manifest.slug),
      ...(parts.devServerIdleMs === undefined ? {} : { idleAfterMs: parts.devServerIdleMs }),
      tell: (event) => parts.serverEvent(manifest.slug, event),
      prepare: (signal) => this.#prepare(signal),
    });
  }

  /** Goes on with what waited when the runner ended; what ran is interrupted. */
  static async open(parts: ProjectParts, own: string, manifest: ProjectManifest): Promise<Project> {
    const directory = await parts.workspaces.enterOrMake(manifest.slug);
    const mask = new Mask();
    mask.add([...parts.secrets, ...parts.agents.secrets]);
    await parts.logs.maskWith(manifest.slug, mask);
    const env = await EnvStore.open(join(own, "env.json"), mask);
    const project: Project = new Project(parts, own, directory, manifest, env, mask);
    project.#git = await ProjectGit.open({
      own,
      temporary: join(own, "tmp"),
      settings: parts.git,
      inherit: parts.inheritEnvironment,
      journal: parts.journal,
      owner: project.#owner,
      env,
      mask,
      guest: (command, given, limits) => project.#runGuest(command, given, limits),
    });
    await project.#admit();
    await mkdir(join(own, "builds"), { recursive: true, mode: 0o700 });
    for (const id of await readdir(join(own, "builds"))) await project.#resume(id);
    return project;
  }

  get git(): ProjectGit {
    if (this.#git === null) throw new Error("The project isn't open yet.");
    return this.#git;
  }

  get creation(): string | null {
    return this.#manifest.creation;
  }

  get view(): ProjectView {
    const { slug, name, agent, framework, createdAt } = this.#manifest;
    const builds = [...this.#builds.values()].map((build) => this.shown(build));
    const { reason, lastLines, ...devServer } = this.devServer.view;
    return {
      slug,
      name,
      agent,
      framework: this.devServer.framework ?? framework,
      createdAt,
      devServer: { ...devServer, ...this.mask.value({ reason, lastLines }) },
      builds: builds.sort((one, other) => one.createdAt.localeCompare(other.createdAt)),
    };
  }

  /** A build as it is told: nobody else knows of its secrets. */
  shown({ view }: Build): BuildView {
    const { reason, prompt } = view;
    return { ...view, ...this.mask.value({ reason, prompt }) };
  }

  /** Waits for its first line where there is a signal. */
  async readLog(cursor: number, limit: number, waiting?: AbortSignal): Promise<LogPage> {
    const log = await this.#parts.logs.open(this.project);
    if (waiting !== undefined) await log.growth(cursor, waiting);
    return log.read(cursor, limit);
  }

  get isBusy(): boolean {
    return [...this.#builds.values()].some((build) => !build.isOver);
  }

  /** Why nothing of it may be deleted behind its back. */
  get inUse(): string | null {
    if (this.isBusy) return "a build runs or waits";
    const { state } = this.devServer.view;
    if (state === "running" || state === "starting") return "its dev server runs";
    return this.#hold.reason;
  }

  /** Deletes caches while nothing of it runs; false: something does. What begins meanwhile waits. */
  deleteCaches(paths: readonly string[]): Promise<boolean> {
    return this.#whileIdle(async () => {
      await this.#lacks("packages");
      for (const path of paths) await this.#parts.trash.discard(path);
    });
  }

  /** Deletes its files while nothing of it runs. The next build or start clones its remote. */
  deleteFiles(): Promise<boolean> {
    return this.#whileIdle(async () => {
      const { remote, branch } = this.git.remote;
      if (remote === null) return;
      await this.#hold.hold();
      try {
        this.#manifest = { ...this.#manifest, source: { url: remote, branch } };
        await this.#lacks("files");
        for (const name of await readdir(this.directory))
          await this.#parts.trash.discard(join(this.directory, name));
      } finally {
        this.#hold.release();
      }
    });
  }

  /** The disk was short of room. */
  evicted(): void {
    void this.#lacks("packages");
  }

  /** Accepts a prompt, or answers the build of the same id. Errors: `invalid_request`, `too_many_builds`, `disk_full`. */
  async addBuild(asked: AskedBuild): Promise<Build> {
    const { id, prompt, agent: agentName, limits = {}, images = [] } = asked;
    const known = this.#builds.get(id);
    if (known !== undefined) return known;
    const { agents, disk } = this.#parts;
    const agent = agentName ?? this.#manifest.agent;
    if (agent !== IMPORT_AGENT) agents.require(agent);
    if ([...this.#builds.values()].filter((build) => !build.isOver).length >= QUEUE_LIMIT) {
      throw new RunnerError("too_many_builds", `${QUEUE_LIMIT} builds of this project wait already.`);
    }
    (await disk.reserve(0)).release();
    const place = join(this.#own, "builds", id);
    const copies = await this.images.copyTo(place, images);
    const now = new Date().toISOString();
    const manifest = {
      schema: 1,
      id,
      prompt,
      agent,
      state: "queued",
      reason: null,
      repairs: 0,
      before: null,
      after: null,
      undone: false,
      limits,
      images: copies,
      createdAt: now,
      updatedAt: now,
    } as const;
    await buildFile.save(place, manifest);
    const build = new Build(this, place, manifest, await this.#eventsOf(id, place));
    this.#builds.set(id, build);
    await build.accepted();
    this.#queue(build);
    await this.#forgetOldest();
    return build;
  }

  /** Errors: `build_not_found`. */
  build(id: string): Build {
    const build = this.#builds.get(id);
    if (build !== undefined) return build;
    throw new RunnerError("build_not_found", `Project ${this.project} has no build ${id} on this runner.`);
  }

  /** After the builds before it. Errors: as {@link ProjectCheckpoints.undo}. */
  undo(build: string | null, changed: ChangedSince): Promise<UndoView> {
    const undone = this.#turn.then(() => this.checkpoints.undo(build, changed));
    this.#turn = undone.then(
      () => undefined,
      () => undefined, // who asked for it is told
    );
    return undone;
  }

  /** Ends everything of it; what is on disk stays. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.git.close();
    await this.devServer.stop();
    for (const build of this.#builds.values()) await build.halt();
    await this.#turn;
  }

  /** Ends everything of it, for a project of another slug to go on with. Answers what it is. Errors: `project_busy`. */
  async leave(): Promise<ProjectManifest> {
    await this.#holdIdle();
    await this.close();
    for (const id of this.#builds.keys()) this.#parts.outbox.remove(id);
    await this.#parts.logs.closeOne(this.project);
    await this.#parts.confinement.dismiss(this.#owner);
    return this.#manifest;
  }

  /** Ends and deletes everything of it but its files, where they are to be kept. Answers where they are then. */
  async remove(keepsFiles = false): Promise<string | null> {
    this.#isClosed = true;
    const { trash, logs, workspaces, outbox } = this.#parts;
    // What comes late would write into what is being deleted.
    const held = this.#hold.hold().catch(() => undefined); // the deletion goes on all the same
    await this.git.close();
    await held;
    for (const build of this.#builds.values()) await build.cancel("the project's deletion");
    await this.#turn;
    await this.devServer.stop();
    for (const id of this.#builds.keys()) outbox.remove(id);
    await logs.closeOne(this.project);
    await trash.discard(logs.directory(this.project));
    const kept = keepsFiles ? await workspaces.setAside(this.project) : null;
    if (kept === null) await workspaces.remove(this.project);
    // Its user's number will be another guest's.
    else await this.#parts.confinement.give(kept, runnersOwn(), "guest");
    await this.#parts.confinement.dismiss(this.#owner);
    // The manifest goes last: until then a restarted runner knows that there is something to delete.
    await trash.discard(this.#own);
    return kept;
  }

  // What a build does besides asking its agent.

  async openSession(
    agent: string,
    told: AgentTold,
    aside: (line: string) => void,
    signal: AbortSignal,
  ): Promise<BuildSession> {
    if (agent === IMPORT_AGENT) return this.#importSession(told, signal);
    await this.#refill(signal);
    const known = this.#parts.agents.require(agent);
    const step = await this.#step("agent", known.command, new AbortController().signal);
    const passage = this.#passageOf(known);
    if (passage !== null) this.mask.add([passage.token]);
    const beside = (said: string): void => {
      const at = new Date().toISOString();
      const lines = said.trimEnd().split("\n");
      void step.log.append(lines.map((text) => ({ at, stream: "stderr", text, step: "agent" })));
      aside(said);
    };
    const session = await AgentSession.open({
      agent,
      directory: this.directory,
      resume: this.#manifest.sessions[agent] ?? null,
      mode: known.mode,
      meta: known.meta,
      offersFiles: known.offersFiles,
      told,
      aside: beside,
      signal,
      run: (command, output) => startPiped({ ...step, command }, output),
      start: (output) =>
        startPiped(
          {
            ...step,
            inherit: [...step.inherit, ...known.inherit],
            given: { ...step.given, ...givenTo(known, passage) },
            usesGateway: passage !== null,
          },
          output,
        ),
      ended: () => passage?.revoke(),
    }).catch((error: unknown) => {
      passage?.revoke();
      throw error;
    });
    this.#manifest = { ...this.#manifest, sessions: { ...this.#manifest.sessions, [agent]: session.id } };
    await projectFile.save(this.#own, this.#manifest);
    return session;
  }

  checkpoint(): Promise<number | null> {
    return this.checkpoints.take();
  }

  changed(from: number, to: number): Promise<string[]> {
    return this.checkpoints.changed(from, to);
  }

  get limits(): BuildLimits {
    return this.#parts.buildLimits;
  }

  costBefore(agent: string): number {
    return this.#manifest.costs[agent] ?? 0;
  }

  costs(agent: string, amount: number): void {
    this.#manifest = { ...this.#manifest, costs: { ...this.#manifest.costs, [agent]: amount } };
  }

  /** Of what the last builds did. */
  async summary(id: string): Promise<string | null> {
    const before = [...this.#builds.values()].filter((build) => build.id !== id && build.isOver);
    return summaryOf(before.map(({ view, events }) => ({ view, events: events.after(0, Infinity) })));
  }

  canRepair(agent: string): boolean {
    return this.#parts.agents.find(agent)?.canRepair ?? false;
  }

  async #importSession(told: AgentTold, signal: AbortSignal): Promise<ImportSession> {
    const { sources, trash, confinement } = this.#parts;
    const { source, user } = this.#manifest;
    return new ImportSession({
      source,
      directory: this.directory,
      partial: join(this.#own, "import"),
      git: this.git,
      sources,
      trash,
      give: (path) => confinement.give(path, user, "guest"),
      told,
      signal,
    });
  }

  /** Whatever changes it. Errors: `project_busy` while it is held. */
  change<T>(work: () => Promise<T>): Promise<T> {
    return this.#hold.change(work);
  }

  /** Errors: `project_busy`. */
  refuseHeld(): void {
    this.#hold.refuse();
  }

  /** Ends the dev server, and lets nothing begin until it is let go. Errors: `project_busy`. */
  async hold(held: boolean): Promise<Belongings> {
    if (held) await this.#holdIdle();
    else this.#hold.release();
    const { name, agent } = this.#manifest;
    return { name, agent, variables: this.env.all, git: this.git.remote };
  }

  async #holdIdle(): Promise<void> {
    const refuseBusy = (): void => {
      if (!this.isBusy) return;
      throw new RunnerError(
        "project_busy",
        `A build of ${this.project} is under way: wait for it, or cancel it.`,
      );
    };
    refuseBusy();
    await this.#hold.hold();
    try {
      // One may have been accepted on the way.
      refuseBusy();
      await this.devServer.stop();
    } catch (error) {
      this.#hold.release();
      throw error;
    }
  }

  /** Fills it with its source without a build. */
  async fill(signal: AbortSignal): Promise<void> {
    const told: AgentTold = {
      fact: () => undefined,
      permission: () => Promise.resolve(null),
      question: () => Promise.resolve(null),
      heard: () => undefined,
    };
    await (await this.#importSession(told, signal)).prompt();
    this.#manifest = { ...this.#manifest, source: null };
    await projectFile.save(this.#own, this.#manifest);
  }

  async install(signal: AbortSignal): Promise<string | null> {
    const { managers, timing, disk } = this.#parts;
    const command = await installCommand(this.directory);
    if (command === null) return null;
    const wanted = await this.#dependencies();
    if (wanted === this.#installed) return null;
    const step = {
      ...(await this.#step("install", command, signal)),
      limitMs: timing.installLimitMs,
      stallMs: timing.installStallMs,
    };
    const binaries = await bringManagers(managers, [command], step);
    await step.log.append([systemLine(`$ ${command}`, "install")]);
    await runStep({ ...step, binaries });
    this.#installed = await this.#dependencies();
    if (this.#manifest.cleaned === "packages") await this.#isWhole();
    disk.touch(this.directory);
    return command;
  }

  /** A command of the project's own git, as its guest. */
  async #runGuest(
    command: string,
    given: Record<string, string>,
    { signal, ...limits }: Parameters<RunGuest>[2],
  ): ReturnType<RunGuest> {
    const step = await this.#step("git", command, signal);
    return runCollected({ ...step, given, ...limits });
  }

  async start(signal: AbortSignal): Promise<{ port: number; framework: string } | null> {
    const started = await this.#startServer(signal);
    const pushed = await this.git.afterBuild(this.#lastPrompt());
    if (pushed !== null) {
      const log = await this.#parts.logs.open(this.project);
      await log.append([systemLine(pushed, "git")]);
    }
    return started;
  }

  /** What a commit of the running build is called. */
  #lastPrompt(): string {
    const running = [...this.#builds.values()].find(({ view }) => view.state === "running");
    return running?.view.prompt ?? "A build";
  }

  async #startServer(signal: AbortSignal): Promise<{ port: number; framework: string } | null> {
    await this.devServer.stop();
    signal.throwIfAborted();
    if ((await devCommandOf(this.directory)) === null) return null;
    const stop = (): void => void this.devServer.stop();
    signal.addEventListener("abort", stop, { once: true });
    const { port, framework } = await this.devServer
      .ensure()
      .finally(() => signal.removeEventListener("abort", stop));
    this.#manifest = { ...this.#manifest, framework };
    await projectFile.save(this.#own, this.#manifest);
    return { port, framework };
  }

  /** Null: its entry names no vendor. */
  #passageOf(agent: AgentCommand): Passage | null {
    const { agents, gateway } = this.#parts;
    const vendor = agents.vendorOf(agent);
    if (vendor === null || vendor.key === null) return null;
    return gateway.open({ ...vendor, key: vendor.key });
  }

  get #owner(): string {
    return `project:${this.project}`;
  }

  /** Gives it its system user, where guests have one. */
  async #admit(): Promise<void> {
    const before = this.#manifest.user;
    const user = await this.#parts.confinement.admit(this.#owner, before);
    if (user === null) return;
    // That user passes through to its own directories, and lists nothing.
    for (const path of [join(this.#own, ".."), this.#own]) await chmod(path, 0o711);
    if (user.uid === before?.uid && user.gid === before.gid) return;
    this.#manifest = { ...this.#manifest, user };
    await projectFile.save(this.#own, this.#manifest);
  }

  async #resume(id: string): Promise<void> {
    const place = join(this.#own, "builds", id);
    const manifest = await buildFile.load(place);
    if (manifest === null) {
      await this.#parts.trash.discard(place);
      return;
    }
    const build = new Build(this, place, manifest, await this.#eventsOf(id, place));
    this.#builds.set(id, build);
    if (build.isOver) return;
    if (manifest.state === "queued") this.#queue(build);
    else await build.interrupted();
  }

  async #eventsOf(id: string, place: string): Promise<EventLog> {
    const { outbox } = this.#parts;
    const log = await EventLog.open(join(place, "events.jsonl"), () => outbox.pump(id), this.mask);
    outbox.add(id, log);
    return log;
  }

  #queue(build: Build): void {
    const release = this.#parts.workspaces.use(this.project);
    this.#turn = this.#turn.then(() => this.#run(build)).finally(release);
  }

  async #run(build: Build): Promise<void> {
    if (this.#isClosed) return;
    // Before the first checkpoint. If it fails, the agent's session says why.
    if (build.view.agent !== IMPORT_AGENT)
      await this.#refill(AbortSignal.timeout(REFILL_LIMIT_MS)).catch(() => undefined);
    await build.run();
  }

  /** What was cleaned comes back before the dev server starts; a build brings it by itself. */
  async #prepare(signal: AbortSignal): Promise<void> {
    await this.#tidying;
    if (this.isBusy) return;
    await this.#refill(signal);
    if (this.#manifest.cleaned === "packages") await this.install(signal);
  }

  async #refill(signal: AbortSignal): Promise<void> {
    if (this.#manifest.cleaned !== "files") return;
    await this.fill(signal);
    this.#installed = "";
    await this.#lacks("packages");
  }

  async #lacks(what: "packages" | "files"): Promise<void> {
    if (what === "packages" && this.#manifest.cleaned === "files" && this.#manifest.source !== null) return;
    this.#manifest = { ...this.#manifest, cleaned: what };
    await projectFile.save(this.#own, this.#manifest);
  }

  async #isWhole(): Promise<void> {
    this.#manifest = { ...this.#manifest, cleaned: null };
    await projectFile.save(this.#own, this.#manifest);
  }

  async #whileIdle(work: () => Promise<void>): Promise<boolean> {
    const turn = this.#turn.then(async () => {
      if (this.#isClosed || this.inUse !== null) return false;
      const tidying = this.#hold.change(work);
      this.#tidying = tidying.catch(() => undefined); // the caller is told
      await tidying;
      return true;
    });
    this.#turn = turn.then(
      () => undefined,
      () => undefined, // the caller is told
    );
    return turn;
  }

  async #forgetOldest(): Promise<void> {
    const over = [...this.#builds.values()].filter((build) => build.isOver);
    for (const build of over.slice(0, Math.max(0, this.#builds.size - BUILDS_KEPT))) {
      this.#builds.delete(build.id);
      this.#parts.outbox.remove(build.id);
      await this.#parts.trash.discard(join(this.#own, "builds", build.id));
    }
    if (over.length > 0 && this.#builds.size >= BUILDS_KEPT) await this.checkpoints.sweep();
  }

  /** What decides what an install would do. */
  async #dependencies(): Promise<string> {
    const hash = createHash("sha256");
    const names = ["package.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock"];
    for (const name of names) hash.update(await readFile(join(this.directory, name)).catch(() => "")); // there is none
    const installed = await readdir(join(this.directory, "node_modules")).catch(() => []); // not installed
    return `${hash.digest("hex")} ${installed.length > 0}`;
  }

  async #step(step: string, command: string, signal: AbortSignal): Promise<StepOptions> {
    const base = this.#stepBase(step, command, signal);
    const log = await this.#parts.logs.open(this.project);
    const packages = step === "install" || step === "agent" ? await this.#packages(base) : null;
    if (packages === null) return { ...base, log };
    return { ...base, log, given: { ...packages, ...base.given }, usesPackages: true };
  }

  /** What sends its package manager to the runner's cache. */
  async #packages({ work, home, given }: Omit<StepOptions, "log">): Promise<Record<string, string> | null> {
    const { packages, confinement } = this.#parts;
    if (packages === null || !packages.isFor(confinement.status.allowed)) return null;
    return (await hasOwnRegistry([work, home], given)) ? null : packages.environment();
  }

  #stepBase(step: string, command: string, signal: AbortSignal): Omit<StepOptions, "log"> {
    const { journal, disk, confinement, shares, timing, inheritEnvironment, managers, ownProgram } =
      this.#parts;
    return {
      step,
      command,
      signal,
      journal,
      disk,
      owner: this.#owner,
      directory: this.#own,
      shares,
      work: this.directory,
      home: join(this.#own, "home"),
      isHomeShared: false,
      temporary: join(this.#own, "tmp"),
      binaries: [ownProgram],
      inherit: inheritEnvironment,
      given: this.env.of(step === "agent" ? "agent" : "dev"),
      graceMs: timing.stopGraceMs,
      diskCheckMs: timing.diskCheckMs,
      confinement,
      user: this.#manifest.user,
      readable: [managers.directory, ownProgram],
      port: null,
    };
  }
}

function runnersOwn(): { uid: number; gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

function givenTo({ env }: AgentCommand, passage: Passage | null): Record<string, string> {
  const filled = (value: string): string =>
    passage === null ? value : value.replaceAll("{url}", passage.url).replaceAll("{token}", passage.token);
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, filled(value)]));
}
