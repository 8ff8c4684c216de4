import { isAbsolute, relative } from "node:path";
import type { BuildFact } from "../../functions/protocol/builds.ts";
import { isObject } from "../../functions/protocol/control.ts";

/** Characters of a tool's output that an event keeps. */
const OUTPUT_LIMIT = 64 * 1024;
/** Characters of names, titles and statuses. */
const NAME_LIMIT = 1_000;
/** Entries of a plan, files of a tool call. */
const ENTRIES_LIMIT = 200;

/**
 * An agent's `session/update` as an event of ours; null for what concerns nobody but its client. Agents send more than
 * the protocol says, so every field is looked at. Source: Agent Client Protocol, wire version 1.
 */
export function factOf(update: unknown, directory: string): BuildFact | null {
  if (!isObject(update) || typeof update["sessionUpdate"] !== "string") return null;
  const { sessionUpdate: kind } = update;
  switch (kind) {
    case "agent_message_chunk":
      return withText(textOf(update["content"]), (text) => ({ type: "message", from: "agent", text }));
    case "agent_thought_chunk":
      return withText(textOf(update["content"]), (text) => ({ type: "thought", text }));
    case "plan":
      return { type: "plan", entries: objects(update["entries"]).map(planEntry) };
    case "tool_call":
    case "tool_call_update":
      return toolOf(update, directory);
    case "usage_update":
      return usageOf(update);
    case "notice":
      return withText(name(update["message"]), (text) => ({ type: "message", from: "agent", text }));
    // The prompt is an event of its own; the others are about menus, modes and the agent's own memory.
    case "user_message_chunk":
    case "available_commands_update":
    case "current_mode_update":
    case "config_option_update":
    case "session_info_update":
    case "compaction_update":
    case "compaction_summary_chunk":
      return null;
    default:
      return { type: "other", update: kind.slice(0, NAME_LIMIT) };
  }
}

/** What a tool call does, as an event and as what a permission is asked for. */
export function toolOf(update: Record<string, unknown>, directory: string): BuildFact & { type: "tool" } {
  const output = objects(update["content"])
    .map((content) => outputOf(content, directory))
    .join("");
  const files = [...filesOf(update)].map((path) => inside(path, directory));
  const title = name(update["title"]);
  const kind = name(update["kind"]);
  const status = name(update["status"]);
  return {
    type: "tool",
    id: name(update["toolCallId"]),
    ...(title === "" ? {} : { title }),
    ...(kind === "" ? {} : { kind }),
    ...(status === "" ? {} : { status }),
    ...(output === "" ? {} : { output: output.slice(0, OUTPUT_LIMIT) }),
    ...(output.length > OUTPUT_LIMIT ? { truncated: true } : {}),
    ...(files.length === 0 ? {} : { files: files.slice(0, ENTRIES_LIMIT) }),
  };
}

/** Paths that a tool call names, as the agent spells them. */
export function filesOf(update: Record<string, unknown>): Set<string> {
  const named = [...objects(update["locations"]), ...objects(update["content"])].map(({ path }) => path);
  return new Set(named.filter((path) => typeof path === "string"));
}

function outputOf(content: Record<string, unknown>, directory: string): string {
  if (content["type"] === "content") return textOf(content["content"]);
  if (content["type"] !== "diff") return "";
  const { path, oldText, newText } = content;
  const lines = (text: unknown, sign: string): string =>
    typeof text === "string" && text !== "" ? `${text.replace(/\n$/, "").replace(/^/gm, sign)}\n` : "";
  return `--- ${inside(name(path), directory)}\n${lines(oldText, "-")}${lines(newText, "+")}`;
}

function usageOf({ used, size, cost }: Record<string, unknown>): BuildFact | null {
  if (typeof used !== "number" || typeof size !== "number") return null;
  const price = isObject(cost) && typeof cost["amount"] === "number" ? cost["amount"] : null;
  return {
    type: "usage",
    usedTokens: used,
    contextTokens: size,
    ...(price === null || !isObject(cost)
      ? {}
      : { cost: { amount: price, currency: name(cost["currency"]) } }),
  };
}

function planEntry({ content, status }: Record<string, unknown>): { title: string; status: string } {
  return { title: name(content), status: name(status) };
}

function withText(text: string, fact: (text: string) => BuildFact): BuildFact | null {
  return text === "" ? null : fact(text);
}

function textOf(content: unknown): string {
  return isObject(content) && content["type"] === "text" && typeof content["text"] === "string"
    ? content["text"]
    : "";
}

function name(value: unknown): string {
  return typeof value === "string" ? value.slice(0, NAME_LIMIT) : "";
}

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.slice(0, ENTRIES_LIMIT).filter(isObject) : [];
}

/** Relative to the project, where it is in it. */
function inside(path: string, directory: string): string {
  if (!isAbsolute(path)) return path;
  const shown = relative(directory, path);
  return shown.startsWith("..") ? path : shown;
}
