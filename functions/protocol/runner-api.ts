/**
 * The HTTP API that a runner serves inside its tunnel, as the Worker calls it. Both sides take their shapes from here.
 * See PROTOCOL.md, section 5.
 */

import type { CleanupReport } from "./cleanup.ts";
import type { RunnerAgents } from "./agents.ts";
import type { BuildDiff, BuildView, ProjectView, UndoView } from "./builds.ts";
import { isObject } from "./control.ts";
import type { StoredImage } from "./images.ts";
import { printableLine } from "./printable.ts";
import type { WorkspaceAnswers } from "./workspace-api.ts";

/** The tunnel service that is the runner itself. */
export const RUNNER_SERVICE = "@runner";

/** The tunnel service that is a project's dev server, or another port of it. */
export function projectService(slug: string, port: number | null = null): string {
  return port === null ? `project:${slug}` : `project:${slug}/${port}`;
}

/** An upload's SHA-256. The runner refuses an upload with another one. */
export const SHA256_HEADER = "x-signalbox-sha256";
/** A source's size, in the answer to HEAD. */
export const SOURCE_BYTES_HEADER = "x-signalbox-bytes";

/** Paths, as the caller writes them. `key` is `APP/ID`. */
export const runnerPaths = {
  /** PUT a gzipped tar → {@link StoredSource}. */
  sources: "/sources",
  /** HEAD → 200 with {@link SOURCE_BYTES_HEADER}, or 404. */
  source: (sha256: string) => `/sources/${sha256}`,
  /** PUT {@link HostedSpec}, GET → {@link HostedDeployment}; DELETE → {@link Removed}. */
  deployment: (key: string) => `/deployments/${key}`,
  /** GET → {@link HostedLogPage}. */
  logs: (key: string, query: Partial<Record<"cursor" | "limit" | "wait", number>>) =>
    `/deployments/${key}/logs?${Object.entries(query)
      .map(([name, value]) => `${name}=${value}`)
      .join("&")}`,
  /** POST → {@link HostedDeployment}. Several calls with one `request` are one restart. */
  restart: (key: string, request: string) =>
    `/deployments/${key}/restart?request=${encodeURIComponent(request)}`,
  /** PUT {@link NewProject}, GET → {@link ProjectView}; DELETE → {@link Removed}. */
  project: (slug: string) => `/projects/${slug}`,
  /** POST deletes it but for its files → {@link Released}. */
  releasedProject: (slug: string) => `/projects/${slug}/release`,
  /** The same PUT and DELETE, for the project of one creation alone: of another one, PUT is `project_exists` and DELETE does nothing. */
  createdProject: (slug: string, creation: string) =>
    `/projects/${slug}?creation=${encodeURIComponent(creation)}`,
  /** POST {@link NewBuild} → {@link BuildView}. A repeat with the same id is one build. */
  builds: (slug: string) => `/projects/${slug}/builds`,
  /** PUT an image → {@link StoredImage}, for a {@link NewBuild} to name. */
  images: (slug: string) => `/projects/${slug}/images`,
  /** GET → {@link BuildView}. */
  build: (slug: string, id: string) => `/projects/${slug}/builds/${id}`,
  /** GET → {@link BuildDiff}. */
  buildDiff: (slug: string, id: string) => `/projects/${slug}/builds/${id}/diff`,
  /** POST {@link NewUndo} → {@link UndoView}. */
  undo: (slug: string) => `/projects/${slug}/undo`,
  /** POST `{by}` → {@link BuildView}, when nothing of it runs any more. */
  cancelBuild: (slug: string, id: string) => `/projects/${slug}/builds/${id}/cancel`,
  /** POST {@link NewAnswer} → {@link BuildView}. */
  answerBuild: (slug: string, id: string, request: string) =>
    `/projects/${slug}/builds/${id}/answers/${encodeURIComponent(request)}`,
  /** POST starts the dev server and doesn't wait, DELETE stops it → {@link ProjectView}. */
  devServer: (slug: string) => `/projects/${slug}/dev-server`,
  /** The same POST for a visitor, who starts one that has just crashed only after a while. */
  visitedDevServer: (slug: string) => `/projects/${slug}/dev-server?by=visit`,
  /** POST {@link NewCleanup} → {@link CleanupReport}. */
  cleanup: "/cleanup",
  /** GET → {@link RunnerAgents}. */
  agents: "/agents",
  /** GET → {@link RunnerStatus}. */
  status: "/status",
} as const;

/** In the order of a rollout, then the two that end it. */
export const hostedStates = [
  "unpacking",
  "installing",
  "building",
  "starting",
  "running",
  "failed",
  "stopping",
] as const;
export type HostedState = (typeof hostedStates)[number];

/** What a hosted deployment is made of. Commands go to `/bin/sh -c` in the unpacked source. */
export interface HostedSpec {
  source: { sha256: string };
  /** Without one, the lockfile decides. */
  install?: string | undefined;
  build?: string | undefined;
  /** Listens on `HOST` and `PORT`. */
  start: string;
  env?: Record<string, string> | undefined;
  healthPath?: string | undefined;
  /** The `Host` that the app gets: the public one, or localhost and its port. */
  host?: "public" | "local" | undefined;
}

