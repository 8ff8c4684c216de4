import { existsSync } from "node:fs";
import { z } from "zod";
import type { AgentView } from "../../functions/protocol/agents.ts";
import { findProgram } from "../confinement/programs.ts";
import { RunnerError } from "../runner-error.ts";

/** A vendor's key. The runner keeps it: an agent gets a token of one build, and an address on this machine. */
const vendorKey = z.strictObject({
  /** The runner's variable that has it. */
  variable: z.string().regex(/^[A-Za-z_]\w*$/),
  /** The vendor's API. */
  url: z.url({ protocol: /^https?$/ }),
  /** The runner's variable that has another address than that. */
  urlVariable: z
    .string()
    .regex(/^[A-Za-z_]\w*$/)
    .optional(),
  /** How the vendor takes it: a header of its own, or `authorization` as a bearer's. */
  header: z.string().regex(/^[a-z-]+$/),
});
export type VendorKey = z.infer<typeof vendorKey>;

const agentEntry = z.strictObject({
  /** Speaks the Agent Client Protocol on its standard input and output. Given to `/bin/sh -c`. */
  command: z.string().min(1),
  /** Variables of the runner that it gets as they are. */
  inherit: z.array(z.string().regex(/^[A-Za-z_]\w*$/)).default([]),
  /** Variables that it gets. `{url}` and `{token}` stand for the gateway's address and the build's token. */
  env: z.record(z.string(), z.string()).default({}),
  key: vendorKey.nullable().default(null),
  /** The mode that its session must be in. */
  mode: z.string().nullable().default(null),
  /** `_meta` of `session/new`. */
  meta: z.record(z.string(), z.unknown()).default({}),
  /** What installs it. */
  install: z.string().nullable().default(null),
  canRepair: z.boolean().default(true),
});

/** How an agent is started, and what it may be given. */
export type AgentCommand = z.infer<typeof agentEntry> & { name: string };

export const TEMPLATE_AGENT = "template";

const anthropic: VendorKey = {
  variable: "ANTHROPIC_API_KEY",
  url: "https://api.anthropic.com",
  urlVariable: "ANTHROPIC_BASE_URL",
  header: "x-api-key",
};

/** The agents that are known by name. Their programs must be on the runner's PATH. */
const KNOWN: Readonly<Record<string, z.input<typeof agentEntry>>> = {
  [TEMPLATE_AGENT]: { command: "signalbox-runner template-agent", canRepair: false },
  claude: {
    command: "claude-agent-acp",
    env: { ANTHROPIC_BASE_URL: "{url}", ANTHROPIC_API_KEY: "{token}" },
    key: anthropic,
    // It starts in `auto`, in which it asks nobody.
    mode: "default",
    // A workspace's own settings have hooks, which run without a question.
    meta: { claudeCode: { options: { settingSources: [] } } },
    install: "npm install -g @agentclientprotocol/claude-agent-acp",
  },
  codex: {
    command: "codex-acp",
    env: { OPENAI_BASE_URL: "{url}", OPENAI_API_KEY: "{token}", NO_BROWSER: "1" },
    key: {
      variable: "OPENAI_API_KEY",
      url: "https://api.openai.com/v1",
      urlVariable: "OPENAI_BASE_URL",
      header: "authorization",
    },
    install: "npm install -g @agentclientprotocol/codex-acp",
  },
  gemini: {
    command: "gemini --acp",
    env: { GOOGLE_GEMINI_BASE_URL: "{url}", GEMINI_API_KEY: "{token}", GEMINI_CLI_TRUST_WORKSPACE: "true" },
    key: {
      variable: "GEMINI_API_KEY",
      url: "https://generativelanguage.googleapis.com",
      urlVariable: "GOOGLE_GEMINI_BASE_URL",
      header: "x-goog-api-key",
    },
    install: "npm install -g @google/gemini-cli",
  },
  opencode: {
    command: "opencode acp",
    env: {
      OPENCODE_CONFIG_CONTENT: JSON.stringify({
        provider: { anthropic: { options: { baseURL: "{url}/v1", apiKey: "{token}" } } },
        permission: { edit: "ask", bash: "ask", webfetch: "ask" },
        autoupdate: false,
      }),
    },
    key: anthropic,
    install: "npm install -g opencode-ai",
  },
  copilot: { command: "copilot --acp --stdio", install: "npm install -g @github/copilot" },
};

/** RUNNER_AGENTS: entries by name, each over the known one of its name. Answers what is wrong with it as text. */
export function parseAgents(text: string): Record<string, z.input<typeof agentEntry>> | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "isn't JSON";
  }
  const table = z
    .record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/), z.record(z.string(), z.unknown()))
    .safeParse(value);
  if (!table.success) return "must be an object with an object for each agent's name";
  const entries: [string, z.input<typeof agentEntry>][] = [];
  for (const [name, given] of Object.entries(table.data)) {
    const merged = agentEntry.safeParse({ ...KNOWN[name], ...given });
    const issue = merged.error?.issues[0];
    if (!merged.success)
      return `${name}${issue?.path.map((part) => `.${String(part)}`).join("") ?? ""}: ${issue?.message}`;
    entries.push([name, merged.data]);
  }
  return Object.fromEntries(entries);
}

