import { isAbsolute, relative, resolve } from "node:path";
import type { RequestPermissionRequest } from "@agentclientprotocol/sdk";
import { filesOf } from "./agent-updates.ts";

/** What an agent may do to files of its own project without asking. */
const INSIDE_KINDS = new Set(["read", "edit", "delete", "move", "search"]);

/**
 * The option that allows a tool call once, if it does nothing but touch files of the project; null: a person decides. Only
 * options that were offered are chosen.
 */
export function permit({ toolCall, options }: RequestPermissionRequest, directory: string): string | null {
  const files = [...filesOf({ ...toolCall })];
  if (files.length === 0 || !INSIDE_KINDS.has(toolCall.kind ?? "")) return null;
  const isInside = files.every((path) => {
    const place = relative(directory, resolve(directory, path));
    return place !== "" && !place.startsWith("..") && !isAbsolute(place);
  });
  return isInside ? (options.find(({ kind }) => kind === "allow_once")?.optionId ?? null) : null;
}