/** From the strongest down. `docs/security.md` says what each of them closes. */
export const confinementLevels = ["sandbox", "user", "none"] as const;
export type ConfinementLevel = (typeof confinementLevels)[number];

/** How a runner keeps what it starts for others from each other and from itself. */
export interface HostedConfinement {
  level: ConfinementLevel;
  /** `own`: the loopback of this machine and of other guests is closed to a guest. `shared`: it isn't. */
  network: "own" | "shared";
  /** The hosts that guests may reach; null: all. */
  allowed: string[] | null;
  /** Why it isn't stronger, with the remedy; null if it is the strongest. */
  why: string | null;
}

export interface HostedDeployment {
  app: string;
  id: string;
  state: HostedState;
  /** Why it failed, or why it isn't running now. */
  reason: string | null;
  /** The last lines of what failed. */
  lastLines: string[];
  /** Where it listens, or will. */
  port: number | null;
  /** How often it ended by itself. */
  crashes: number;
  source: { sha256: string };
  /** How it is kept from others; null: an older runner, which does nothing. */
  confinement: HostedConfinement | null;
  /** The end of its log. */
  logCursor: number;
  /** RFC 3339. */
  createdAt: string;
  updatedAt: string;
}

export interface StoredSource {
  sha256: string;
  bytes: number;
}

/** The answer to DELETE, also when there was nothing. */
export interface Removed {
  removed: true;
}

/** Where a project's files are now; null: it had none. */
export interface Released {
  kept: string | null;
}

export const hostedLogStreams = ["stdout", "stderr", "system"] as const;
export type HostedLogStream = (typeof hostedLogStreams)[number];

export interface HostedLogLine {
  /** RFC 3339. */
  at: string;
  stream: HostedLogStream;
  text: string;
  /** What the line's process was doing: `install`, `build`, `start`. */
  step?: string;
}

export interface HostedLogPage {
  lines: HostedLogLine[];
  /** Where to go on. */
  cursor: number;
  /** Lines between the asked cursor and these were rotated away. */
  truncated: boolean;
}

/** For people; no program reads it. */
export interface RunnerStatus {
  deployments: HostedDeployment[];
  disk: object;
}

export interface NewProject {
  name: string;
  agent: string | null;
  /** What its first build, by the agent `import`, fills it with. */
  source?: ImportSource | null;
}

export type ImportSource = { url: string; branch: string | null } | { sha256: string };

export interface NewBuild {
  id: string;
  prompt: string;
  agent: string | null;
  /** SHA-256 of images that the project's runner has. */
  images?: string[] | undefined;
  /** Beside the runner's; the stricter one of each holds. */
  limits?:
    | {
        seconds?: number | undefined;
        silenceSeconds?: number | undefined;
        turns?: number | undefined;
        outputBytes?: number | undefined;
        /** In the currency that the agent counts in. */
        cost?: number | undefined;
      }
    | undefined;
}

export interface NewUndo {
  /** Null: the last build that changed something and wasn't taken back yet. */
  build: string | null;
  /** What to do about files that somebody else has changed since. */
  changed: "refuse" | "keep" | "overwrite";
}

export interface NewAnswer {
  /** Null: none of them. */
  option: string | null;
  by: string;
}

/** Every call, as the runner's router matches it (`*` is one segment), and its answer. */
export interface RunnerAnswers extends WorkspaceAnswers {
  "PUT sources": StoredSource;
  "HEAD sources/*": null;
  "PUT deployments/*/*": HostedDeployment;
  "GET deployments/*/*": HostedDeployment;
  "DELETE deployments/*/*": Removed;
  "GET deployments/*/*/logs": HostedLogPage;
  "POST deployments/*/*/restart": HostedDeployment;
  "PUT projects/*": ProjectView;
  "GET projects/*": ProjectView;
  "DELETE projects/*": Removed;
  "PUT projects/*/images": StoredImage;
  "POST projects/*/release": Released;
  "POST projects/*/builds": BuildView;
  "GET projects/*/builds/*": BuildView;
  "GET projects/*/builds/*/diff": BuildDiff;
  "POST projects/*/undo": UndoView;
  "POST projects/*/builds/*/cancel": BuildView;
  "POST projects/*/builds/*/answers/*": BuildView;
  "POST projects/*/dev-server": ProjectView;
  "DELETE projects/*/dev-server": ProjectView;
  "GET projects/*/logs": HostedLogPage;
  "POST cleanup": CleanupReport;
  "GET agents": RunnerAgents;
  "GET status": RunnerStatus;
}
export type RunnerRoute = keyof RunnerAnswers;