export interface AgentSettings {
  /** RUNNER_AGENT: a name of the table, a command, or null for the embedded default. */
  chosen: string | null;
  /** RUNNER_AGENTS. */
  table: Readonly<Record<string, z.input<typeof agentEntry>>>;
  /** Vendors' keys and addresses, by the variables that they came in. */
  vendors: Readonly<Record<string, string>>;
}

export const noAgentSettings: AgentSettings = { chosen: null, table: {}, vendors: {} };

/** The variables that have vendors' keys and addresses; true: a key. */
export function vendorVariables(table: AgentSettings["table"]): Map<string, boolean> {
  const keys = [...Object.values(KNOWN), ...Object.values(table)].flatMap(({ key }) => key ?? []);
  return new Map([
    ...keys.flatMap(({ urlVariable }) => (urlVariable === undefined ? [] : [[urlVariable, false] as const])),
    ...keys.map(({ variable }) => [variable, true] as const),
  ]);
}

/** What keeps an agent from running, with the command that mends it. */
export interface AgentFault {
  missing: string;
  remedy: string;
}

/** The runner's table. */
export class Agents {
  readonly defaultName: string;
  readonly #agents: ReadonlyMap<string, AgentCommand>;
  readonly #vendors: AgentSettings["vendors"];

  constructor({ chosen, table, vendors }: AgentSettings) {
    const all = Object.entries({ ...KNOWN, ...table });
    const agents = new Map(all.map(([name, entry]) => [name, { name, ...agentEntry.parse(entry) }]));
    this.defaultName = chosen === null ? TEMPLATE_AGENT : agents.has(chosen) ? chosen : "custom";
    if (chosen !== null && this.defaultName === "custom" && !agents.has(chosen))
      agents.set("custom", { name: "custom", ...agentEntry.parse({ command: chosen }) });
    this.#agents = agents;
    this.#vendors = vendors;
  }

  get names(): string[] {
    return [...this.#agents.keys()];
  }

  get view(): AgentView[] {
    return [...this.#agents.values()].map((agent) => ({
      name: agent.name,
      isDefault: agent.name === this.defaultName,
      fault: this.fault(agent),
    }));
  }

  /** The keys of the vendors, and those that some agent gets. */
  get secrets(): string[] {
    const all = [...this.#agents.values()];
    const inherited = all.flatMap(({ inherit }) => inherit).filter((name) => /_(?:KEY|TOKEN)$/.test(name));
    return [
      ...all.flatMap(({ key }) => (key === null ? [] : (this.#vendors[key.variable] ?? []))),
      ...inherited.flatMap((name) => process.env[name] ?? []),
    ];
  }

  find(name: string): AgentCommand | null {
    return this.#agents.get(name) ?? null;
  }

  /** Errors: `invalid_request` for one that isn't in the table, and for one that can't run. */
  require(name: string): AgentCommand {
    const agent = this.find(name);
    if (agent === null)
      throw new RunnerError(
        "invalid_request",
        `There is no agent ${name}: ${this.names.join(", ")}.`,
        "agent",
      );
    const fault = this.fault(agent);
    if (fault === null) return agent;
    throw new RunnerError(
      "invalid_request",
      `Agent ${name} can't run: ${fault.missing}. Mend it: ${fault.remedy}`,
      "agent",
    );
  }

  /** Where an agent's requests go, and with which key; null: the table has no vendor for it. */
  vendorOf({ key }: AgentCommand): { url: string; header: string; key: string | null } | null {
    if (key === null) return null;
    const url = (key.urlVariable === undefined ? undefined : this.#vendors[key.urlVariable]) ?? key.url;
    return { url, header: key.header, key: this.#vendors[key.variable] ?? null };
  }

  /** Null: nothing is known to be missing. */
  fault(agent: AgentCommand): AgentFault | null {
    const { name, install, key } = agent;
    const program = programOf(agent);
    if (name !== TEMPLATE_AGENT && program !== null && !isThere(program)) {
      return {
        missing: `${program} isn't installed on the runner's machine, or not on its PATH`,
        remedy: install ?? `put ${program} on the runner's PATH`,
      };
    }
    if (key !== null && this.vendorOf(agent)?.key === null) {
      return { missing: "it has no key", remedy: `start the runner with ${key.variable}` };
    }
    return null;
  }
}

/** The program that a command starts; null where that takes a shell to know. */
export function programOf({ command }: AgentCommand): string | null {
  return /^([\w./@+-]+)(?: |$)/.exec(command)?.[1] ?? null;
}

function isThere(program: string): boolean {
  return program.includes("/") ? existsSync(program) : findProgram(program) !== null;
}
