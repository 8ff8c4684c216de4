import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { findProgram } from "../confinement/programs.ts";
import { version } from "../version.ts";
import { type AgentCommand, Agents, type AgentSettings, programOf, TEMPLATE_AGENT } from "./agents.ts";

/** Agents of 300 MB take seconds to say their version from a cold disk. */
const VERSION_LIMIT_MS = 20_000;

/** What `signalbox-runner agents` says of one. */
export interface AgentReport {
  name: string;
  command: string;
  /** Of builds that name none. */
  isDefault: boolean;
  installed: boolean;
  version: string | null;
  /** `key`: the runner has its vendor's key. `none`: it needs none, or brings its own. */
  login: "key" | "missing" | "none";
  missing: string | null;
  /** The command that mends it. */
  remedy: string | null;
}

/** Prints the table; fails if the default agent can't run. */
export async function tellAgents(settings: AgentSettings, isJson: boolean): Promise<void> {
  const agents = new Agents(settings);
  const reports = await reportAgents(agents);
  console.log(isJson ? JSON.stringify({ agents: reports }) : table(reports));
  if (reports.some(({ isDefault, missing }) => isDefault && missing !== null)) process.exitCode = 1;
}

export function reportAgents(agents: Agents): Promise<AgentReport[]> {
  const known = agents.names.map((name) => agents.find(name)).filter((agent) => agent !== null);
  return Promise.all(known.map((agent) => report(agents, agent)));
}

async function report(agents: Agents, agent: AgentCommand): Promise<AgentReport> {
  const { name, command } = agent;
  const fault = agents.fault(agent);
  const program = programOf(agent);
  const path = program === null ? null : program.includes("/") ? program : findProgram(program);
  const vendor = agents.vendorOf(agent);
  const isEmbedded = name === TEMPLATE_AGENT;
  return {
    name,
    command,
    isDefault: name === agents.defaultName,
    installed: isEmbedded || (program === null ? fault === null : path !== null),
    version: isEmbedded ? version : path === null ? null : await versionOf(path),
    login: vendor === null ? "none" : vendor.key === null ? "missing" : "key",
    missing: fault?.missing ?? null,
    remedy: fault?.remedy ?? null,
  };
}

/** Null: it doesn't say. */
async function versionOf(program: string): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(program, ["--version"], { timeout: VERSION_LIMIT_MS });
    return /\d+\.\d+\.\d+[\w.-]*/.exec(stdout)?.[0] ?? null;
  } catch {
    return null; // some know no such flag
  }
}

function table(reports: AgentReport[]): string {
  const width = Math.max(...reports.map(({ name }) => name.length));
  return reports
    .map((one) => {
      const how = one.installed
        ? `installed${one.version === null ? "" : ` ${one.version}`}`
        : "not installed";
      const login = { key: ", has its key", missing: ", no key", none: "" }[one.login];
      const lines = [`${one.isDefault ? "*" : " "} ${one.name.padEnd(width)}  ${how}${login}`];
      if (one.missing !== null) lines.push(`${" ".repeat(width + 4)}${one.missing}`);
      if (one.remedy !== null) lines.push(`${" ".repeat(width + 4)}→ ${one.remedy}`);
      return lines.join("\n");
    })
    .join("\n");
}