/** Why a runner refuses a call, with the answer's status. The body is {@link RunnerRefusal}. */
export const runnerRefusalStatuses = {
  invalid_request: 400,
  invalid_archive: 400,
  hash_mismatch: 400,
  not_found: 404,
  source_not_found: 404,
  deployment_not_found: 404,
  build_not_found: 404,
  question_not_found: 404,
  method_not_allowed: 405,
  deployment_exists: 409,
  deployment_stopping: 409,
  build_exists: 409,
  build_running: 409,
  changed_since: 409,
  nothing_to_undo: 409,
  git_conflict: 409,
  git_behind: 409,
  git_unauthorized: 409,
  git_failed: 409,
  project_exists: 409,
  project_not_empty: 409,
  project_busy: 409,
  too_large: 413,
  too_many_builds: 429,
  internal: 500,
  draining: 503,
  disk_full: 507,
} as const;
export type RunnerRefusalCode = keyof typeof runnerRefusalStatuses;

export interface RunnerRefusal {
  /** A {@link RunnerRefusalCode}, or another version's code. */
  code: string;
  detail: string;
  /** The part of the request that is wrong. */
  field?: string;
}

/** Characters of a refusal that the Worker passes on. */
const DETAIL_LIMIT = 500;
const FIELD_LIMIT = 100;
/** Characters of a log line. Its control characters stay (an app may use colours): whoever prints it cleans it. */
const LINE_LIMIT = 16 * 1024;

// Parsers return null for anything else, and drop unknown fields.

/** Null also for a state of a later version. */
export function parseHostedDeployment(value: unknown): HostedDeployment | null {
  if (!isObject(value)) return null;
  const { app, id, reason, port, crashes, source, logCursor, createdAt, updatedAt } = value;
  const state = oneOf(hostedStates, value["state"]);
  const lastLines = texts(value["lastLines"]);
  if (typeof app !== "string" || typeof id !== "string" || state === null || lastLines === null) return null;
  if (reason !== null && typeof reason !== "string") return null;
  if (port !== null && !isCount(port)) return null;
  if (!isCount(crashes) || !isCount(logCursor)) return null;
  if (!isObject(source) || typeof source["sha256"] !== "string") return null;
  if (typeof createdAt !== "string" || typeof updatedAt !== "string") return null;
  const { sha256 } = source;
  return {
    app,
    id,
    state,
    reason,
    lastLines,
    port,
    crashes,
    source: { sha256 },
    confinement: parseConfinement(value["confinement"]),
    logCursor,
    createdAt,
    updatedAt,
  };
}

/** Null also for a level of a later version. */
export function parseConfinement(value: unknown): HostedConfinement | null {
  if (!isObject(value)) return null;
  const { network, why } = value;
  const level = oneOf(confinementLevels, value["level"]);
  const allowed = value["allowed"] === null ? null : texts(value["allowed"]);
  if (level === null || (network !== "own" && network !== "shared")) return null;
  if (allowed === null && value["allowed"] !== null) return null;
  return {
    level,
    network,
    allowed: allowed?.map((host) => printableLine(host, FIELD_LIMIT)) ?? null,
    why: typeof why === "string" ? printableLine(why, DETAIL_LIMIT) : null,
  };
}

export function parseHostedLogPage(value: unknown): HostedLogPage | null {
  if (!isObject(value) || !Array.isArray(value["lines"]) || !isCount(value["cursor"])) return null;
  const { cursor, truncated = false } = value;
  const lines = value["lines"].map(parseLogLine).filter((line) => line !== null);
  if (typeof truncated !== "boolean" || lines.length < value["lines"].length) return null;
  return { lines, cursor, truncated };
}

export function parseStoredSource(value: unknown): StoredSource | null {
  if (!isObject(value) || typeof value["sha256"] !== "string" || !isCount(value["bytes"])) return null;
  const { sha256, bytes } = value;
  return /^[0-9a-f]{64}$/.test(sha256) ? { sha256, bytes } : null;
}

/** Cut, and without control characters. */
export function parseRunnerRefusal(value: unknown): RunnerRefusal | null {
  if (!isObject(value) || typeof value["code"] !== "string" || typeof value["detail"] !== "string")
    return null;
  const { code, detail, field } = value;
  return {
    code: printableLine(code, FIELD_LIMIT),
    detail: printableLine(detail, DETAIL_LIMIT),
    ...(typeof field === "string" ? { field: printableLine(field, FIELD_LIMIT) } : {}),
  };
}

function parseLogLine(value: unknown): HostedLogLine | null {
  if (!isObject(value) || typeof value["at"] !== "string" || typeof value["text"] !== "string") return null;
  const { at, text } = value;
  // Runners of the first builds said `phase`.
  const step = value["step"] ?? value["phase"];
  const stream = oneOf(hostedLogStreams, value["stream"]);
  if (stream === null || (step !== undefined && typeof step !== "string")) return null;
  return {
    at: printableLine(at, FIELD_LIMIT),
    stream,
    text: text.slice(0, LINE_LIMIT),
    ...(step === undefined ? {} : { step: printableLine(step, FIELD_LIMIT) }),
  };
}

function oneOf<T extends string>(known: readonly T[], value: unknown): T | null {
  return known.find((one) => one === value) ?? null;
}

function texts(value: unknown): string[] | null {
  return Array.isArray(value) && value.every((one) => typeof one === "string") ? value : null;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
