import { access, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable, Writable } from "node:stream";
import { randomUUID } from "node:crypto";
import {
  agent,
  methods,
  ndJsonStream,
  PROTOCOL_VERSION,
  type AgentContext,
  type ContentBlock,
  type SessionNotification,
} from "@agentclientprotocol/sdk";
import { version } from "../version.ts";
import { filesOf } from "./starters.ts";
import { wishOf } from "./wish.ts";

/**
 * The agent that needs no key and no network: it makes a starter that fits the prompt, and says that it is a template. It
 * speaks the Agent Client Protocol on its standard input and output, as every other agent does.
 */
export async function runTemplateAgent(): Promise<void> {
  const directories = new Map<string, string>();
  const connection = agent({ name: "template" })
    .onRequest(methods.agent.initialize, () => ({
      protocolVersion: PROTOCOL_VERSION,
      agentInfo: { name: "template", version },
      agentCapabilities: {},
    }))
    .onRequest(methods.agent.session.new, ({ params }) => {
      const sessionId = randomUUID();
      directories.set(sessionId, params.cwd);
      return { sessionId };
    })
    .onRequest(methods.agent.session.prompt, async ({ params, client, signal }) => {
      const directory = directories.get(params.sessionId);
      if (directory === undefined) throw new Error(`There is no session ${params.sessionId}.`);
      const tell = (update: SessionNotification["update"]): Promise<void> =>
        client.notify(methods.client.session.update, { sessionId: params.sessionId, update });
      await turn(directory, textOf(params.prompt), { client, tell, signal });
      return { stopReason: signal.aborted ? "cancelled" : "end_turn" };
    })
    .onNotification(methods.agent.session.cancel, () => undefined)
    .connect(
      ndJsonStream(
        Writable.toWeb(process.stdout) as WritableStream<Uint8Array>,
        Readable.toWeb(process.stdin) as ReadableStream<Uint8Array>,
      ),
    );
  await connection.closed;
}

interface Turn {
  client: AgentContext;
  tell: (update: SessionNotification["update"]) => Promise<void>;
  signal: AbortSignal;
}

async function turn(directory: string, prompt: string, { tell, signal }: Turn): Promise<void> {
  const say = (text: string): Promise<void> =>
    tell({ sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
  if (!(await isEmpty(directory))) {
    await say(
      "I am the template agent: I only begin projects, and this one has files already. Nothing was changed. " +
        "To have it changed, name another agent, or edit the files yourself.",
    );
    return;
  }
  const wish = wishOf(prompt);
  const files = filesOf(wish);
  const plan = (status: "in_progress" | "completed"): Promise<void> =>
    tell({
      sessionUpdate: "plan",
      entries: [
        { content: `Make the ${wish.starter} starter for “${wish.title}”`, priority: "high", status },
      ],
    });
  await plan("in_progress");
  await say(
    `I am the template agent: no language model, a starter picked by keywords. This is ${wish.starter} for ` +
      `“${wish.title}”, with ${wish.sections.join(", ")}, in the palette ${wish.palette.name}.`,
  );
  for (const [path, text] of Object.entries(files)) {
    if (signal.aborted) return;
    const place = join(directory, path);
    await mkdir(dirname(place), { recursive: true });
    await writeFile(place, text);
    await tell({
      sessionUpdate: "tool_call",
      toolCallId: `write ${path}`,
      title: `Write ${path}`,
      kind: "edit",
      status: "completed",
      locations: [{ path: place }],
      content: [{ type: "diff", path: place, oldText: null, newText: text }],
    });
  }
  await plan("completed");
}

/** What git and the runner keep there is no project yet. */
async function isEmpty(directory: string): Promise<boolean> {
  await access(directory);
  return (await readdir(directory)).every((name) => name.startsWith("."));
}

function textOf(blocks: readonly ContentBlock[]): string {
  return blocks.map((block) => (block.type === "text" ? block.text : "")).join("\n");
}
