import { createHash } from "node:crypto";
import { relative } from "node:path";
import type { BuildState } from "../../functions/protocol/builds.ts";
import type { Command, CommandType, Fields } from "../../functions/protocol/control.ts";
import { SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import { type CommandContext, CommandError, type CommandHandler } from "../connection/commands.ts";
import type { Project } from "../projects/project.ts";
import type { ProjectManager } from "../projects/project-manager.ts";
import type { DevWish } from "../projects/dev-server.ts";
import { asRunnerError, RunnerError } from "../runner-error.ts";
import { wishOf } from "../template-agent/wish.ts";
import { complain } from "../terminal/complain.ts";
import { onGitHub } from "./github-commands.ts";
import type { Origin } from "./origins.ts";
import { agentOf, promptOf } from "./prompt.ts";
import type { Teller } from "./teller.ts";

export interface ProjectCommandsOptions {
  projects: ProjectManager;
  teller: Teller;
  /** WORKSPACE_ROOT. */
  root: string;
}

const NAME_LIMIT = 100;
const FIRST_PORT = 1_024;
const LAST_PORT = 65_535;

/** SentryVibe's commands for projects, builds and dev servers. What comes of them is told by the {@link Teller}. */
export class ProjectCommands {
  readonly #options: ProjectCommandsOptions;
  readonly handlers: Partial<Record<CommandType, CommandHandler>>;

  constructor(options: ProjectCommandsOptions) {
    this.#options = options;
    const handlers: Partial<Record<CommandType, CommandHandler>> = {
      "analyze-project": (command, { answer }) => this.#analyze(command, answer),
      "start-build": (command) => this.#startBuild(command),
      "cancel-build": (command, { answer }) => this.#cancelBuild(command, answer),
      "start-dev-server": (command, { answer }) => this.#startServer(command, answer),
      "stop-dev-server": (command, { answer }) => this.#stopServer(command, answer),
      "start-tunnel": (command, { answer }) => this.#startTunnel(command, answer),
      "stop-tunnel": (command, { answer }) => this.#stopTunnel(command, answer),
      "github-sync": (command, { answer }) => this.#git(command, answer),
      "github-push": (command, { answer }) => this.#git(command, answer),
    };
    this.handlers = Object.fromEntries(
      Object.entries(handlers).map(([type, handle]) => [type, refusing(handle)]),
    );
  }

  /** With the project's slug in its payload, which SentryVibe leaves out where it sends its own id. */
  named(command: Command): Command {
    const { payload, projectId } = command;
    if (typeof payload["slug"] === "string" || projectId === null) return command;
    const slug = this.#options.teller.origins.slugOf(projectId);
    return slug === null ? command : { ...command, payload: { ...payload, slug } };
  }

  async #analyze({ payload }: Command, answer: CommandContext["answer"]): Promise<void> {
    const { prompt } = payload;
    if (typeof prompt !== "string" || prompt.trim() === "")
      throw new RunnerError("invalid_request", "The command has no prompt.", "prompt");
    answer({ type: "analysis-started", payload: { prompt } });
    const { starter, title, sections } = wishOf(promptOf(payload));
    const slug = slugFrom(title);
    const template = { id: starter, name: starter, framework: starter };
    const description = `${title}: ${sections.join(", ")}`;
    // By keywords: no model was asked, and the page should say so.
    const payloadOut = { slug, friendlyName: title, description, icon: "Folder", template, by: "keywords" };
    answer({ type: "analysis-complete", payload: payloadOut });
    return Promise.resolve();
  }

  async #startBuild(command: Command): Promise<void> {
    const { projects, teller } = this.#options;
    const { payload, projectId, id: commandId } = command;
    const slug = text(payload["projectSlug"]) ?? this.#slugOf(command);
    const prompt = promptOf(payload);
    const agent = agentOf(payload);
    const name = (text(payload["projectName"]) ?? slug).slice(0, NAME_LIMIT);
    await projects.put(slug, { name, agent });
    if (projectId !== null) await teller.origins.learn(projectId, slug);
    const buildId = buildIdOf(slug, commandId);
    await teller.origins.begin(buildId, originOf(command));
    try {
      await projects.newWork(slug, (project) => project.addBuild({ id: buildId, prompt, agent }));
    } catch (error) {
      teller.origins.forgetBuild(buildId);
      throw error;
    }
  }

  async #cancelBuild({ payload }: Command, answer: CommandContext["answer"]): Promise<void> {
    const { projects, teller } = this.#options;
    const buildCommandId = text(payload["buildCommandId"]);
    if (buildCommandId === null)
      throw new RunnerError("invalid_request", "The command names no build.", "buildCommandId");
    const id = teller.origins.buildOf(buildCommandId) ?? buildCommandId;
    const build = projects.get(id.split(".")[0] ?? "").build(id);
    if (!build.isOver) await build.cancel(text(payload["reason"]) ?? "SentryVibe");
    const { state, reason } = build.view;
    const success = state === "cancelled";
    const why = success ? (reason ?? "") : `The build had ended: ${state satisfies BuildState}.`;
    answer({ type: "build-cancelled", payload: { buildCommandId, success, reason: why } });
  }

  async #startServer(command: Command, answer: CommandContext["answer"]): Promise<void> {
    const { projects, teller } = this.#options;
    const slug = this.#slugOf(command);
    await projects.put(slug, { name: slug, agent: null });
    const origin = originOf(command);
    if (command.projectId !== null) await teller.origins.learn(command.projectId, slug);
    const { started } = await projects.newWork(slug, async ({ devServer }) => {
      const isNew = devServer.wish(serverWishOf(command.payload));
      if (isNew && devServer.view.state !== "stopped") await devServer.stop();
      const { state, port } = devServer.view;
      await teller.serverStarted(slug, origin);
      if (state === "running" && port !== null) {
        const tunnel = origin.previewUrl === null ? {} : { tunnelUrl: origin.previewUrl };
        answer({ type: "port-detected", port, framework: devServer.framework ?? "other", ...tunnel });
        return { started: null };
      }
      // How it went is told as the server's own event. In an object: a move needn't wait for it.
      return { started: devServer.ensure().catch(() => undefined) };
    });
    await started;
  }

  async #stopServer(command: Command, answer: CommandContext["answer"]): Promise<void> {
    const slug = this.#slugOf(command);
    const exit = await this.#options.projects.get(slug).devServer.stop();
    this.#options.teller.serverEnded(slug);
    const { code: exitCode = null, signal = null } = exit?.exit ?? {};
    const durationMs = exit?.ranMs ?? 0;
    answer({ type: "process-exited", exitCode, signal, durationMs, state: "stopped" });
  }

  async #startTunnel(command: Command, answer: CommandContext["answer"]): Promise<void> {
    const port = portOf(command.payload);
    const tunnelUrl = text(command.payload["previewUrl"]);
    if (tunnelUrl === null) {
      throw new RunnerError(
        "unsupported",
        "This runner makes no tunnels of its own: a Signalbox edge with PREVIEW_DOMAIN shows its previews.",
      );
    }
    await this.#requireOwn(command, port);
    answer({ type: "tunnel-created", port, tunnelUrl });
  }

  /** Its link goes on until it expires; what ends is what it leads to. */
  #stopTunnel({ payload }: Command, answer: CommandContext["answer"]): Promise<void> {
    answer({ type: "tunnel-closed", port: portOf(payload) });
    return Promise.resolve();
  }

  async #git(command: Command, answer: CommandContext["answer"]): Promise<void> {
    const { projects } = this.#options;
    answer(await projects.newWork(this.#slugOf(command), (project) => onGitHub(project, command)));
  }

  async #requireOwn(command: Command, port: number): Promise<Project> {
    const project = this.#options.projects.get(this.#slugOf(command));
    if (await project.devServer.listensOn(port)) return project;
    throw new RunnerError("invalid_request", `Nothing of the project listens on port ${port}.`, "port");
  }

  /** Errors: `invalid_project`. */
  #slugOf({ payload, projectId }: Command): string {
    const { root, teller } = this.#options;
    const directory = text(payload["workingDirectory"]);
    const inside = directory === null ? null : relative(root, directory);
    const slug =
      text(payload["slug"]) ??
      text(payload["projectSlug"]) ??
      (projectId === null ? null : teller.origins.slugOf(projectId)) ??
      (inside !== null && SLUG_PATTERN.test(inside) ? inside : projectId);
    if (slug !== null && SLUG_PATTERN.test(slug)) return slug;
    throw new RunnerError("invalid_project", "The command names no project of this runner.", "slug");
  }
}

