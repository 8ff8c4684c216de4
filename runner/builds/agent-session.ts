import { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import {
  client,
  type ClientConnection,
  methods,
  ndJsonStream,
  PROTOCOL_VERSION,
  RequestError,
  type ContentBlock,
  type NewSessionRequest,
  type RequestPermissionRequest,
} from "@agentclientprotocol/sdk";
import type { BuildFact } from "../../functions/protocol/builds.ts";
import { isObject } from "../../functions/protocol/control.ts";
import type { HostedProcess } from "../processes/hosted-process.ts";
import { factOf } from "./agent-updates.ts";
import { jsonLines } from "./json-lines.ts";

/** 46 s were seen for a first start with a cold disk. */
const START_LIMIT_MS = 90_000;
/** After a cancel an agent may finish what it says; one that doesn't is ended. */
const CANCEL_GRACE_MS = 5_000;
/** Some agents send the last updates after the turn's answer. */
const LATE_UPDATES_MS = 50;
/** Source: the protocol's error code of an agent that nobody has logged in to. */
const NOT_LOGGED_IN = -32_000;

/** The agent couldn't do its part; the message says why, and what to do. */
export class AgentFailure extends Error {
  override readonly name = "AgentFailure";
}

/** Who hears what the agent does, and answers what it asks. */
export interface AgentTold {
  /** In the order of the agent. */
  fact(fact: BuildFact): void;
  /** Answers the id of an offered option; null: nobody chose. */
  permission(request: RequestPermissionRequest): Promise<string | null>;
}

export interface AgentSessionOptions {
  /** As people call it, for messages. */
  agent: string;
  /** The project, which the agent works in. */
  directory: string;
  /** A session of an earlier build of this directory. */
  resume: string | null;
  told: AgentTold;
  /** Starts the agent; `output` takes what it writes. */
  start: (output: (stream: "stdout" | "stderr", output: Readable) => Promise<void>) => Promise<HostedProcess>;
  /** What the agent says beside the protocol. */
  aside: (line: string) => void;
  startLimitMs?: number;
  cancelGraceMs?: number;
}

/** One agent process with one session, by the Agent Client Protocol, wire version 1. */
export class AgentSession {
  readonly id: string;
  /** Whether it goes on with an earlier build's session. */
  readonly isResumed: boolean;
  readonly #options: AgentSessionOptions;
  readonly #process: HostedProcess;
  readonly #connection: ClientConnection;
  #cancelled = false;

  private constructor(
    options: AgentSessionOptions,
    process: HostedProcess,
    connection: ClientConnection,
    { id, isResumed }: { id: string; isResumed: boolean },
  ) {
    this.#options = options;
    this.#process = process;
    this.#connection = connection;
    this.id = id;
    this.isResumed = isResumed;
  }

  /** Throws {@link AgentFailure}, with nothing left running. */
  static async open(options: AgentSessionOptions): Promise<AgentSession> {
    const { agent, aside, startLimitMs = START_LIMIT_MS } = options;
    const lines = jsonLines(aside);
    // The stream reads on to the end: what nobody takes any more mustn't hold the process.
    const process = await options.start(async (stream, output) => {
      if (stream === "stdout") output.pipe(lines);
      else for await (const chunk of output) aside(String(chunk));
      await new Promise((resolve) => output.once("close", resolve));
    });
    const { stdin } = process;
    if (stdin === null) throw new Error("An agent needs an input.");
    stdin.on("error", () => undefined); // its end is told by `exited`
    const stream = ndJsonStream(
      Writable.toWeb(stdin) as WritableStream<Uint8Array>,
      Readable.toWeb(lines) as ReadableStream<Uint8Array>,
    );
    const gate = { isOpen: true };
    const connection = connect(options, gate).connect(stream);
    void process.exited.then(({ code, signal }) =>
      connection.close(new AgentFailure(`${agent} ended (${signal ?? `code ${code}`})`)),
    );
    const limit = AbortSignal.timeout(startLimitMs);
    try {
      const session = await within(limit, `${agent} didn't start within ${startLimitMs / 1_000} s`, [
        openSession(connection, options, gate),
        rejectWhenClosed(connection, agent),
      ]);
      return new AgentSession(options, process, connection, session);
    } catch (error) {
      connection.close();
      await process.stop();
      throw asFailure(error, agent);
    }
  }

  /** Runs one turn; answers its stop reason. Throws {@link AgentFailure} if the agent ends or refuses. */
  async prompt(blocks: ContentBlock[]): Promise<string> {
    const { agent } = this.#options;
    try {
      const answer = await Promise.race([
        this.#connection.agent.request(methods.agent.session.prompt, { sessionId: this.id, prompt: blocks }),
        rejectWhenClosed(this.#connection, agent),
      ]);
      await sleep(LATE_UPDATES_MS);
      return answer.stopReason;
    } catch (error) {
      throw asFailure(error, agent);
    }
  }

  /** Asks the agent to end its turn, and ends the agent if it doesn't. Questions must have been answered before. */
  async cancel(): Promise<void> {
    if (this.#cancelled) return;
    this.#cancelled = true;
    const { cancelGraceMs = CANCEL_GRACE_MS } = this.#options;
    await this.#connection.agent
      .notify(methods.agent.session.cancel, { sessionId: this.id })
      .catch(() => undefined); // it has ended
    await Promise.race([this.#process.exited, sleep(cancelGraceMs, undefined, { ref: false })]);
    await this.stop();
  }

  /** Ends the agent with all that it started. */
  async stop(): Promise<void> {
    this.#process.stdin?.end();
    await this.#process.stop();
    this.#connection.close();
  }
}

/** What the agent may ask of us. `gate` is shut while a session is loaded: its replay is no news. */
function connect({ told, directory }: AgentSessionOptions, gate: { isOpen: boolean }) {
  const parse = (value: unknown): unknown => value;
  return client({ name: "signalbox" })
    .onRequest(methods.client.session.requestPermission, async ({ params }) => {
      const option = await told.permission(params);
      return option === null
        ? { outcome: { outcome: "cancelled" } }
        : { outcome: { outcome: "selected", optionId: option } };
    })
    // Parsed by us: the protocol's own parser refuses an update that is newer than it.
    .onNotification(methods.client.session.update as string, parse, ({ params }) => {
      const update = isObject(params) ? params["update"] : null;
      const fact = gate.isOpen ? factOf(update, directory) : null;
      if (fact !== null) told.fact(fact);
    });
}

async function openSession(
  connection: ClientConnection,
  { agent, directory, resume }: AgentSessionOptions,
  gate: { isOpen: boolean },
): Promise<{ id: string; isResumed: boolean }> {
  const hello = await connection.agent.request(methods.agent.initialize, {
    protocolVersion: PROTOCOL_VERSION,
    clientInfo: { name: "signalbox", version: "1" },
    clientCapabilities: {},
  });
  if (hello.protocolVersion !== PROTOCOL_VERSION) {
    throw new AgentFailure(
      `${agent} speaks version ${hello.protocolVersion} of the Agent Client Protocol; Signalbox speaks ${PROTOCOL_VERSION}`,
    );
  }
  const place: NewSessionRequest = { cwd: directory, mcpServers: [] };
  if (resume !== null) {
    const { loadSession, sessionCapabilities } = hello.agentCapabilities ?? {};
    const can = { sessionId: resume, ...place };
    try {
      if (sessionCapabilities?.resume) await connection.agent.request(methods.agent.session.resume, can);
      else if (loadSession) {
        gate.isOpen = false;
        await connection.agent.request(methods.agent.session.load, can);
      }
      if (sessionCapabilities?.resume || loadSession) return { id: resume, isResumed: true };
    } catch (error) {
      // Gone, or of another directory: a new one has to do.
      if (!(error instanceof RequestError) || error.code === NOT_LOGGED_IN) throw error;
    } finally {
      gate.isOpen = true;
    }
  }
  const { sessionId } = await connection.agent.request(methods.agent.session.new, place);
  return { id: sessionId, isResumed: false };
}

function rejectWhenClosed(connection: ClientConnection, agent: string): Promise<never> {
  const rejected = connection.closed.then(() => {
    throw new AgentFailure(`${agent} ended in the middle of its work`);
  });
  rejected.catch(() => undefined);
  return rejected;
}

async function within<T>(limit: AbortSignal, reason: string, work: [Promise<T>, Promise<never>]): Promise<T> {
  const late = new Promise<never>((_, reject) => {
    limit.addEventListener("abort", () => reject(new AgentFailure(reason)), { once: true });
  });
  return Promise.race([...work, late]);
}

function asFailure(error: unknown, agent: string): Error {
  if (error instanceof AgentFailure) return error;
  if (error instanceof RequestError) {
    const hint =
      error.code === NOT_LOGGED_IN ? `: nobody is logged in to ${agent}; log in on the runner's machine` : "";
    return new AgentFailure(`${agent} refused: ${error.message}${hint}`);
  }
  return error instanceof Error ? error : new AgentFailure(String(error));
}
