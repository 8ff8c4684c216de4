import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { IMPORT_AGENT } from "../../functions/protocol/builds.ts";
import type { AgentTold } from "../builds/agent-session.ts";
import { RunnerError } from "../runner-error.ts";
import type { SourceStore } from "../sources/source-store.ts";
import type { Trash } from "../workspaces/trash.ts";
import type { ImportSource } from "./manifest.ts";
import type { ProjectGit } from "./project-git.ts";

export interface ImportOptions {
  source: ImportSource | null;
  /** The workspace. */
  directory: string;
  /** Beside it, on the same file system, and the runner's own. */
  partial: string;
  git: ProjectGit;
  sources: SourceStore;
  trash: Trash;
  /** Makes a tree the project's guest's. */
  give: (path: string) => Promise<void>;
  told: AgentTold;
  signal: AbortSignal;
}

/** Fills an empty workspace in the place of an agent: whole, or not at all. */
export class ImportSession {
  readonly id = IMPORT_AGENT;
  /** It takes no summary of earlier builds. */
  readonly isResumed = true;
  readonly takesImages = false;
  readonly #options: ImportOptions;
  readonly #ending = new AbortController();
  #work: Promise<void> | null = null;

  constructor(options: ImportOptions) {
    this.#options = options;
  }

  async prompt(): Promise<string> {
    this.#work = this.#import();
    await this.#work;
    return "end_turn";
  }

  async cancel(): Promise<void> {
    this.#ending.abort();
    await this.#work?.catch(() => undefined); // the prompt says it
  }

  stop(): Promise<void> {
    return this.cancel();
  }

  async #import(): Promise<void> {
    const { source, directory, told, trash } = this.#options;
    const say = (text: string): void => told.fact({ type: "message", from: "agent", text });
    if (source === null) return say("It is here already.");
    if ((await readdir(directory)).length > 0)
      throw new RunnerError("project_not_empty", "The project has files already: import into a new one.");
    const signal = AbortSignal.any([this.#options.signal, this.#ending.signal]);
    try {
      if ("sha256" in source) {
        await this.#unpack(source.sha256, signal);
        say(`Unpacked ${source.sha256.slice(0, 10)}.`);
      } else {
        say(`Cloned ${source.url} (${await this.#options.git.clone(source.url, source.branch, signal)}).`);
      }
      signal.throwIfAborted();
    } catch (error) {
      for (const name of await readdir(directory)) await trash.discard(join(directory, name));
      throw error;
    }
  }

  async #unpack(sha256: string, signal: AbortSignal): Promise<void> {
    const { directory, partial, sources, give } = this.#options;
    await rm(partial, { recursive: true, force: true });
    try {
      await sources.unpack(sha256, partial, signal);
      await give(partial);
      for (const name of await readdir(partial)) await rename(join(partial, name), join(directory, name));
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  }
}