function refusing(handle: CommandHandler): CommandHandler {
  return async (command, context) => {
    try {
      await handle(command, context);
    } catch (error) {
      const { code, message } = asRunnerError(error);
      if (code === "internal") complain(`${command.type} ${command.id}`, error);
      throw new CommandError(code, message);
    }
  };
}

function originOf({ id: commandId, projectId, payload }: Command): Origin {
  return {
    commandId,
    projectId,
    sessionId: text(payload["sessionId"]),
    previewUrl: text(payload["previewUrl"]),
  };
}

/** One command is one build, however often it comes. */
function buildIdOf(slug: string, commandId: string): string {
  return `${slug}.${createHash("sha256").update(commandId).digest("hex").slice(0, 20)}`;
}

function serverWishOf({ runCommand, env, preferredPort }: Fields): DevWish {
  const given = Object.entries(Object(env) as Fields).filter(
    (pair): pair is [string, string] => /^[A-Za-z_]\w*$/.test(pair[0]) && typeof pair[1] === "string",
  );
  const command = text(runCommand);
  const port = Number(preferredPort);
  return {
    ...(command === null ? {} : { command }),
    env: Object.fromEntries(given),
    ...(Number.isInteger(port) && port >= FIRST_PORT && port <= LAST_PORT ? { preferredPort: port } : {}),
  };
}

function portOf({ port }: Fields): number {
  if (typeof port === "number" && Number.isInteger(port) && port > 0 && port <= LAST_PORT) return port;
  throw new RunnerError("invalid_request", "The command names no port.", "port");
}

function slugFrom(title: string): string {
  const plain = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const slug = plain
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 40)
    .replace(/^-+|-+$/g, "");
  return slug === "" ? "project" : slug;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
