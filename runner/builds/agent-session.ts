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
import { jsonLines, type LineReader } from "./json-lines.ts";

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
  /** Ends the start; once the session is open, {@link AgentSession.cancel} does. */
  signal: AbortSignal;
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
    const { agent, aside, signal, startLimitMs = START_LIMIT_MS } = options;
    signal.throwIfAborted();
    const gate = { isOpen: true };
    const lines = jsonLines(readerOf(options, gate));
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
    const connection = connect(options).connect(stream);
    void process.exited.then(() => connection.close());
    const limit = AbortSignal.timeout(startLimitMs);
    const giveUp = (): void => void process.stop();
    signal.addEventListener("abort", giveUp);
    try {
      signal.throwIfAborted();
      const session = await within(
        limit,
        `${agent} didn't start within ${startLimitMs / 1_000} s`,
        openSession(connection, options, gate),
      );
      return new AgentSession(options, process, connection, session);
    } catch (error) {
      const isOver = connection.signal.aborted;
      connection.close();
      await process.stop();
      throw isOver ? await endedEarly(process, agent) : asFailure(error, agent);
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** Runs one turn; answers its stop reason. Throws {@link AgentFailure} if the agent ends or refuses. */
  async prompt(blocks: ContentBlock[]): Promise<string> {
    const { agent } = this.#options;
    try {
      const answer = await this.#connection.agent.request(methods.agent.session.prompt, {
        sessionId: this.id,
        prompt: blocks,
      });
      await sleep(LATE_UPDATES_MS);
      return answer.stopReason;
    } catch (error) {
      throw this.#connection.signal.aborted
        ? await endedEarly(this.#process, agent)
        : asFailure(error, agent);
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

/** What the agent may ask of us. */
function connect({ told }: AgentSessionOptions) {
  return client({ name: "signalbox" }).onRequest(
    methods.client.session.requestPermission,
    async ({ params }) => {
      const option = await told.permission(params);
      return option === null
        ? { outcome: { outcome: "cancelled" } }
        : { outcome: { outcome: "selected", optionId: option } };
    },
  );
}

/**
 * Reads an agent's updates itself, in their order: the protocol's own reader refuses one that is newer than it. While
 * the gate is shut a session is loaded, whose replay is no news.
 */
function readerOf({ told, directory, aside }: AgentSessionOptions, gate: { isOpen: boolean }): LineReader {
  return {
    dropped: aside,
    takes({ method, params }) {
      if (method !== methods.client.session.update) return false;
      const fact = gate.isOpen && isObject(params) ? factOf(params["update"], directory) : null;
      if (fact !== null) told.fact(fact);
      return true;
    },
  };
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

async function within<T>(limit: AbortSignal, reason: string, work: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => {
    limit.addEventListener("abort", () => reject(new AgentFailure(reason)), { once: true });
  });
  return Promise.race([work, late]);
}

async function endedEarly(process: HostedProcess, agent: string): Promise<AgentFailure> {
  const { code, signal } = await process.exited;
  const missing = code === 127 ? ": it isn't installed on the runner's machine, or not on its PATH" : "";
  return new AgentFailure(`${agent} ended in the middle of its work (${signal ?? `code ${code}`})${missing}`);
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
