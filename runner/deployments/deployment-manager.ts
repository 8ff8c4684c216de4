import { mkdir, readdir } from "node:fs/promises";
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import type { HostedDeployment } from "../../functions/protocol/runner-api.ts";
import type { LogPage } from "../logs/log-file.ts";
import { RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { findCaches } from "../workspaces/caches.ts";
import type { Evictable } from "../workspaces/disk.ts";
import { Supervisor, type SupervisorParts } from "./supervisor.ts";
import { type DeploymentManifest, loadManifest, saveManifest } from "./manifest.ts";
import type { HostChoice } from "../tunnel/hosts.ts";
import { Slots } from "./slots.ts";
import { type DeploymentSpec, isSameSpec, parseKey } from "./spec.ts";
import { type DeploymentTiming, deploymentTiming } from "./timing.ts";

/** Installs and builds at a time: each may take a core and a gigabyte. */
const PREPARING_LIMIT = 2;

export type DeploymentManagerOptions = Pick<
  SupervisorParts,
  "sources" | "disk" | "ports" | "journal" | "trash" | "managers" | "ownProgram" | "confinement"
> & {
  directory: string;
  timing?: Partial<DeploymentTiming> | undefined;
  inheritEnvironment?: readonly string[] | undefined;
};

/**
 * The deployments that this runner hosts, by their key "app/id". An accepted one is on disk, so a killed runner's
 * successor goes on with it.
 */
export class DeploymentManager {
  readonly #directory: string;
  readonly #parts: SupervisorParts;
  readonly #supervisors = new Map<string, Supervisor>();
  readonly #creations = new Map<string, Promise<HostedDeployment>>();
  readonly #changes = new EventEmitter();
  #isClosing = false;
  #isDrained = false;

  private constructor(options: DeploymentManagerOptions) {
    this.#directory = options.directory;
    this.#changes.setMaxListeners(0);
    const { sources, disk, ports, journal, trash, managers, ownProgram, confinement } = options;
    this.#parts = {
      sources,
      disk,
      ports,
      journal,
      trash,
      managers,
      ownProgram,
      confinement,
      slots: new Slots(PREPARING_LIMIT),
      timing: { ...deploymentTiming, ...options.timing },
      inheritEnvironment: options.inheritEnvironment ?? [],
      onChange: () => void this.#changes.emit("change"),
    };
  }

  /** Resumes what is on disk. The orphans of an earlier runner must have been ended before. */
  static async open(options: DeploymentManagerOptions): Promise<DeploymentManager> {
    const manager = new DeploymentManager(options);
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    options.sources.useReferences((sha256) => manager.#isReferenced(sha256));
    await manager.#resume();
    return manager;
  }

  /**
   * Accepts a deployment, or answers the state of the same one if it exists.
   * Errors: `invalid_request`, `deployment_exists` with another spec, `deployment_stopping`, `source_not_found`,
   * `disk_full`, `draining`.
   */
  async put(key: string, spec: DeploymentSpec): Promise<HostedDeployment> {
    parseKey(key);
    // Of two at the same time, the second waits and then finds the first one's deployment.
    await this.#creations.get(key)?.catch(() => undefined);
    const known = this.#supervisors.get(key);
    if (known !== undefined) {
      if (known.manifest.state === "stopping") {
        throw new RunnerError(
          "deployment_stopping",
          `Deployment ${key} is being removed: try again in a moment.`,
        );
      }
      if (isSameSpec(known.manifest.spec, spec)) return known.status();
      throw new RunnerError(
        "deployment_exists",
        `Deployment ${key} exists with another spec: give the new one another id.`,
      );
    }
    if (this.#isClosing)
      throw new RunnerError("draining", "The runner is shutting down: it takes no new work.");
    if (this.#isDrained)
      throw new RunnerError("draining", "An operator drains this runner: it takes no new deployments.");
    const creation = this.#create(key, spec).finally(() => this.#creations.delete(key));
    this.#creations.set(key, creation);
    return creation;
  }

  /** Errors: `deployment_not_found`. */
  status(key: string): HostedDeployment {
    return this.#get(key).status();
  }

  list(): HostedDeployment[] {
    return [...this.#supervisors.values()].map((supervisor) => supervisor.status());
  }

  /** Lines from a cursor on; with a signal it waits for the first one. Errors: `deployment_not_found`. */
  logs(key: string, cursor: number, limit?: number, waiting?: AbortSignal): Promise<LogPage> {
    return this.#get(key).logs(cursor, limit, waiting);
  }

  /** Errors: `deployment_not_found`, `deployment_stopping`. */
  async restart(key: string): Promise<HostedDeployment> {
    const supervisor = this.#get(key);
    await supervisor.restart();
    return supervisor.status();
  }

  /** Ends and deletes a deployment; false if there was none. Resolves when nothing of it is left. */
  async remove(key: string): Promise<boolean> {
    await this.#creations.get(key)?.catch(() => undefined);
    const supervisor = this.#supervisors.get(key);
    if (supervisor === undefined) return false;
    await supervisor.remove();
    this.#supervisors.delete(key);
    const { app } = parseKey(key);
    if (
      this.#ofApp(app).length === 0 &&
      ![...this.#creations.keys()].some((other) => other.startsWith(`${app}/`))
    ) {
      await this.#parts.trash.discard(join(this.#directory, app));
    }
    this.#changes.emit("change");
    return true;
  }

  /** While an operator drains the runner, no new deployment is accepted; those it has go on. */
  setDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
  }

  /** Where the tunnel finds a service; only while it is running. */
  lookup(service: string): { port: number; host: HostChoice } | null {
    const manifest = this.#supervisors.get(service)?.manifest;
    if (manifest?.state !== "running" || manifest.port === null) return null;
    return { port: manifest.port, host: manifest.spec.host ?? "public" };
  }

  /** Takes no new deployments; resolves when those that are being prepared have come up or failed. */
  async settle(): Promise<void> {
    this.#isClosing = true;
    while ([...this.#supervisors.values()].some((supervisor) => supervisor.isUnsettled)) {
      await once(this.#changes, "change");
    }
  }

  /** Ends every process, those that serve last. What is on disk stays, and the next runner goes on with it. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.allSettled(this.#creations.values());
    const all = [...this.#supervisors.values()];
    await Promise.all(all.filter(({ isUnsettled }) => isUnsettled).map((supervisor) => supervisor.close()));
    await Promise.all(all.map((supervisor) => supervisor.close()));
  }

  /** What can be made again: failed deployments' trees, and the caches of apps that aren't being prepared. */
  async evictables(): Promise<Evictable[]> {
    const found: Evictable[] = [];
    for (const supervisor of this.#supervisors.values()) {
      if (supervisor.manifest.state !== "failed" || !supervisor.manifest.prepared) continue;
      found.push({ path: supervisor.workDirectory, evict: () => supervisor.evict() });
    }
    for (const app of await directoriesIn(this.#directory)) {
      for (const path of await findCaches(join(this.#directory, app, ".home"), 1)) {
        // A running app may use what it keeps in .cache (a browser, a model), but never npm's.
        const isInUse = (): boolean =>
          this.#isPreparing(app) || (this.#isServing(app) && !path.endsWith("/.npm"));
        if (isInUse()) continue;
        found.push({
          path,
          evict: async () => {
            if (!isInUse()) await this.#parts.trash.discard(path);
          },
        });
      }
    }
    return found;
  }

  async #create(key: string, spec: DeploymentSpec): Promise<HostedDeployment> {
    const { sources, disk, trash } = this.#parts;
    (await disk.reserve(0)).release();
    const { sha256 } = spec.source;
    if ((await sources.find(sha256)) === null) {
      throw new RunnerError("source_not_found", `There is no source ${sha256}: upload it first.`);
    }
    const directory = join(this.#directory, key);
    const now = new Date().toISOString();
    const manifest: DeploymentManifest = {
      schema: 1,
      key,
      spec,
      state: "unpacking",
      reason: null,
      lastLines: [],
      prepared: false,
      wasReady: false,
      port: null,
      crashes: 0,
      createdAt: now,
      updatedAt: now,
    };
    await trash.discard(directory);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await saveManifest(directory, manifest);
    const supervisor = await Supervisor.open(this.#parts, directory, manifest);
    this.#supervisors.set(key, supervisor);
    supervisor.start();
    return supervisor.status();
  }

  async #resume(): Promise<void> {
    for (const app of await directoriesIn(this.#directory)) {
      for (const id of await directoriesIn(join(this.#directory, app))) {
        if (id.startsWith(".")) continue;
        const key = `${app}/${id}`;
        // The others must run. A person has to repair this one.
        await this.#resumeOne(key).catch((error: unknown) =>
          complain(`deployment ${key} is skipped: ${error instanceof Error ? error.message : String(error)}`),
        );
      }
    }
  }

  async #resumeOne(key: string): Promise<void> {
    const directory = join(this.#directory, key);
    const manifest = await loadManifest(directory);
    if (manifest === null) {
      await this.#parts.trash.discard(directory);
      return;
    }
    const supervisor = await Supervisor.open(this.#parts, directory, manifest);
    this.#supervisors.set(key, supervisor);
    if (manifest.state === "stopping") await this.remove(key);
    else supervisor.start();
  }

  #get(key: string): Supervisor {
    const supervisor = this.#supervisors.get(key);
    if (supervisor) return supervisor;
    throw new RunnerError("deployment_not_found", `There is no deployment ${key} on this runner.`);
  }

  #isReferenced(sha256: string): boolean {
    return [...this.#supervisors.values()].some(({ manifest }) => manifest.spec.source.sha256 === sha256);
  }

  #isPreparing(app: string): boolean {
    return this.#ofApp(app).some(({ manifest, isUnsettled }) => isUnsettled && manifest.state !== "stopping");
  }

  #isServing(app: string): boolean {
    return this.#ofApp(app).some(
      ({ manifest }) => manifest.state === "running" || manifest.state === "starting",
    );
  }

  #ofApp(app: string): Supervisor[] {
    return [...this.#supervisors.values()].filter(({ key }) => key.startsWith(`${app}/`));
  }
}

/** Names of directories. A file there (a file browser's notes) is no deployment. */
async function directoriesIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? entry.name : []));
}
