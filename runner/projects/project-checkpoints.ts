import type { BuildDiff, UndoView } from "../../functions/protocol/builds.ts";
import type { Build } from "../builds/build.ts";
import { Checkpoints } from "../builds/checkpoints.ts";
import type { GuestUser } from "../confinement/confinement.ts";
import { RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";

/** What to do about files that somebody else has changed since. */
export const changedSince = ["refuse", "keep", "overwrite"] as const;
export type ChangedSince = (typeof changedSince)[number];

/** Files that a refusal names. */
const FILES_NAMED = 10;

export interface CheckpointedProject {
  /** The runner's own, outside of the project. */
  directory: string;
  workspace: string;
  project: string;
  builds: () => Build[];
  user: () => GuestUser | null;
}

/** What the builds of a project changed, and the way back. */
export class ProjectCheckpoints {
  readonly #options: CheckpointedProject;
  readonly #checkpoints: Checkpoints;
  /** A sweep must not take away what is being kept. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: CheckpointedProject) {
    this.#options = options;
    this.#checkpoints = new Checkpoints(options.directory, options.workspace);
  }

  /** Null: it can't be taken, which no build fails for. */
  async take(): Promise<number | null> {
    try {
      return await this.#inTurn(() => this.#checkpoints.take());
    } catch (error) {
      complain(`project ${this.#options.project}: can't take a checkpoint`, error);
      return null;
    }
  }

  /** Errors: `nothing_to_undo` for a build that has no checkpoints. */
  async diff(build: Build): Promise<BuildDiff> {
    const { from, to } = spanOf(build);
    return { id: build.id, ...(await this.#inTurn(() => this.#checkpoints.diff(from, to))) };
  }

  /** Paths that a build changed. */
  async changed(from: number, to: number): Promise<string[]> {
    return this.#checkpoints.changed(from, to);
  }

  /**
   * Takes a build back; without an id, the last one that changed something and wasn't taken back yet.
   * Errors: `nothing_to_undo`, `build_running`, `changed_since`.
   */
  async undo(id: string | null, changed: ChangedSince): Promise<UndoView> {
    const { builds, project, user } = this.#options;
    const all = builds();
    if (all.some((build) => !build.isOver))
      throw new RunnerError(
        "build_running",
        `A build of project ${project} runs: cancel it, or wait for it.`,
      );
    const build = id === null ? await this.#lastThatChanged(all) : all.find((one) => one.id === id);
    if (build === undefined) {
      if (id !== null)
        throw new RunnerError("build_not_found", `Project ${project} has no build ${id} on this runner.`);
      throw new RunnerError("nothing_to_undo", `No build of project ${project} is left to undo.`);
    }
    const { from, to } = spanOf(build);
    const overwrite = changed === "overwrite";
    const how = { overwrite, user: user() };
    if (changed === "refuse") {
      const { kept } = await this.#checkpoints.undo(from, to, { ...how, dryRun: true });
      if (kept.length > 0) {
        const named = kept.slice(0, FILES_NAMED).join(", ");
        throw new RunnerError(
          "changed_since",
          `${kept.length} of its files changed since: ${named}${kept.length > FILES_NAMED ? ", …" : ""}. Keep them as they are, or overwrite them.`,
        );
      }
    }
    const undone = await this.#inTurn(async () => {
      // What is taken away stays in a checkpoint.
      await this.#checkpoints.take();
      return this.#checkpoints.undo(from, to, { ...how, dryRun: false });
    });
    await build.undone();
    return { id: build.id, ...undone };
  }

  /** Forgets what no build leads to any more. */
  async sweep(): Promise<void> {
    await this.#inTurn(() => {
      const kept = this.#options.builds().flatMap(({ checkpoints }) => checkpoints);
      return this.#checkpoints.keepOnly(new Set(kept));
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined); // its caller is told
    return done;
  }

  async #lastThatChanged(builds: Build[]): Promise<Build | undefined> {
    const newest = builds.toSorted((one, other) => other.view.createdAt.localeCompare(one.view.createdAt));
    for (const build of newest) {
      const { span } = build;
      if (span === null || build.isUndone) continue;
      if ((await this.#checkpoints.changed(span.from, span.to)).length > 0) return build;
    }
    return undefined;
  }
}

function spanOf({ id, span }: Build): { from: number; to: number } {
  if (span !== null) return span;
  throw new RunnerError(
    "nothing_to_undo",
    `Build ${id} has no checkpoints: it began before there were any, didn't begin, or the project has too many files.`,
  );
}
