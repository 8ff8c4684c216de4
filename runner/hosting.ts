import { BUILD_ACK_MESSAGE } from "../functions/protocol/builds.ts";
import type { CleanupReport } from "../functions/protocol/cleanup.ts";
import type { Command, CommandType, Fields, RunnerEvent } from "../functions/protocol/control.ts";
import type { CommandContext, CommandHandler } from "./connection/commands.ts";
import { createInternalApi } from "./deployments/api.ts";
import { ProjectCommands } from "./sentryvibe/project-commands.ts";
import { Workspace, type WorkspaceOptions } from "./workspace.ts";
import type { InternalApi } from "./internal-api.ts";
import type { RunnerPart } from "./runner.ts";
import type { Overview } from "./terminal/overview.ts";
import type { ServiceTarget } from "./tunnel/services.ts";
import { version } from "./version.ts";
import { createWorkspaceCommands, type CommandHandler as WorkspaceCommand } from "./workspaces/commands.ts";

const WORKSPACE_COMMANDS = [
  "list-files",
  "read-file",
  "write-file",
  "delete-project-files",
  "fetch-logs",
] as const;
const PROJECT_COMMANDS = [
  "analyze-project",
  "start-build",
  "cancel-build",
  "start-dev-server",
  "stop-dev-server",
  "start-tunnel",
  "stop-tunnel",
  "github-sync",
  "github-push",
] as const;
const API_METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"];
/** How old the disk's figures in `/health` may be: no probe waits for a measurement. */
const DISK_STATUS_AGE_MS = 15_000;

/** The runner's part that opens its workspace and serves it: deployments, sources, project files. */
export class Hosting implements RunnerPart {
  readonly name = "hosting";
  readonly commands: Partial<Record<CommandType, CommandHandler>>;
  readonly #options: WorkspaceOptions;
  #workspace: Workspace | null = null;
  #workspaceCommands: ReadonlyMap<string, WorkspaceCommand> = new Map();
  #projectCommands: ProjectCommands | null = null;
  /** Aborts waits for log lines, which would delay the shutdown. */
  readonly #ending = new AbortController();
  #settled: Promise<void> | null = null;
  #isSettled = true;
  #disk: Fields = {};
  #diskWatch: NodeJS.Timeout | undefined;

