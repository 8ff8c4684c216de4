/**
 * Builds as the runner tells them and everybody else reads them: one numbered sequence of events for each build. Agents'
 * updates are mapped to these on the runner. See PROTOCOL.md, section 6.
 */

import { isObject } from "./control.ts";
import { printableLine } from "./printable.ts";

/** What a build ends in is among the last four. */
export const buildStates = [
  "queued",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
  "interrupted",
] as const;
export type BuildState = (typeof buildStates)[number];

export function isOver(state: BuildState): boolean {
  return state !== "queued" && state !== "running" && state !== "waiting";
}

/** `agent` writes, `install` and `start` are the runner's. */
export const buildSteps = ["agent", "install", "start"] as const;
export type BuildStep = (typeof buildSteps)[number];

/** The name of the agent of builds that import. It takes no prompt. */
export const IMPORT_AGENT = "import";

/** What happened, without its number and time. */
export type BuildFact =
  | { type: "state"; state: BuildState; reason?: string }
  | { type: "step"; step: BuildStep; status: "begun" | "done" | "failed"; detail?: string; ms?: number }
  /** Text deltas that came close together are one message. */
  | {
      type: "message";
      from: "agent" | "user";
      text: string;
      /** How many images came with it. */
      images?: number;
    }
  | { type: "thought"; text: string }
  | { type: "plan"; entries: { title: string; status: string }[] }
  | {
      type: "tool";
      id: string;
      title?: string;
      kind?: string;
      status?: string;
      /** Cut at 64 KiB, which `truncated` says. */
      output?: string;
      truncated?: boolean;
      files?: string[];
    }
  | {
      type: "question";
      request: string;
      title: string;
      /** None: the answer is a text of the person's own. */
      options: { id: string; name: string; kind: string }[];
    }
  /** A turn ended with these files changed, whoever changed them: some of them, and how many there are. */
  | { type: "changes"; files: string[]; count: number }
  /** A command that the agent runs through its client. */
  | {
      type: "terminal";
      id: string;
      command: string;
      status: "running" | "exited";
      exitCode?: number | null;
      signal?: string | null;
      output?: string;
    }
  | { type: "answer"; request: string; option: string | null; by: string }
  | { type: "usage"; usedTokens: number; contextTokens: number; cost?: { amount: number; currency: string } }
  | { type: "log"; step: BuildStep; text: string }
  | { type: "preview"; port: number; framework: string }
  /** The agent gets the error of a step to mend. */
  | { type: "repair"; step: BuildStep; attempt: number; limit: number; error: string }
  /** An update of an agent that is newer than this build of ours; its name. */
  | { type: "other"; update: string };

export type BuildEvent = BuildFact & {
  /** From 1, without gaps. */
  seq: number;
  /** RFC 3339. */
  at: string;
};

/** The text frame that carries events to the hub. The hub stores them, then says so by {@link BUILD_ACK_MESSAGE}. */
export const BUILD_EVENTS_MESSAGE = "build-events";
/** The hub's own message, in a command's shape: `payload {buildId, seq}`, everything up to `seq` is stored. */
export const BUILD_ACK_MESSAGE = "build-ack";

/** A build's id begins with its project's slug, so that whoever has the id finds the runner. */
export const BUILD_ID_PATTERN = /^([a-z0-9][a-z0-9-]{0,62})\.[a-z0-9]{6,32}$/;

export function projectOfBuild(buildId: string): string | null {
  return BUILD_ID_PATTERN.exec(buildId)?.[1] ?? null;
}

/** What a client is told of a build. */
export interface BuildView {
  id: string;
  project: string;
  state: BuildState;
  reason: string | null;
  agent: string;
  prompt: string;
  /** The last event's number. */
  seq: number;
  createdAt: string;
  updatedAt: string;
  /** Questions that wait for an answer. */
  questions: string[];
}

export const fileChanges = ["added", "modified", "deleted"] as const;

export interface ChangedFile {
  path: string;
  status: (typeof fileChanges)[number];
  /** Unified, without the files' names; left out for what isn't text, is too long, or comes after too much. */
  diff?: string;
}

/** What a build changed, from the project as it found it to its last turn's end. */
export interface BuildDiff {
  id: string;
  files: ChangedFile[];
  /** There is more than this. */
  isTruncated: boolean;
}

/** What an undo did, by paths of the project. */
export interface UndoView {
  /** The build that was taken back. */
  id: string;
  restored: string[];
  /** Changed since by somebody else, and left as they are. */
  kept: string[];
}

