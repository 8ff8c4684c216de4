/**
 * The text half of the wire: control messages as JSON, in the SentryVibe runner's vocabulary, so that either half can
 * be replaced alone. See PROTOCOL.md, section 2.
 */

import { ProtocolError } from "./frames.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "./limits.ts";

/** What the hub sends. */
export const commandTypes = [
  "analyze-project",
  "start-build",
  "cancel-build",
  "start-dev-server",
  "stop-dev-server",
  "start-tunnel",
  "stop-tunnel",
  "fetch-logs",
  "runner-health-check",
  "delete-project-files",
  "read-file",
  "write-file",
  "list-files",
  "github-sync",
  "github-push",
] as const;
export type CommandType = (typeof commandTypes)[number];

/**
 * The hub's own message that an operator drains the runner, or ended the drain, in a command's shape. Clients can't send it.
 * Older runners answer it like any unknown command.
 */
export const DRAIN_MESSAGE = "drain";

/** Whether the hub drains the runner; null for any other command. */
export function drainOf({ type, payload }: Command): boolean | null {
  return type === DRAIN_MESSAGE ? payload["draining"] !== false : null;
}

/** What a runner sends. */
export const eventTypes = [
  "ack",
  "log-chunk",
  "port-detected",
  "port-conflict",
  "port-reallocated",
  "tunnel-created",
  "tunnel-closed",
  "process-exited",
  "build-progress",
  "build-completed",
  "build-summary",
  "build-failed",
  "build-cancelled",
  "build-stream",
  "runner-status",
  "project-metadata",
  "analysis-started",
  "analysis-complete",
  "files-deleted",
  "file-content",
  "file-written",
  "file-list",
  "dev-server-error",
  "autofix-started",
  "error",
  "build-events",
] as const;
export type EventType = (typeof eventTypes)[number];

export type Fields = Record<string, unknown>;

export interface Command {
  /** Answers carry it as `commandId`. */
  id: string;
  /** One of {@link commandTypes}, or a later version's, which is answered with an `error` event. */
  type: string;
  projectId: string | null;
  /** RFC 3339. */
  timestamp: string;
  payload: Fields;
  /** SentryVibe's `_sentry`, which the answers carry on. */
  trace?: SentryTrace;
}

export interface SentryTrace {
  trace?: string;
  baggage?: string;
}

/** `type`, `timestamp`, usually `commandId` or `projectId`, and whatever belongs to the type. */
export interface RunnerEvent extends Fields {
  type: EventType;
  timestamp: string;
  commandId?: string;
  projectId?: string;
}

export function isCommandType(type: string): type is CommandType {
  return commandTypes.some((known) => known === type);
}

/** Throws {@link ProtocolError} for anything but a command. */
export function parseCommand(text: string): Command {
  const message = parseObject(text);
  const { id, type, projectId, timestamp, payload } = message;
  if (typeof id !== "string" || id === "" || id.length > 200) throw new ProtocolError("A command has no id.");
  if (typeof type !== "string" || type === "") throw new ProtocolError("A command has no type.");
  if (projectId !== undefined && projectId !== null && typeof projectId !== "string") {
    throw new ProtocolError("A command's projectId isn't a string.");
  }
  if (payload !== undefined && payload !== null && !isObject(payload)) {
    throw new ProtocolError("A command's payload isn't an object.");
  }
  return {
    id,
    type,
    projectId: projectId ?? null,
    timestamp: typeof timestamp === "string" ? timestamp : new Date().toISOString(),
    payload: isObject(payload) ? payload : {},
    ...traceOf(message["_sentry"]),
  };
}

/** Characters of each part; a header of more is refused on the way to Sentry, too. */
const TRACE_LIMIT = 8_192;

/** Anything else in its place is nothing, and no reason to refuse a command. */
function traceOf(value: unknown): { trace?: SentryTrace } {
  if (!isObject(value)) return {};
  const { trace, baggage } = value;
  const known = Object.entries({ trace, baggage }).filter(
    ([, part]) => typeof part === "string" && part.length <= TRACE_LIMIT,
  );
  return known.length === 0 ? {} : { trace: Object.fromEntries(known) };
}

/**
 * Null for a type of a later version. Throws {@link ProtocolError} for anything but an event.
 */
export function parseEvent(text: string): RunnerEvent | null {
  const message = parseObject(text);
  const { type, timestamp, commandId, projectId, ...rest } = message;
  if (typeof type !== "string" || type === "") throw new ProtocolError("An event has no type.");
  const known = eventTypes.find((candidate) => candidate === type);
  if (known === undefined) return null;
  if (commandId != null && typeof commandId !== "string") {
    throw new ProtocolError("An event's commandId isn't a string.");
  }
  if (projectId != null && typeof projectId !== "string") {
    throw new ProtocolError("An event's projectId isn't a string.");
  }
  return {
    ...rest,
    type: known,
    timestamp: typeof timestamp === "string" ? timestamp : new Date().toISOString(),
    ...(commandId == null ? {} : { commandId }),
    ...(projectId == null ? {} : { projectId }),
  };
}

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseObject(text: string): Fields {
  if (isLongerThan(text, CONTROL_MESSAGE_LIMIT_BYTES))
    throw new ProtocolError("A control message is too large.");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError("A control message isn't JSON.");
  }
  if (!isObject(value)) throw new ProtocolError("A control message isn't an object.");
  return value;
}

/** Whether a text has more bytes of UTF-8. It encodes the text only if its length alone doesn't tell. */
export function isLongerThan(text: string, limitBytes: number): boolean {
  if (text.length > limitBytes) return true;
  return text.length * 3 > limitBytes && new TextEncoder().encode(text).byteLength > limitBytes;
}
