import { randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { isSystemError } from "../runner-error.ts";
import type { Trash } from "../workspaces/trash.ts";
import type { Manager } from "./wanted-managers.ts";

/** Runs a command in a directory, as a step of the deployment that needs it. Rejects if it fails. */
export type RunInstall = (command: string, directory: string) => Promise<void>;

/**
 * Package managers that the runner has brought, a directory for each version, shared by all that it hosts. They come
 * from the registry of the runner's own settings: a source's .npmrc must not decide what other sources run.
 */
export class ManagerStore {
  readonly directory: string;
  readonly #trash: Trash;
  readonly #installs = new Map<string, Promise<void>>();

  private constructor(directory: string, trash: Trash) {
    this.directory = directory;
    this.#trash = trash;
  }

  static async open(directory: string, trash: Trash): Promise<ManagerStore> {
    await mkdir(directory, { recursive: true });
    await chmod(directory, 0o755); // every guest runs what is here
    // What a killed runner was installing.
    for (const name of await readdir(directory)) {
      if (name.startsWith(".partial-")) await trash.discard(join(directory, name));
    }
    return new ManagerStore(directory, trash);
  }

  /** The directory with a package manager's programs, or null until it is brought. */
  async find(manager: Manager): Promise<string | null> {
    const directory = this.#binaries(manager);
    try {
      await stat(directory);
      return directory;
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    }
  }

  /** Brings a package manager, once for each version, however many ask at a time; answers its programs' directory. */
  async bring(manager: Manager, signal: AbortSignal, run: RunInstall): Promise<string> {
    for (;;) {
      signal.throwIfAborted();
      const known = await this.find(manager);
      if (known !== null) return known;
      const key = keyOf(manager);
      const underWay = this.#installs.get(key);
      if (underWay === undefined) {
        const install = this.#install(manager, run).finally(() => this.#installs.delete(key));
        this.#installs.set(key, install);
        await install;
      } else {
        // The first caller may be stopped or hit its own limits: then this one installs.
        await underWay.catch(() => undefined);
      }
    }
  }

  async #install(manager: Manager, run: RunInstall): Promise<void> {
    const partial = join(this.directory, `.partial-${randomUUID()}`);
    await mkdir(partial, { mode: 0o700 });
    try {
      await run(installLine(manager), partial);
      await rename(partial, join(this.directory, keyOf(manager)));
    } finally {
      await this.#trash.discard(partial);
    }
  }

  #binaries(manager: Manager): string {
    return join(this.directory, keyOf(manager), "node_modules", ".bin");
  }
}

function keyOf({ name, version }: Manager): string {
  return `${name}@${version}`;
}

/** npm's own two retries, of 10 and 60 s, only make who is offline wait for that word. */
const NPM_FLAGS =
  "--no-audit --no-fund --no-update-notifier --ignore-scripts --fetch-retries=1 --fetch-retry-mintimeout=2000";

/** Scripts of packages aren't run; those of bun and deno put their program in place. */
const PLACED_BY: Partial<Record<Manager["name"], string>> = { bun: "install.js", deno: "install.cjs" };

function installLine({ name, version, package: source }: Manager): string {
  const install = `npm install --prefix . ${NPM_FLAGS} ${source}@${version}`;
  const script = PLACED_BY[name];
  return script === undefined ? install : `${install} && node node_modules/${name}/${script}`;
}
