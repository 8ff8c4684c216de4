import { chmod, mkdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { Cgroups } from "./shares/cgroups.ts";
import { type GuestLimits, guestLimits } from "./shares/guest-limits.ts";
import { Shares } from "./shares/shares.ts";
import type { Confinement } from "./confinement/confinement.ts";
import { openConfinement } from "./confinement/open-confinement.ts";
import { confinementSettings, type ConfinementSettings } from "./confinement/settings.ts";
import type { BuildEventsMessage } from "../functions/protocol/builds.ts";
import { Agents, type AgentSettings, noAgentSettings } from "./builds/agents.ts";
import { Gateway } from "./builds/gateway.ts";
import { buildLimits, type BuildLimits } from "./builds/limits.ts";
import { type GitSettings, gitSettings } from "./git/remote.ts";
import { passwordOf } from "./git/run-git.ts";
import type { NewEvent } from "./connection/connection.ts";
import { Origins } from "./sentryvibe/origins.ts";
import { Teller } from "./sentryvibe/teller.ts";
import { TellingOutbox } from "./sentryvibe/telling-outbox.ts";
import { ProjectLogs } from "./logs/project-logs.ts";
import { type PortEvent, type PortRange, Ports } from "./ports.ts";
import { ProcessJournal } from "./processes/journal.ts";
import { installOwnProgram } from "./processes/own-program.ts";
import { BuildWatch } from "./observability/build-watch.ts";
import { Counts } from "./observability/counts.ts";
import type { RunnerTracing } from "./observability/tracing.ts";
import { RunnerError } from "./runner-error.ts";
import { complain } from "./terminal/complain.ts";
import { FileLock } from "./processes/file-lock.ts";
import { SourceStore } from "./sources/source-store.ts";
import { Cleanup } from "./cleanup/cleanup.ts";
import { CleanupDoor } from "./cleanup/cleanup-door.ts";
import { type CleanupPolicy, cleanupPolicy } from "./cleanup/policy.ts";
import { Disk } from "./workspaces/disk.ts";
import { Trash } from "./workspaces/trash.ts";
import { Webhook, type WebhookOptions } from "./webhook/webhook.ts";
import { Workspaces } from "./workspaces/workspaces.ts";
import { PackageCache } from "./package-cache/package-cache.ts";
import { ManagerStore } from "./packages/manager-store.ts";
import { ProjectManager } from "./projects/project-manager.ts";
import { DeploymentManager } from "./deployments/deployment-manager.ts";
import { deploymentTiming, type DeploymentTiming } from "./deployments/timing.ts";

/** Unreferenced sources are kept for a week; a day more or less doesn't matter. */
const SWEEP_INTERVAL_MS = 24 * 60 * 60 * 1_000;

/** The runner's own directory in WORKSPACE_ROOT; no project's slug begins with a dot. */
const OWN_DIRECTORY = ".signalbox";

export interface WorkspaceOptions {
  /** WORKSPACE_ROOT. */
  root: string;
  /** What everything in the workspace may occupy; without one the file system is the limit. */
  quotaBytes?: number;
  lowWaterBytes?: number;
  portRange?: PortRange;
  onPortEvent?: (event: PortEvent) => void;
  /** Names of further variables of the runner that hosted processes get: a proxy's, a registry's. */
  inheritEnvironment?: readonly string[];
  confinement?: Partial<ConfinementSettings>;
  timing?: Partial<DeploymentTiming>;
  /** What one deployment may take. */
  limits?: Partial<GuestLimits>;
  /** Without them, processes are found by what they inherit and hold. */
  cgroups?: boolean;
  /** How long a project is unused before its caches may be evicted. */
  idleAfterMs?: number;
  sourceKeptMs?: number;
  /** What is deleted by itself; each part that isn't given has a default. */
  cleanup?: Partial<CleanupPolicy>;
  cleanupIntervalMs?: number;
  /** False: package managers go to the registry by themselves. */
  packageCache?: boolean;
  git?: GitSettings;
  /** What projects never show. */
  secrets?: readonly string[];
  /** Without visitors a project's dev server stops after this. */
  devServerIdleMs?: number;
  agents?: AgentSettings;
  /** What one build may take. */
  buildLimits?: Partial<BuildLimits>;
  /** Sends events of builds to the hub; false while there is no connection. */
  sendBuildEvents?: (message: BuildEventsMessage) => boolean;
  /** Sends an event in SentryVibe's words. */
  send?: (event: NewEvent) => void;
  /** The web app that gets every event in SentryVibe's words. */
  webhook?: Pick<WebhookOptions, "baseUrl" | "secret" | "runnerId" | "firstDelayMs" | "giveUpMs"> | null;
  /** Whether the other end of the connection is a SentryVibe broker. */
  isBroker?: () => boolean;
  counts?: Counts;
  tracing?: RunnerTracing | null;
}

/** Everything that a runner keeps in WORKSPACE_ROOT. The order of opening is that of cleaning up after a crash. */
export class Workspace {
  readonly workspaces: Workspaces;
  readonly trash: Trash;
  readonly disk: Disk;
  readonly logs: ProjectLogs;
  readonly journal: ProcessJournal;
  readonly ports: Ports;
  readonly sources: SourceStore;
  readonly deployments: DeploymentManager;
  readonly shares: Shares;
  readonly confinement: Confinement;
  readonly projects: ProjectManager;
  readonly teller: Teller;
  readonly webhook: Webhook | null;
  readonly gateway: Gateway;
  readonly builds: BuildWatch;
  readonly cleanup: Cleanup;
  /** Null: package managers go to the registry by themselves. */
  readonly packages: PackageCache | null;
  readonly #door: CleanupDoor;
  readonly #lock: FileLock;
  readonly #sweeps: NodeJS.Timeout;

  private constructor(parts: Omit<Workspace, "close">, door: CleanupDoor, lock: FileLock) {
    this.workspaces = parts.workspaces;
    this.trash = parts.trash;
    this.disk = parts.disk;
    this.logs = parts.logs;
    this.journal = parts.journal;
    this.ports = parts.ports;
    this.sources = parts.sources;
    this.deployments = parts.deployments;
    this.shares = parts.shares;
    this.confinement = parts.confinement;
    this.projects = parts.projects;
    this.teller = parts.teller;
    this.webhook = parts.webhook;
    this.gateway = parts.gateway;
    this.builds = parts.builds;
    this.cleanup = parts.cleanup;
    this.packages = parts.packages;
    this.#door = door;
    this.#lock = lock;
    this.#sweep();
    this.#sweeps = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS);
    this.#sweeps.unref();
  }

  /** Ends what a killed runner left running, then resumes its deployments. Errors: `workspace_in_use`. */
  static async open(options: WorkspaceOptions): Promise<Workspace> {
    await mkdir(options.root, { recursive: true });
    const root = await realpath(options.root);
    const own = join(root, OWN_DIRECTORY);
    await mkdir(own, { recursive: true });
    // Guests with users of their own pass through it. What they mustn't see has a narrower mode.
    await chmod(own, 0o711);
    const lock = await takeRoot(join(own, "runner.lock"));
    let disk: Disk | null = null;
    let confinement: Confinement | null = null;
    let shares: Shares | null = null;
    let packages: PackageCache | null = null;
    const gateway = await Gateway.listen();
    try {
      const journal = await ProcessJournal.open(join(own, "processes"));
      const { quotaBytes, lowWaterBytes, timing, inheritEnvironment = [] } = options;
      const policy = { ...cleanupPolicy, ...options.cleanup };
      disk = await Disk.open({ root, quotaBytes, lowWaterBytes });
      if (options.packageCache !== false)
        packages = await PackageCache.open(join(own, "package-cache"), disk, policy.packages);
      confinement = await openConfinement(
        { ...confinementSettings, ...options.confinement },
        {
          workspace: root,
          directory: join(own, "confinement"),
          inherit: inheritEnvironment,
          gatewayPort: gateway.port,
          ...(packages === null ? {} : { packagesPort: packages.port }),
        },
      );
      const opened = confinement;
      const limits = { ...guestLimits(), ...options.limits };
      const cgroups = options.cgroups === false ? "they are switched off" : await Cgroups.open(root, limits);
      await journal.reapOrphans(
        (uid) => opened.ownsUser(uid),
        typeof cgroups === "string" ? undefined : cgroups,
      );
      const trash = await Trash.open(join(own, "trash"));
      shares = await Shares.open(own, limits, cgroups, disk);
      const workspaces = await Workspaces.open(root, trash, options.idleAfterMs);
      const onEvent = (event: PortEvent): void => {
        options.onPortEvent?.(event);
        teller.port(event);
      };
      const logs = new ProjectLogs(join(own, "logs"));
      const isBroker = options.isBroker ?? (() => false);
      const webhook =
        options.webhook == null
          ? null
          : await Webhook.open({ ...options.webhook, directory: join(own, "webhook"), isBroker });
      const opening: { projects: ProjectManager | null } = { projects: null };
      const teller = new Teller({
        origins: await Origins.open(join(own, "sentryvibe")),
        send: options.send ?? (() => undefined),
        isBroker,
        listener: webhook,
        project: (slug) => {
          if (opening.projects?.has(slug) !== true) return null;
          const { directory: path, devServer, view, isBusy } = opening.projects.get(slug);
          return { slug, name: view.name, path, runCommand: devServer.command, isBusy };
        },
        log: (slug) => logs.open(slug),
      });
      const builds = new BuildWatch(options.counts ?? new Counts(), (id, event) =>
        options.tracing?.build(id, event),
      );
      const ports = new Ports({ range: options.portRange, onEvent });
      const keptMs = options.sourceKeptMs;
      const sources = await SourceStore.open({
        directory: join(own, "sources"),
        disk,
        ...(keptMs === undefined ? {} : { keptMs }),
      });
      // A package that is fetched again costs less than an install.
      const shown = packages;
      disk.addEvictor(async () => (await shown?.evictables()) ?? []);
      disk.addEvictor(() => workspaces.evictables());
      const shared = {
        disk,
        ports,
        journal,
        trash,
        managers: await ManagerStore.open(join(own, "package-managers"), trash),
        ownProgram: await installOwnProgram(join(own, "bin")),
        confinement,
        shares,
      };
      const deployments = await DeploymentManager.open({
        ...shared,
        directory: join(own, "deployments"),
        sources,
        timing,
        inheritEnvironment,
      });
      disk.addEvictor(() => deployments.evictables());
      disk.addEvictor(() => sources.evictables());
      const projects = await ProjectManager.open(join(own, "projects"), {
        ...shared,
        packages,
        workspaces,
        logs,
        timing: { ...deploymentTiming, ...timing },
        inheritEnvironment,
        secrets: [...(options.secrets ?? []), ...Object.values(options.git?.tokens ?? {}).map(passwordOf)],
        sources,
        git: options.git ?? gitSettings,
        outbox: new TellingOutbox(teller, builds, options.sendBuildEvents ?? (() => false)),
        ...(options.devServerIdleMs === undefined ? {} : { devServerIdleMs: options.devServerIdleMs }),
        serverEvent: (slug, event) => teller.server(slug, event),
        agents: new Agents(options.agents ?? noAgentSettings),
        gateway,
        buildLimits: { ...buildLimits, ...options.buildLimits },
      });
      opening.projects = projects;
      const intervalMs = options.cleanupIntervalMs;
      const cleanup = await Cleanup.open({
        file: join(own, "cleanup.json"),
        policy,
        projects: () => projects.cleanable,
        remember: (slug, usedAt) => workspaces.remember(slug, usedAt),
        packages,
        ...(intervalMs === undefined ? {} : { intervalMs }),
      });
      const parts = {
        workspaces,
        trash,
        disk,
        logs,
        journal,
        ports,
        sources,
        deployments,
        projects,
        teller,
        webhook,
        confinement,
        shares,
        gateway,
        builds,
        cleanup,
        packages,
      };
      return new Workspace(parts, await CleanupDoor.open(root, cleanup), lock);
    } catch (error) {
      await shares?.close();
      await confinement?.close();
      await gateway.close();
      await packages?.close();
      disk?.close();
      lock.release();
      throw error;
    }
  }

  /** Ends every hosted process; the next runner in this workspace goes on with the deployments. */
  async close(): Promise<void> {
    clearInterval(this.#sweeps);
    await this.#door.close();
    await this.cleanup.close();
    await Promise.all([this.deployments.close(), this.projects.close()]);
    await this.webhook?.close();
    await this.logs.close();
    await this.shares.close();
    await this.confinement.close();
    await this.gateway.close();
    await this.packages?.close();
    this.disk.close();
    this.#lock.release();
  }

  #sweep(): void {
    this.sources.sweep().catch((error: unknown) => complain("sources: can't sweep", error));
  }
}

/** One runner for each workspace: a second one would take the first one's processes for orphans. */
async function takeRoot(file: string): Promise<FileLock> {
  const lock = await FileLock.take(file);
  if (lock instanceof FileLock) return lock;
  throw new RunnerError(
    "workspace_in_use",
    `The workspace belongs to the runner with process id ${lock.holder}: stop it or choose another WORKSPACE_ROOT.`,
  );
}