export const devServerStates = ["stopped", "starting", "running", "crashed"] as const;
export type DevServerState = (typeof devServerStates)[number];

export interface ProjectView {
  slug: string;
  name: string;
  agent: string;
  framework: string | null;
  createdAt: string;
  devServer: { state: DevServerState; port: number | null; reason: string | null; lastLines: string[] };
  builds: BuildView[];
}

/** One text frame's events of one build. */
export interface BuildEventsMessage {
  buildId: string;
  events: BuildEvent[];
}

/** Null for anything else. Only the number, the time and the type are looked at: a newer runner's facts pass. */
export function parseBuildEvents(value: unknown): BuildEventsMessage | null {
  if (!isObject(value) || typeof value["buildId"] !== "string" || !Array.isArray(value["events"]))
    return null;
  const { buildId, events } = value;
  if (projectOfBuild(buildId) === null || !events.every(isBuildEvent)) return null;
  return { buildId, events };
}

function isBuildEvent(value: unknown): value is BuildEvent {
  return (
    isObject(value) &&
    Number.isSafeInteger(value["seq"]) &&
    Number(value["seq"]) > 0 &&
    typeof value["at"] === "string" &&
    typeof value["type"] === "string"
  );
}

const VIEW_TEXT_LIMIT = 2_000;

/** Null for anything else. */
export function parseBuildView(value: unknown): BuildView | null {
  if (!isObject(value)) return null;
  const { id, project, reason, agent, prompt, seq, createdAt, updatedAt, questions } = value;
  const state = buildStates.find((one) => one === value["state"]);
  if (typeof id !== "string" || typeof project !== "string" || state === undefined) return null;
  if (reason !== null && typeof reason !== "string") return null;
  if (typeof agent !== "string" || typeof prompt !== "string" || typeof seq !== "number") return null;
  if (typeof createdAt !== "string" || typeof updatedAt !== "string") return null;
  if (!Array.isArray(questions) || !questions.every((one) => typeof one === "string")) return null;
  const cut = (text: string): string => printableLine(text, VIEW_TEXT_LIMIT);
  return {
    id,
    project,
    state,
    reason: reason === null ? null : cut(reason),
    agent: cut(agent),
    prompt: prompt.slice(0, VIEW_TEXT_LIMIT),
    seq,
    createdAt,
    updatedAt,
    questions,
  };
}

/** Null for anything else. */
export function parseBuildDiff(value: unknown): BuildDiff | null {
  if (!isObject(value) || typeof value["id"] !== "string" || !Array.isArray(value["files"])) return null;
  const files = value["files"].map(parseChangedFile).filter((file) => file !== null);
  if (files.length < value["files"].length || typeof value["isTruncated"] !== "boolean") return null;
  return { id: value["id"], files, isTruncated: value["isTruncated"] };
}

function parseChangedFile(value: unknown): ChangedFile | null {
  if (!isObject(value) || typeof value["path"] !== "string") return null;
  const { path, diff } = value;
  const status = fileChanges.find((one) => one === value["status"]);
  if (status === undefined || (diff !== undefined && typeof diff !== "string")) return null;
  return { path, status, ...(diff === undefined ? {} : { diff }) };
}

/** Null for anything else. */
export function parseUndoView(value: unknown): UndoView | null {
  if (!isObject(value) || typeof value["id"] !== "string") return null;
  const { id, restored, kept } = value;
  const areTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((one) => typeof one === "string");
  return areTexts(restored) && areTexts(kept) ? { id, restored, kept } : null;
}

/** Null for anything else. */
export function parseProjectView(value: unknown): ProjectView | null {
  if (!isObject(value) || !isObject(value["devServer"]) || !Array.isArray(value["builds"])) return null;
  const { slug, name, agent, framework, createdAt, devServer } = value;
  const { port, reason, lastLines } = devServer;
  const state = devServerStates.find((one) => one === devServer["state"]);
  if (typeof slug !== "string" || typeof name !== "string" || typeof agent !== "string") return null;
  if (framework !== null && typeof framework !== "string") return null;
  if (typeof createdAt !== "string" || state === undefined) return null;
  if (port !== null && typeof port !== "number") return null;
  if (reason !== null && typeof reason !== "string") return null;
  if (!Array.isArray(lastLines) || !lastLines.every((one) => typeof one === "string")) return null;
  const builds = value["builds"].map(parseBuildView).filter((build) => build !== null);
  return {
    slug,
    name,
    agent,
    framework,
    createdAt,
    devServer: { state, port, reason, lastLines },
    builds,
  };
}
