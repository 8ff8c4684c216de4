import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BuildsOf, saidBy } from "../helpers/builds.ts";
import { installAgent } from "../helpers/real-agent.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";
import { type Act, startAnthropic, startGemini, type VendorStandIn } from "../helpers/vendor-stand-in.ts";

/** They are installed for the test, 300 MB and more. */
const soak = process.env["SIGNALBOX_SOAK"] === "1";
const KEY = "sk-ant-real-key-of-the-vendor";

let stack: TestStack;
beforeAll(async () => {
  if (soak) stack = await startTestStack();
});
afterAll(() => stack?.stop());

interface Real {
  name: string;
  package: string;
  version: string;
  command: (directory: string) => string;
  vendor: (acts: readonly Act[]) => Promise<VendorStandIn>;
  /** The vendor's key and address, as the runner gets them. */
  env: (url: string) => Record<string, string>;
  acts: (project: string) => Act[];
  /** What it says of its use; null: nothing. */
  usedTokens: number | null;
}

const REAL: Real[] = [
  {
    name: "claude",
    package: "@agentclientprotocol/claude-agent-acp",
    version: "0.101",
    command: (directory) =>
      `${process.execPath} ${join(directory, "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js")}`,
    vendor: startAnthropic,
    env: (url) => ({ ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: url }),
    usedTokens: 1_050,
    acts: (project) => [
      { tool: ["Write"], input: { file_path: join(project, "index.html"), content: "<h1>by claude</h1>\n" } },
      { tool: ["Bash"], input: { command: "env > environment.txt", description: "Look around" } },
      { text: "The page is there." },
    ],
  },
  {
    name: "gemini",
    package: "@google/gemini-cli",
    version: "0.61.0",
    command: (directory) =>
      `${process.execPath} ${join(directory, "node_modules/@google/gemini-cli/bundle/gemini.js")} --acp`,
    vendor: startGemini,
    env: (url) => ({ GEMINI_API_KEY: KEY, GOOGLE_GEMINI_BASE_URL: url }),
    usedTokens: null,
    acts: (project) => [
      {
        tool: ["write_file"],
        input: { file_path: join(project, "index.html"), content: "<h1>by gemini</h1>\n" },
      },
      {
        tool: ["run_shell_command"],
        input: { command: "env > environment.txt", description: "Look around" },
      },
      { text: "The page is there." },
    ],
  },
];

describe.skipIf(!soak).each(REAL)("$name", (agent) => {
  describe.each(["none", "sandbox"])("confinement %s", (confinement) => {
    let vendor: VendorStandIn;
    let runner: RunnerProcess;
    const acts: Act[] = [];
    beforeAll(async () => {
      const directory = await installAgent(agent.package, agent.version);
      vendor = await agent.vendor(acts);
      runner = await startRunner(stack, {
        id: `${agent.name}-${confinement}`,
        env: {
          RUNNER_AGENT: agent.name,
          RUNNER_AGENTS: JSON.stringify({ [agent.name]: { command: agent.command(directory) } }),
          RUNNER_CONFINEMENT: confinement,
          RUNNER_GUEST_PATHS: directory,
          ...agent.env(vendor.url),
        },
      });
    });
    afterAll(async () => {
      await runner?.remove();
      await vendor?.close();
    });

    test("a build writes a file, asks for a command, and never has the vendor's key", async () => {
      const builds = new BuildsOf(stack);
      const slug = `${agent.name}-${confinement}`;
      const { status } = await stack.api("POST", "/projects", { slug, runnerId: runner.id });
      expect(status).toBe(201);
      const project = join(runner.workspace, slug);
      acts.splice(0, Infinity, ...agent.acts(project));
      const id = await builds.begin(slug, "Make a page");
      const all = await builds.events(id, 0, async (event) => {
        if (event.type !== "question") return;
        const option = event.options.find(({ kind }) => kind === "allow_once")?.id;
        const { status } = await stack.api("POST", `/builds/${id}/answers/${event.request}`, { option });
        expect(status).toBe(200);
      });
      expect(all.filter(({ type }) => type === "question")).toHaveLength(1);
      expect(all.at(-1)).toMatchObject({ type: "state", state: "completed" });
      expect(saidBy(all)).toContain("The page is there.");
      expect(all).toContainEqual(expect.objectContaining({ type: "tool", files: ["index.html"] }));
      const usage = all.findLast((event) => event.type === "usage");
      if (agent.usedTokens === null) expect(usage).toBeUndefined();
      else expect(usage).toMatchObject({ type: "usage", usedTokens: agent.usedTokens });
      expect(await readFile(join(project, "index.html"), "utf8")).toContain(`by ${agent.name}`);
      const environment = await readFile(join(project, "environment.txt"), "utf8");
      expect(environment).toContain("PATH=");
      expect(environment).not.toContain(KEY);
      expect(JSON.stringify(all)).not.toContain(KEY);
      expect(vendor.requests.length).toBeGreaterThanOrEqual(3);
      expect(new Set(vendor.requests.map(({ key }) => key))).toEqual(new Set([KEY]));
    });
  });
});
