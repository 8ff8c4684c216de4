import { constants, createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ProcessJournal } from "../processes/journal.ts";
import { RunnerError } from "../runner-error.ts";
import { BRANCH_PATTERN, type GitSettings, type Remote } from "./remote.ts";
import { GitFailure, runGit } from "./run-git.ts";

/** The login was wrong, or there was none. Source: what git and the large hosts say. */
const UNAUTHORIZED = /Authentication failed|could not read Username|terminal prompts disabled|403|401/;
const BEHIND = /\[rejected\]|non-fast-forward|fetch first/;

/** A guest's git may be any program that writes for ever. */
const BUNDLE_LIMIT_BYTES = 1024 ** 3;

export interface CarrierOptions {
  /** The runner's own repository of this project. Nothing that a guest writes to is in it. */
  directory: string;
  settings: GitSettings;
  inherit: readonly string[];
  journal: ProcessJournal;
  owner: string;
}

/**
 * Brings commits between a remote and a workspace, as bundles. The runner's git speaks with the remote and has the login; the
 * guest's git works in the workspace and has neither. Errors: `git_unauthorized`, `git_behind`, `git_failed`.
 */
export class Carrier {
  readonly #options: CarrierOptions;

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  /** Writes the remote's branch into a bundle; without a branch, the remote's own. Null: the remote has no such branch. */
  async fetch(
    remote: Remote,
    token: string | null,
    { branch, bundle, signal }: { branch: string | null; bundle: string; signal: AbortSignal },
  ): Promise<{ branch: string; commit: string } | null> {
    await this.#prepare(signal);
    const name = branch ?? (await this.#defaultBranch(remote, token, signal));
    if (name === null) return null;
    if (!BRANCH_PATTERN.test(name)) {
      throw new RunnerError(
        "git_failed",
        `The remote's own branch is ${name}, which isn't taken here: name a branch.`,
      );
    }
    try {
      await this.#git(
        ["fetch", "--quiet", "--no-tags", remote.url, `+refs/heads/${name}:refs/heads/${name}`],
        {
          remote,
          token,
          signal,
        },
      );
    } catch (error) {
      if (error instanceof GitFailure && /couldn't find remote ref/.test(error.said)) return null;
      throw explained(error, remote);
    }
    const own = join(this.#options.directory, "outgoing.bundle");
    try {
      await this.#git(["bundle", "create", "--quiet", own, `refs/heads/${name}`], { signal });
      await giveFile(own, bundle, signal);
    } finally {
      await rm(own, { force: true });
    }
    return {
      branch: name,
      commit: (await this.#git(["rev-parse", `refs/heads/${name}`], { signal })).trim(),
    };
  }

  /** Pushes what a bundle has as `HEAD`. Never by force. */
  async push(
    remote: Remote,
    token: string | null,
    { branch, bundle, signal }: { branch: string; bundle: string; signal: AbortSignal },
  ): Promise<void> {
    await this.#prepare(signal);
    const own = join(this.#options.directory, "incoming.bundle");
    try {
      await takeFile(bundle, own, signal);
      await this.#git(["fetch", "--quiet", "--no-tags", own, "+HEAD:refs/outgoing/head"], { signal });
    } finally {
      await rm(own, { force: true });
    }
    try {
      await this.#git(["push", "--quiet", remote.url, `refs/outgoing/head:refs/heads/${branch}`], {
        remote,
        token,
        signal,
      });
    } catch (error) {
      throw explained(error, remote);
    }
  }

  async remove(): Promise<void> {
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    await this.#git(["init", "--quiet", "--bare"], { signal });
  }

  async #defaultBranch(remote: Remote, token: string | null, signal: AbortSignal): Promise<string | null> {
    const said = await this.#git(["ls-remote", "--symref", remote.url, "HEAD"], {
      remote,
      token,
      signal,
    }).catch((error: unknown) => {
      throw explained(error, remote);
    });
    return /^ref: refs\/heads\/(\S+)\tHEAD$/m.exec(said)?.[1] ?? null;
  }

  #git(
    args: readonly string[],
    { signal, remote, token = null }: { signal: AbortSignal; remote?: Remote; token?: string | null },
  ): Promise<string> {
    const { directory: cwd, ...options } = this.#options;
    return runGit(args, { ...options, cwd, signal, token, ...(remote && { remote }) });
  }
}

/** A guest's file, and nothing that a link or a directory in its place leads to. */
async function takeFile(from: string, to: string, signal: AbortSignal): Promise<void> {
  const file = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new RunnerError("git_failed", "The bundle isn't a file.");
    if (found.size > BUNDLE_LIMIT_BYTES) {
      throw new RunnerError("git_failed", `The commits are larger than ${BUNDLE_LIMIT_BYTES} bytes.`);
    }
    // It may grow while it is read.
    const bytes = file.createReadStream({ autoClose: false, start: 0, end: BUNDLE_LIMIT_BYTES });
    await pipeline(bytes, createWriteStream(to, { mode: 0o600 }), { signal });
  } finally {
    await file.close();
  }
}

/** Into a directory of a guest's, who may have put a link in the way: then it fails. */
async function giveFile(from: string, to: string, signal: AbortSignal): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(to, flags, 0o644);
  await file.chmod(0o644); // whatever the runner's own umask is
  // The stream closes it.
  await pipeline(createReadStream(from), file.createWriteStream(), { signal });
}

/** In words that say what to do. */
function explained(error: unknown, { host }: Remote): unknown {
  if (!(error instanceof GitFailure)) return error;
  if (BEHIND.test(error.said)) {
    return new RunnerError("git_behind", "The remote has commits that the project hasn't: sync first.");
  }
  if (!UNAUTHORIZED.test(error.said)) return error;
  return new RunnerError(
    "git_unauthorized",
    `${host ?? "The remote"} wants a login, or refuses this one: set the project's variable GIT_TOKEN, for git, ` +
      "or RUNNER_GIT_TOKENS on the runner.",
  );
}

export function bundleIn(directory: string): string {
  return join(directory, `signalbox-${crypto.randomUUID()}.bundle`);
}
