/** How an agent is started, and what it may be given. */
export interface AgentCommand {
  name: string;
  /** Speaks the Agent Client Protocol on its standard input and output. */
  command: string;
  /** Variables of the runner that it gets. */
  inherit: readonly string[];
  canRepair: boolean;
}

export const TEMPLATE_AGENT = "template";

/** The agents that are known by name. Their programs must be on the runner's PATH. */
const KNOWN: readonly AgentCommand[] = [
  { name: TEMPLATE_AGENT, command: "signalbox-runner template-agent", inherit: [], canRepair: false },
  {
    name: "claude",
    command: "claude-agent-acp",
    inherit: ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"],
    canRepair: true,
  },
  { name: "codex", command: "codex-acp", inherit: ["OPENAI_API_KEY", "CODEX_API_KEY"], canRepair: true },
  { name: "gemini", command: "gemini --acp", inherit: ["GEMINI_API_KEY"], canRepair: true },
  {
    name: "opencode",
    command: "opencode acp",
    inherit: ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"],
    canRepair: true,
  },
  { name: "copilot", command: "copilot --acp --stdio", inherit: ["GH_TOKEN"], canRepair: true },
];

/** The runner's table: the known agents, and one that RUNNER_AGENT gives as a command. */
export class Agents {
  readonly defaultName: string;
  readonly #agents: ReadonlyMap<string, AgentCommand>;

  /** `setting`: a known name, a command, or null for the embedded default. */
  constructor(setting: string | null) {
    const known = new Map(KNOWN.map((agent) => [agent.name, agent]));
    const named = setting === null ? known.get(TEMPLATE_AGENT) : known.get(setting);
    const chosen = named ?? { name: "custom", command: setting ?? "", inherit: [], canRepair: true };
    this.#agents = known.set(chosen.name, chosen);
    this.defaultName = chosen.name;
  }

  get names(): string[] {
    return [...this.#agents.keys()];
  }

  /** The keys that some agent gets. */
  get secrets(): string[] {
    const names = [...this.#agents.values()].flatMap(({ inherit }) => inherit);
    return names.filter((name) => /_(?:KEY|TOKEN)$/.test(name)).flatMap((name) => process.env[name] ?? []);
  }

  find(name: string): AgentCommand | null {
    return this.#agents.get(name) ?? null;
  }
}
