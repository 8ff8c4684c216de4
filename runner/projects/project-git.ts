import { readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import {
  DIFF_LIMIT,
  type GitDiff,
  type GitRemote,
  type GitState,
} from "../../functions/protocol/project-git.ts";
import { bundleIn, Carrier } from "../git/carrier.ts";
import { BRANCH_PATTERN, type GitSettings, parseRemote, type Remote } from "../git/remote.ts";
import type { Exit } from "../processes/hosted-process.ts";
import type { ProcessJournal } from "../processes/journal.ts";
import { asRunnerError, isSystemError, RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { isCache } from "../workspaces/caches.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import type { EnvStore } from "./env-store.ts";
import type { Mask } from "./mask.ts";

/** The variable of a project that its remote's login is. */
export const TOKEN_VARIABLE = "GIT_TOKEN";
const CHANGES_LIMIT = 1_000;
const TIME_LIMIT_MS = 60_000;
/** What builds write, where git ignores it. */
const BUILT = new Set(["dist", "build", "out", ".output", ".vercel", "coverage", "next-env.d.ts"]);

const stored = z.object({
  schema: z.literal(1),
  remote: z.string().nullable(),
  branch: z.string().regex(BRANCH_PATTERN),
  pushAfterBuild: z.boolean(),
  lastPush: z
    .object({ at: z.string(), commit: z.string().nullable(), error: z.string().nullable() })
    .nullable(),
});
type Stored = z.infer<typeof stored>;

const nothing: Stored = {
  schema: 1,
  remote: null,
  branch: "main",
  pushAfterBuild: false,
  lastPush: null,
};

/** Runs a shell command as the project's guest, in its workspace. */
export type RunGuest = (
  command: string,
  given: Record<string, string>,
  limits: { limitMs: number; outputLimit: number; signal: AbortSignal },
) => Promise<{ exit: Exit; stdout: string; stderr: string }>;

export interface ProjectGitOptions {
  /** What the runner keeps of the project. */
  own: string;
  /** A directory that the guest writes to. */
  temporary: string;
  settings: GitSettings;
  inherit: readonly string[];
  journal: ProcessJournal;
  /** Who its processes are for, in the journal. */
  owner: string;
  env: EnvStore;
  /** A remote may say the login that it was given. */
  mask: Mask;
  guest: RunGuest;
}

/**
 * A project's git. All that reads the workspace's repository, with its hooks and settings, runs as the guest; what speaks with
 * the remote is the runner's, and never reads the workspace.
 */
export class ProjectGit {
  readonly #options: ProjectGitOptions;
  readonly #file: string;
  readonly #carrier: Carrier;
  readonly #ending = new AbortController();
  #stored: Stored;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: ProjectGitOptions, file: string, known: Stored) {
    this.#options = options;
    this.#file = file;
    this.#stored = known;
    const { settings, inherit, journal, owner } = options;
    this.#carrier = new Carrier({ directory: join(options.own, "git"), settings, inherit, journal, owner });
  }

  static async open(options: ProjectGitOptions): Promise<ProjectGit> {
    const file = join(options.own, "git.json");
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    });
    const known = text === null ? nothing : stored.safeParse(JSON.parse(text)).data;
    if (known === undefined)
      complain(file, new Error("it isn't what this runner writes; the remote is to be set again"));
    return new ProjectGit(options, file, known ?? nothing);
  }

  /** `OWNER/NAME` of the GitHub that the runner knows. */
  addressOnGitHub(repository: string): string {
    return `${this.#options.settings.githubUrl}/${repository}.git`;
  }

  get remote(): GitRemote {
    const { remote, branch, pushAfterBuild } = this.#stored;
    return { remote, branch, pushAfterBuild };
  }

  /** Errors: `invalid_request`. */
  async configure(change: GitRemote): Promise<void> {
    if (change.remote !== null) parseRemote(change.remote, this.#options.settings);
    await this.#inTurn(async () => {
      // What was fetched from another remote is of no use.
      if (change.remote !== this.#stored.remote) await this.#carrier.remove();
      await this.#save({ ...this.#stored, ...change });
    });
  }

  async state(): Promise<GitState> {
    const isRepository = (await this.#run("git rev-parse --git-dir")).exit.code === 0;
    const { lastPush } = this.#stored;
    const known = { ...this.remote, isRepository, lastPush };
    if (!isRepository) return { ...known, commit: null, subject: null, changes: [], truncated: false };
    const head = await this.#run("git log -1 --format=%H%n%s");
    const [commit = "", subject = ""] = head.exit.code === 0 ? head.stdout.split("\n") : [];
    const status = await this.#must("git status --porcelain=v1 -z --no-renames --untracked-files=all");
    const entries = status.split("\0").filter((entry) => entry.length > 3);
    return {
      ...known,
      commit: commit === "" ? null : commit,
      subject: subject === "" ? null : subject,
      changes: entries
        .slice(0, CHANGES_LIMIT)
        .map((entry) => ({ status: entry.slice(0, 2), path: entry.slice(3) })),
      truncated: entries.length > CHANGES_LIMIT,
    };
  }

  /** Why the workspace is the only copy of something; null: the remote has all of it. */
  async onlyCopy(): Promise<string | null> {
    const { remote, branch, lastPush } = this.#stored;
    if (remote === null) return "it has no git remote";
    const state = await this.state();
    if (!state.isRepository || state.commit === null) return "nothing of it is committed";
    if (state.changes.length > 0) return `${state.changes.length} changes aren't committed`;
    const ignored = await this.#must("git status --porcelain=v1 -z --ignored --untracked-files=normal");
    const kept = ignored
      .split("\0")
      .map((entry) => entry.slice(3).replace(/\/$/, ""))
      .find((path) => path !== "" && !isMadeAgain(path));
    if (kept !== undefined) return `git ignores ${kept}, which the remote hasn't got`;
    const pushed = lastPush?.error === null ? (lastPush.commit ?? "") : "";
    // Also of other branches and of the stash.
    const command =
      'git cat-file -e "$PUSHED^{commit}" 2>/dev/null || PUSHED=; ' +
      'git rev-list --max-count=1 HEAD --branches --glob=refs/stash --not $PUSHED "refs/remotes/origin/$BRANCH" 2>/dev/null || ' +
      "git rev-list --max-count=1 HEAD --branches --glob=refs/stash --not $PUSHED";
    const left = await this.#must(command, { PUSHED: pushed, BRANCH: branch });
    return left.trim() === "" ? null : `commit ${left.trim().slice(0, 10)} isn't pushed`;
  }

  /** Against the last commit; new files are in it. */
  async diff(): Promise<GitDiff> {
    // An index of its own, so that nothing of the repository changes.
    const command = [
      'index="$(mktemp)" && trap \'rm -f "$index"\' EXIT',
      'cp "$(git rev-parse --git-path index)" "$index" 2>/dev/null || rm -f "$index"',
      'export GIT_INDEX_FILE="$index"',
      "git add -A -N . && git diff --no-color --no-ext-diff --no-textconv HEAD",
    ].join("; ");
    const diff = await this.#must(command, {}, 2 * DIFF_LIMIT);
    return { diff: diff.slice(0, DIFF_LIMIT), truncated: diff.length > DIFF_LIMIT };
  }

  init(): Promise<void> {
    return this.#inTurn(() => this.#init());
  }

  /** Everything that isn't ignored. Answers null where there is nothing to commit. */
  commit(message: string): Promise<string | null> {
    return this.#inTurn(() => this.#commit(message));
  }

  /** Commits first where there is a message. Errors: `git_behind`, `git_unauthorized`, `git_failed`, `invalid_request`. */
  push(message: string | null): Promise<void> {
    return this.#inTurn(async () => {
      let commit: string | null = null;
      try {
        const remote = this.#remote();
        if (message !== null) {
          await this.#init();
          await this.#commit(message);
        }
        commit = await this.#head();
        if (commit === null) throw new RunnerError("git_failed", "There is no commit to push: commit first.");
        await this.#push(remote);
        await this.#pushed({ commit, error: null });
      } catch (error) {
        await this.#pushed({ commit, error: this.#options.mask.text(asRunnerError(error).message) });
        throw error;
      }
    });
  }

  /** Merges what the remote has. Errors: `git_conflict`, and nothing is changed; those of {@link push}. */
  sync(): Promise<void> {
    return this.#inTurn(async () => {
      const { branch } = this.#stored;
      const found = await this.#fetched(this.#remote(), branch);
      if (found === null) throw new RunnerError("git_failed", `The remote has no branch ${branch}.`);
      try {
        await this.#init();
        const hasCommit = (await this.#head()) !== null;
        await this.#must(
          'git fetch --quiet --no-tags "$BUNDLE" "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH"',
          { BUNDLE: found.bundle, BRANCH: branch },
        );
        const command = hasCommit
          ? 'git merge --quiet --no-edit "refs/remotes/origin/$BRANCH" >/dev/null || { git diff --name-only --diff-filter=U; git merge --abort; exit 9; }'
          : 'git merge --quiet --ff-only "refs/remotes/origin/$BRANCH"';
        const { exit, stdout, stderr } = await this.#run(command, { BRANCH: branch });
        if (exit.code === 0) return;
        const files = stdout.split("\n").filter((line) => line !== "");
        throw new RunnerError(
          "git_conflict",
          `What the remote has doesn't fit: ${files.slice(0, 10).join(", ") || firstOf(stderr)}. Nothing was changed.`,
        );
      } finally {
        await rm(found.bundle, { force: true });
      }
    });
  }

  /** Fills an empty workspace. Answers the branch and the commit. */
  clone(address: string, branch: string | null, signal: AbortSignal): Promise<string> {
    const remote = parseRemote(address, this.#options.settings);
    return this.#inTurn(async () => {
      const found = await this.#fetched(remote, branch, signal);
      if (found === null) {
        const what = branch === null ? "no commit" : `no branch ${branch}`;
        throw new RunnerError("git_failed", `The remote has ${what}.`);
      }
      try {
        await this.#must(
          'git init --quiet && git fetch --quiet --no-tags "$BUNDLE" "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH" && ' +
            'git checkout --quiet -B "$BRANCH" "refs/remotes/origin/$BRANCH"',
          { BUNDLE: found.bundle, BRANCH: found.branch },
        );
      } finally {
        await rm(found.bundle, { force: true });
      }
      await this.#save({ ...this.#stored, remote: address, branch: found.branch });
      return `${found.branch}, ${found.commit.slice(0, 10)}`;
    });
  }

  /** After a build that brought the project up. How it went is in the state. */
  async afterBuild(message: string): Promise<string | null> {
    const { remote, pushAfterBuild } = this.#stored;
    if (remote === null || !pushAfterBuild) return null;
    return this.push(message).then(
      () => `pushed to ${remote}`,
      (error: unknown) => `not pushed to ${remote}: ${asRunnerError(error).message}`,
    );
  }

  async close(): Promise<void> {
    this.#ending.abort(new RunnerError("draining", "The project is closed."));
    await this.#turn;
  }

  async #init(): Promise<void> {
    if ((await this.#run("git rev-parse --git-dir")).exit.code === 0) return;
    await this.#must('git init --quiet && git symbolic-ref HEAD "refs/heads/$BRANCH"', {
      BRANCH: this.#stored.branch,
    });
  }

  async #commit(message: string): Promise<string | null> {
    await this.#must("git add -A .");
    if ((await this.#run("git diff --cached --quiet")).exit.code === 0) return null;
    await this.#must('printf %s "$MESSAGE" | git commit --quiet --file=-', { MESSAGE: message });
    return this.#head();
  }

  async #push(remote: Remote): Promise<void> {
    const bundle = bundleIn(this.#options.temporary);
    try {
      await this.#must('git bundle create --quiet "$BUNDLE" HEAD', { BUNDLE: bundle });
      const { branch } = this.#stored;
      await this.#carrier.push(remote, this.#token(remote), {
        branch,
        bundle,
        signal: this.#ending.signal,
      });
    } finally {
      await rm(bundle, { force: true });
    }
  }

  async #fetched(
    remote: Remote,
    branch: string | null,
    signal: AbortSignal = this.#ending.signal,
  ): Promise<{ branch: string; commit: string; bundle: string } | null> {
    const bundle = bundleIn(this.#options.temporary);
    // The guest has been in its temporary directory before there is anything in it to read.
    await this.#must("true");
    const ending = AbortSignal.any([signal, this.#ending.signal]);
    const found = await this.#carrier.fetch(remote, this.#token(remote), { branch, bundle, signal: ending });
    return found && { ...found, bundle };
  }

  async #head(): Promise<string | null> {
    const { exit, stdout } = await this.#run("git rev-parse --verify --quiet HEAD");
    return exit.code === 0 ? stdout.trim() : null;
  }

  #remote(): Remote {
    const { remote } = this.#stored;
    if (remote === null)
      throw new RunnerError("invalid_request", "The project has no remote: set one.", "remote");
    return parseRemote(remote, this.#options.settings);
  }

  #token({ host }: Remote): string | null {
    const { env, settings } = this.#options;
    if (host === null) return null;
    return env.of("git")[TOKEN_VARIABLE] ?? settings.tokens[host] ?? null;
  }

  async #pushed(how: { commit: string | null; error: string | null }): Promise<void> {
    await this.#save({ ...this.#stored, lastPush: { at: new Date().toISOString(), ...how } });
  }

  async #save(next: Stored): Promise<void> {
    await writeFileAtomically(this.#file, JSON.stringify(next));
    this.#stored = next;
  }

  async #must(command: string, given: Record<string, string> = {}, outputLimit?: number): Promise<string> {
    const { exit, stdout, stderr } = await this.#run(command, given, outputLimit);
    if (exit.code === 0) return stdout;
    if (exit.code === 127)
      throw new RunnerError("git_failed", "There is no git on the runner's machine: install it.");
    throw new RunnerError("git_failed", `git in the project: ${firstOf(stderr)}`);
  }

  #run(command: string, given: Record<string, string> = {}, outputLimit = 1024 * 1024): ReturnType<RunGuest> {
    const identity = {
      GIT_AUTHOR_NAME: "Signalbox",
      GIT_AUTHOR_EMAIL: "signalbox@localhost",
      GIT_COMMITTER_NAME: "Signalbox",
      GIT_COMMITTER_EMAIL: "signalbox@localhost",
      GIT_TERMINAL_PROMPT: "0",
      // A directory above the workspace is none of its business.
      GIT_CEILING_DIRECTORIES: join(this.#options.own, "../../.."),
      LC_ALL: "C",
    };
    const limits = { limitMs: TIME_LIMIT_MS, outputLimit, signal: this.#ending.signal };
    return this.#options.guest(command, { ...identity, ...given }, limits);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work).catch((error: unknown) => {
      if (!(error instanceof RunnerError)) throw error;
      throw new RunnerError(error.code, this.#options.mask.text(error.message), error.field);
    });
    this.#turn = turn.catch(() => undefined); // whoever asked for it is told
    return turn;
  }
}

/** By an install or a build. */
function isMadeAgain(path: string): boolean {
  const name = basename(path);
  return isCache(name) || BUILT.has(name);
}

function firstOf(said: string): string {
  const lines = said.split("\n").map((line) => line.trim());
  return (
    lines.find((line) => /^(?:fatal|error):/.test(line)) ?? lines.find((line) => line !== "") ?? "it failed"
  );
}
