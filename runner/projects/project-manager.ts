import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import type { AgentView } from "../../functions/protocol/agents.ts";
import type { ProjectView } from "../../functions/protocol/builds.ts";
import { SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import { projectService } from "../../functions/protocol/runner-api.ts";
import { parseRemote } from "../git/remote.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import type { HostChoice } from "../tunnel/hosts.ts";
import type { CleanableProject } from "../cleanup/cleanup.ts";
import { cleanable } from "./cleanable-project.ts";
import { type ImportSource, projectFile, type ProjectManifest } from "./manifest.ts";
import { Project, type ProjectParts } from "./project.ts";

const SERVICE_PREFIX = projectService("");

export interface AskedProject {
  name: string;
  agent: string | null;
  source?: ImportSource | null;
  creation?: string | null;
}

/** The projects of this runner, by slug. */
export class ProjectManager {
  readonly #directory: string;
  readonly #parts: ProjectParts;
  readonly #projects = new Map<string, Project>();
  /** Creations and deletions of one slug happen one after the other. */
  readonly #changes = new Map<string, Promise<unknown>>();
  #isClosing = false;
  #isDrained = false;

  private constructor(directory: string, parts: ProjectParts) {
    this.#directory = directory;
    this.#parts = parts;
  }

  static async open(directory: string, parts: ProjectParts): Promise<ProjectManager> {
    const manager = new ProjectManager(directory, parts);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    parts.workspaces.watchedBy({
      inUse: (slug) => manager.#projects.get(slug)?.inUse ?? null,
      evicted: (slug) => manager.#projects.get(slug)?.evicted(),
    });
    for (const slug of await readdir(directory)) {
      // The others must go on. A person has to repair this one.
      await manager.#resume(slug).catch((error: unknown) => complain(`project ${slug} is skipped`, error));
    }
    return manager;
  }

  /** What this runner can start. */
  get agents(): AgentView[] {
    return this.#parts.agents.view;
  }

  /**
   * Makes a project. Without a creation it answers the one that is there; with one, only if that is of the same creation.
   * Errors: `invalid_project`, `invalid_request`, `draining`, `project_exists`.
   */
  put(slug: string, { name, agent, source, creation = null }: AskedProject): Promise<ProjectView> {
    if (!SLUG_PATTERN.test(slug))
      throw new RunnerError("invalid_project", "This isn't a project's slug.", "slug");
    return this.#inTurn(slug, async () => {
      const known = this.#projects.get(slug);
      if (known !== undefined) {
        if (creation !== null && known.creation !== creation) throw taken(slug);
        return known.view;
      }
      this.#refuseNew();
      if (creation !== null) await this.#refuseLeftovers(slug, creation);
      const { agents, disk } = this.#parts;
      if (agent !== null) agents.require(agent);
      // Before there is anything to take back.
      if (source != null && "url" in source) parseRemote(source.url, this.#parts.git);
      (await disk.reserve(0)).release();
      const manifest: ProjectManifest = {
        schema: 1,
        slug,
        name,
        agent: agent ?? agents.defaultName,
        sessions: {},
        costs: {},
        framework: null,
        user: null,
        source: source ?? null,
        cleaned: null,
        creation,
        createdAt: new Date().toISOString(),
      };
      await projectFile.save(join(this.#directory, slug), manifest);
      const project = await Project.open(this.#parts, join(this.#directory, slug), manifest);
      this.#projects.set(slug, project);
      return project.view;
    });
  }

  has(slug: string): boolean {
    return this.#projects.has(slug);
  }

  /** Errors: `project_not_found`. */
  get(slug: string): Project {
    const project = this.#projects.get(slug);
    if (project !== undefined) return project;
    throw new RunnerError("project_not_found", `There is no project ${slug} on this runner.`);
  }

  /** Errors: `draining`, and those of {@link change}. */
  async newWork<T>(slug: string, work: (project: Project) => Promise<T>): Promise<T> {
    this.#refuseNew();
    return this.change(slug, work);
  }

  /** A move or a rename waits for it. Errors: `project_busy` while one of these is under way. */
  async change<T>(slug: string, work: (project: Project) => Promise<T>): Promise<T> {
    const project = this.get(slug);
    return project.change(() => work(project));
  }

  /** Doesn't wait for it: how it went is in the state. Errors: `draining`, `project_busy`. */
  startServer(slug: string, isVisit: boolean): ProjectView {
    this.#refuseNew();
    const project = this.get(slug);
    project.refuseHeld();
    const { devServer } = project;
    if (!isVisit || devServer.mayWake) devServer.ensure().catch(() => undefined);
    return project.view;
  }

  /** Gives it another slug. Errors: `project_exists`, `project_busy`, `project_not_found`. */
  rename(slug: string, next: string): Promise<ProjectView> {
    return this.#inTurn(slug, async () => {
      const known = this.#projects.get(next);
      // A repeat, whose first answer was lost.
      if (known !== undefined && !this.#projects.has(slug)) return known.view;
      this.#refuseNew();
      const project = this.get(slug);
      if (slug === next) return project.view;
      if (known !== undefined || (await this.#parts.workspaces.list()).includes(next)) throw taken(next);
      project.refuseHeld();
      const manifest = { ...(await project.leave()), slug: next };
      this.#projects.delete(slug);
      // From here on a runner that is killed goes on with it at its next start.
      await projectFile.save(join(this.#directory, slug), manifest);
      await this.#resume(slug);
      return this.get(next).view;
    });
  }

  /** Resolves when nothing of it is left. With a creation, a project of another one stays. */
  remove(slug: string, creation: string | null = null): Promise<void> {
    return this.#inTurn(slug, async () => {
      const known = this.#projects.get(slug);
      if (known === undefined) return this.#removeUnopened(slug, creation);
      if (creation !== null && known.creation !== creation) return;
      await known.remove();
      this.#projects.delete(slug);
    });
  }

  /** Deletes it and sets its files aside. Answers where they are. Errors: `project_not_found`. */
  release(slug: string): Promise<string | null> {
    return this.#inTurn(slug, async () => {
      const kept = await this.get(slug).remove(true);
      this.#projects.delete(slug);
      return kept;
    });
  }

  /** Where the tunnel finds a project's dev server, or another port of it. A request is a visit, a socket isn't. */
  lookup(
    service: string,
    isSocket: boolean,
  ): { port: number; host: HostChoice; via: string | undefined } | null {
    if (!service.startsWith(SERVICE_PREFIX)) return null;
    const [slug = "", wanted] = service.slice(SERVICE_PREFIX.length).split("/");
    const devServer = this.#projects.get(slug)?.devServer;
    if (devServer === undefined) return null;
    if (!isSocket) devServer.visited();
    const port = wanted === undefined ? devServer.runningPort : devServer.furtherPort(Number(wanted));
    return port === null ? null : { port, host: "local", via: devServer.viaOf(port) };
  }

  /** There is a connection to the hub. */
  connected(): void {
    this.#parts.outbox.connected();
  }

  /** The hub has stored a build's events up to a number. */
  acknowledged(buildId: string, seq: number): void {
    this.#parts.outbox.acknowledged(buildId, seq);
  }

  /** Builds under way. */
  get busy(): number {
    return [...this.#projects.values()].filter((project) => project.isBusy).length;
  }

  /** For the cleanup. */
  get cleanable(): CleanableProject[] {
    const { workspaces } = this.#parts;
    return [...this.#projects].map(([slug, project]) =>
      cleanable(project, join(this.#directory, slug), workspaces),
    );
  }

  get count(): number {
    return this.#projects.size;
  }

  get all(): Project[] {
    return [...this.#projects.values()];
  }

  setDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
  }

  shutDown(): void {
    this.#isClosing = true;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#projects.values()].map((project) => project.close()));
    this.#parts.outbox.close();
  }

  /** Of a project that couldn't be opened. */
  async #removeUnopened(slug: string, creation: string | null): Promise<void> {
    const own = join(this.#directory, slug);
    if (!SLUG_PATTERN.test(slug) || !(await readdir(this.#directory)).includes(slug)) return;
    if (creation !== null && (await projectFile.load(own))?.creation !== creation) return;
    const { workspaces, trash, logs } = this.#parts;
    await workspaces.remove(slug);
    await trash.discard(logs.directory(slug));
    await trash.discard(own);
  }

  /** Files that nobody asked for here would be shown as this project's. */
  async #refuseLeftovers(slug: string, creation: string): Promise<void> {
    // A creation that broke off in the middle left both.
    if ((await projectFile.load(join(this.#directory, slug)))?.creation === creation) return;
    const directories = await Promise.all([readdir(this.#directory), readdir(this.#parts.workspaces.root)]);
    if (directories.some((names) => names.includes(slug))) throw taken(slug);
  }

  #refuseNew(): void {
    if (this.#isClosing)
      throw new RunnerError("draining", "The runner is shutting down: it takes no new work.");
    if (this.#isDrained)
      throw new RunnerError("draining", "An operator drains this runner: it takes no new work.");
  }

  async #resume(slug: string): Promise<void> {
    const own = join(this.#directory, slug);
    const manifest = await projectFile.load(own);
    if (manifest === null) {
      await this.#parts.trash.discard(own);
      return;
    }
    const { workspaces, logs } = this.#parts;
    const now = manifest.slug;
    if (now !== slug) {
      // Its own directory last: until then the manifest in it says what is to be done.
      await renameIfThere(join(workspaces.root, slug), join(workspaces.root, now));
      await renameIfThere(logs.directory(slug), logs.directory(now));
      await rename(own, join(this.#directory, now));
    }
    this.#projects.set(now, await Project.open(this.#parts, join(this.#directory, now), manifest));
  }

  #inTurn<T>(slug: string, work: () => Promise<T>): Promise<T> {
    const before = this.#changes.get(slug) ?? Promise.resolve();
    const turn = before.then(work, work);
    const settled = turn
      .catch(() => undefined) // whoever asked for it is told
      .finally(() => {
        if (this.#changes.get(slug) === settled) this.#changes.delete(slug);
      });
    this.#changes.set(slug, settled);
    return turn;
  }
}

function taken(slug: string): RunnerError {
  return new RunnerError("project_exists", `There is a project ${slug} on this runner.`, "slug");
}

async function renameIfThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (!isSystemError(error, "ENOENT")) throw error;
  });
}
