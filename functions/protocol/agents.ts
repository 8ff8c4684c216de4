/** What a runner says of the agents that it can start. See PROTOCOL.md, section 5. */

import { isObject } from "./control.ts";
import { printableLine } from "./printable.ts";

export interface AgentView {
  name: string;
  /** Whether a project that names none gets it. */
  isDefault: boolean;
  /** What keeps it from running, and the command that mends that; null: nothing that is known. */
  fault: { missing: string; remedy: string } | null;
}

export interface RunnerAgents {
  agents: AgentView[];
}

const TEXT_LIMIT = 500;

/** Null for anything else. Nothing but the known fields passes. */
export function parseRunnerAgents(value: unknown): RunnerAgents | null {
  if (!isObject(value) || !Array.isArray(value["agents"])) return null;
  const agents = value["agents"].map(parseAgent);
  return agents.every((one) => one !== null) ? { agents } : null;
}

function parseAgent(value: unknown): AgentView | null {
  if (!isObject(value) || typeof value["name"] !== "string") return null;
  const { name, isDefault, fault } = value;
  if (typeof isDefault !== "boolean") return null;
  if (fault === null) return { name: cut(name), isDefault, fault };
  if (!isObject(fault)) return null;
  const { missing, remedy } = fault;
  if (typeof missing !== "string" || typeof remedy !== "string") return null;
  return { name: cut(name), isDefault, fault: { missing: cut(missing), remedy: cut(remedy) } };
}

function cut(text: string): string {
  return printableLine(text, TEXT_LIMIT);
}