  constructor(options: WorkspaceOptions, internalApi: InternalApi) {
    this.#options = options;
    const onFiles: CommandHandler = (command, context) => this.#run(command, context);
    const onProjects: CommandHandler = (command, context) => this.#runOnProject(command, context);
    this.commands = Object.fromEntries([
      ...WORKSPACE_COMMANDS.map((type): [CommandType, CommandHandler] => [type, onFiles]),
      ...PROJECT_COMMANDS.map((type): [CommandType, CommandHandler] => [type, onProjects]),
    ]);
    for (const method of API_METHODS) {
      internalApi.route(method, "/*", (request, response) => this.#serve?.(request, response));
    }
  }

  #serve: ReturnType<typeof createInternalApi> | null = null;

  async start(): Promise<void> {
    const workspace = await Workspace.open(this.#options);
    this.#workspace = workspace;
    const { workspaces, trash, disk, logs, deployments, projects, sources, teller, cleanup } = workspace;
    this.#workspaceCommands = createWorkspaceCommands({
      workspaces,
      trash,
      disk,
      logs,
      version,
      stopProject: async (slug) => {
        await projects.remove(slug);
        teller.serverEnded(slug);
        await teller.origins.forgetProject(slug);
      },
      change: (slug, work) => (projects.has(slug) ? projects.change(slug, work) : work()),
    });
    this.#projectCommands = new ProjectCommands({ projects, teller, root: workspaces.root });
    this.#serve = createInternalApi({
      deployments,
      projects,
      sources,
      disk,
      cleanup,
      ending: this.#ending.signal,
    });
    await this.#measure(workspace);
    this.#diskWatch = setInterval(() => void this.#measure(workspace), DISK_STATUS_AGE_MS);
  }

  notes(): string[] {
    if (this.#workspace === null) return [];
    const { level, network, allowed, why } = this.#workspace.confinement.status;
    const reach = allowed === null ? `${network} network` : `reaching ${allowed.join(", ")} only`;
    return [`confinement of guests: ${level}, ${reach}${why === null ? "" : `; not more, since ${why}`}`];
  }

  lookup(service: string, isSocket: boolean): ServiceTarget | null {
    const workspace = this.#workspace;
    const hosted = workspace?.deployments.lookup(service);
    if (hosted) return { ...hosted, via: workspace?.confinement.wayTo(hosted.port) };
    return workspace?.projects.lookup(service, isSocket) ?? null;
  }

  connected(): void {
    this.#workspace?.projects.connected();
  }

  hubMessage({ type, payload }: Command): boolean {
    if (type !== BUILD_ACK_MESSAGE) return false;
    this.#workspace?.projects.acknowledged(String(payload["buildId"]), Number(payload["seq"]));
    return true;
  }

  /** Deployments under preparation may finish; running ones serve until the end. */
  shutDown(): void {
    if (this.#settled || !this.#workspace) return;
    this.#ending.abort();
    this.#workspace.projects.shutDown();
    this.#isSettled = false;
    this.#settled = this.#workspace.deployments.settle().finally(() => {
      this.#isSettled = true;
    });
  }

  setDrained(isDrained: boolean): void {
    this.#workspace?.deployments.setDrained(isDrained);
    this.#workspace?.projects.setDrained(isDrained);
  }

  busy(): number {
    return (this.#isSettled ? 0 : 1) + (this.#workspace?.projects.busy ?? 0);
  }

  overview(): Overview {
    return {
      deployments: this.#workspace?.deployments.list() ?? [],
      projects: this.#workspace?.projects.all.map(({ view }) => view) ?? [],
    };
  }

  status(): Fields {
    const deployments = this.#workspace?.deployments.list() ?? [];
    return {
      disk: this.#disk,
      projects: this.#workspace?.projects.count ?? 0,
      ...(this.#workspace === null ? {} : { confinement: this.#workspace.confinement.status }),
      deployments: deployments.length,
      running: deployments.filter(({ state }) => state === "running").length,
      deploymentStates: countsOf(deployments.map(({ state }) => state)),
      devServers: countsOf(this.#workspace?.projects.all.map(({ devServer }) => devServer.view.state) ?? []),
      builds: this.#workspace?.builds.states ?? {},
      limits: this.#workspace?.shares.status() ?? {},
      ...(this.#workspace?.packages == null ? {} : { packageCache: this.#workspace.packages.status() }),
      ...(this.#workspace?.cleanup.last == null ? {} : { cleanup: summaryOf(this.#workspace.cleanup.last) }),
      ...(this.#workspace?.webhook == null ? {} : { webhook: this.#workspace.webhook.status() }),
    };
  }

  async stop(): Promise<void> {
    clearInterval(this.#diskWatch);
    await this.#workspace?.close();
    this.#workspace = null;
  }

  async #measure(workspace: Workspace): Promise<void> {
    try {
      this.#disk = { ...(await workspace.disk.status()) };
    } catch (error) {
      this.#disk = { error: error instanceof Error ? error.message : "can't be measured" };
    }
  }

  async #runOnProject(command: Command, context: CommandContext): Promise<void> {
    const handler = this.#projectCommands?.handlers[command.type as CommandType];
    if (!handler) throw new Error(`${command.type} came before the workspace was open`);
    await handler(command, context);
  }

  async #run(command: Command, { answer }: CommandContext): Promise<void> {
    const handler = this.#workspaceCommands.get(command.type);
    if (!handler) throw new Error(`${command.type} came before the workspace was open`);
    const result = handler(this.#projectCommands?.named(command) ?? command);
    if (result instanceof Promise) answer(bare(await result));
    else for await (const event of result) answer(bare(event));
  }
}

function countsOf(states: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const state of states) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** Of the latest cleanup. */
function summaryOf({ at, freedBytes, cleaned }: CleanupReport): Fields {
  return { at, freedBytes, cleaned: cleaned.length };
}

/** The sender adds these fields. */
function bare({
  commandId: _commandId,
  projectId: _projectId,
  timestamp: _timestamp,
  ...event
}: RunnerEvent) {
  return event;
}
