/** A project's git repository and its remote, as the runner tells them. See PROTOCOL.md, section 5. */

import { isObject } from "./control.ts";

/** Characters of an address, of a message. */
export const REMOTE_LIMIT = 2_000;
export const MESSAGE_LIMIT = 8_000;
/** Of a diff that is told; people read less. */
export const DIFF_LIMIT = 256 * 1024;

/** What is kept of it outside the workspace, where no agent changes it. */
export interface GitRemote {
  /** Null: none. */
  remote: string | null;
  branch: string;
  /** Commits and pushes after each build that brought the project up. */
  pushAfterBuild: boolean;
}

export interface GitState extends GitRemote {
  isRepository: boolean;
  /** Null before the first commit. */
  commit: string | null;
  subject: string | null;
  /** By `git status --porcelain`: two letters each. */
  changes: { status: string; path: string }[];
  truncated: boolean;
  /** The last push and how it went; null: none yet. */
  lastPush: { at: string; commit: string | null; error: string | null } | null;
}

export interface GitDiff {
  diff: string;
  truncated: boolean;
}

/** Null for anything else. */
export function parseGitState(value: unknown): GitState | null {
  if (!isObject(value) || !Array.isArray(value["changes"])) return null;
  const { remote, branch, pushAfterBuild, isRepository, commit, subject, truncated, lastPush } = value;
  if (!isTextOrNull(remote) || typeof branch !== "string" || typeof pushAfterBuild !== "boolean") return null;
  if (typeof isRepository !== "boolean" || !isTextOrNull(commit) || !isTextOrNull(subject)) return null;
  const push = lastPush === null ? null : parsePush(lastPush);
  if (typeof truncated !== "boolean" || push === undefined) return null;
  const changes = value["changes"].flatMap((one: unknown) =>
    isObject(one) && typeof one["status"] === "string" && typeof one["path"] === "string"
      ? { status: one["status"], path: one["path"] }
      : [],
  );
  return {
    remote,
    branch,
    pushAfterBuild,
    isRepository,
    commit,
    subject,
    changes,
    truncated,
    lastPush: push,
  };
}

function parsePush(value: unknown): GitState["lastPush"] | undefined {
  if (!isObject(value) || typeof value["at"] !== "string") return undefined;
  const { at, commit, error } = value;
  return isTextOrNull(commit) && isTextOrNull(error) ? { at, commit, error } : undefined;
}

export function parseGitDiff(value: unknown): GitDiff | null {
  if (!isObject(value) || typeof value["diff"] !== "string" || typeof value["truncated"] !== "boolean")
    return null;
  return { diff: value["diff"], truncated: value["truncated"] };
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}
