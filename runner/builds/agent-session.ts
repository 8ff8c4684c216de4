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
import { AgentRequests, type AgentQuestion, type StartCommand } from "./agent-requests.ts";
import { factOf } from "./agent-updates.ts";
import { jsonLines, type LineReader } from "./json-lines.ts";

/** 46 s were seen for a first start with a cold disk. */
const START_LIMIT_MS = 90_000;
/** Agents end with their input; one that doesn't is told by a signal. */
const INPUT_END_GRACE_MS = 1_000;
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
  /** Answers a form's field. */
  question(question: AgentQuestion): Promise<string | null>;
  /** Bytes that the agent has written, whatever they say. */
  heard(bytes: number): void;
}

export interface AgentSessionOptions {
  /** As people call it, for messages. */
  agent: string;
  /** The project, which the agent works in. */
  directory: string;
  /** A session of an earlier build of this directory. */
  resume: string | null;
  /** The mode that the session must be in; null: the agent's own. */
  mode: string | null;
  /** `_meta` of a new session. */
  meta: Record<string, unknown>;
  /** Whether it may read and write files by the protocol. */
  offersFiles: boolean;
  /** Starts what the agent wants run. */
  run: StartCommand;
  told: AgentTold;
  /** Starts the agent; `output` takes what it writes. */
  start: (output: (stream: "stdout" | "stderr", output: Readable) => Promise<void>) => Promise<HostedProcess>;
  /** Its process is gone. */
  ended: () => void;
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
  readonly takesImages: boolean;
  readonly #requests: AgentRequests;
  readonly #options: AgentSessionOptions;
  readonly #process: HostedProcess;
  readonly #connection: ClientConnection;
  #cancelled = false;

  private constructor(
    options: AgentSessionOptions,
    process: HostedProcess,
    connection: ClientConnection,
    requests: AgentRequests,
    { id, isResumed, takesImages }: Opened,
  ) {
    this.#requests = requests;
    this.takesImages = takesImages;
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
    const gate: Gate = { isOpen: true, modeChanged: null };
    const lines = jsonLines(readerOf(options, gate));
    const { told, run: start, directory } = options;
    const requests = new AgentRequests({
      directory,
      start,
      fact: (fact) => told.fact(fact),
      ask: (question) => told.question(question),
    });
    // The stream reads on to the end: what nobody takes any more mustn't hold the process.
    const process = await options.start(async (stream, output) => {
      if (stream === "stderr") {
        for await (const chunk of output) aside(String(chunk));
        return;
      }
      const closed = new Promise((resolve) => output.once("close", resolve));
      output.on("data", (chunk: Buffer) => told.heard(chunk.length));
      output.pipe(lines);
      await closed;
    });
    const { stdin } = process;
    if (stdin === null) throw new Error("An agent needs an input.");
    stdin.on("error", () => undefined); // its end is told by `exited`
    const stream = ndJsonStream(
      Writable.toWeb(stdin) as WritableStream<Uint8Array>,
      Readable.toWeb(lines) as ReadableStream<Uint8Array>,
    );
    const connection = connect(options, requests).connect(stream);
    void process.exited.then(() => connection.close()).then(options.ended);
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
      return new AgentSession(options, process, connection, requests, session);
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

  /** Ends the agent with all that it started. The end of its input ends an agent that is well. */
  async stop(): Promise<void> {
    this.#process.stdin?.end();
    await this.#requests.close();
    await Promise.race([this.#process.exited, sleep(INPUT_END_GRACE_MS, undefined, { ref: false })]);
    await this.#process.stop();
    this.#connection.close();
  }
}

/** What an agent says of its session before anything is asked of it. */
interface Opened {
  id: string;
  isResumed: boolean;
  takesImages: boolean;
}

interface Gate {
  /** Shut while a session is loaded. */
  isOpen: boolean;
  modeChanged: ((mode: string) => void) | null;
}

/** What the agent may ask of us. */
function connect({ told }: AgentSessionOptions, requests: AgentRequests) {
  const { fs, terminal, elicitation, session } = methods.client;
  return client({ name: "signalbox" })
    .onRequest(session.requestPermission, async ({ params }) => {
      const option = await told.permission(params);
      return option === null
        ? { outcome: { outcome: "cancelled" } }
        : { outcome: { outcome: "selected", optionId: option } };
    })
    .onRequest(fs.readTextFile, ({ params }) => requests.readTextFile(params))
    .onRequest(fs.writeTextFile, ({ params }) => requests.writeTextFile(params))
    .onRequest(terminal.create, ({ params }) => requests.createTerminal(params))
    .onRequest(terminal.output, ({ params }) => requests.terminalOutput(params.terminalId))
    .onRequest(terminal.waitForExit, ({ params }) => requests.waitForExit(params.terminalId))
    .onRequest(terminal.kill, ({ params }) => requests.killTerminal(params.terminalId))
    .onRequest(terminal.release, ({ params }) => requests.releaseTerminal(params.terminalId))
    .onRequest(elicitation.create, ({ params }) => requests.elicit(params));
}

/**
 * Reads an agent's updates itself, in their order: the protocol's own reader refuses one that is newer than it. While
 * the gate is shut a session is loaded, whose replay is no news.
 */
function readerOf({ told, directory, aside }: AgentSessionOptions, gate: Gate): LineReader {
  return {
    dropped: aside,
    takes({ method, params }) {
      if (method !== methods.client.session.update) return false;
      const update = isObject(params) ? params["update"] : null;
      if (isObject(update) && update["sessionUpdate"] === "current_mode_update")
        gate.modeChanged?.(String(update["currentModeId"]));
      const fact = gate.isOpen ? factOf(update, directory) : null;
      if (fact !== null) told.fact(fact);
      return true;
    },
  };
}

async function openSession(
  connection: ClientConnection,
  options: AgentSessionOptions,
  gate: Gate,
): Promise<Opened> {
  const { agent, directory, resume, meta, offersFiles } = options;
  const hello = await connection.agent.request(methods.agent.initialize, {
    protocolVersion: PROTOCOL_VERSION,
    clientInfo: { name: "signalbox", version: "1" },
    clientCapabilities: {
      fs: { readTextFile: offersFiles, writeTextFile: offersFiles },
      terminal: true,
      elicitation: { form: {} },
    },
  });
  if (hello.protocolVersion !== PROTOCOL_VERSION) {
    throw new AgentFailure(
      `${agent} speaks version ${hello.protocolVersion} of the Agent Client Protocol; Signalbox speaks ${PROTOCOL_VERSION}`,
    );
  }
  const place: NewSessionRequest = {
    cwd: directory,
    mcpServers: [],
    ...(Object.keys(meta).length === 0 ? {} : { _meta: meta }),
  };
  const { loadSession, sessionCapabilities, promptCapabilities } = hello.agentCapabilities ?? {};
  const takesImages = promptCapabilities?.image ?? false;
  if (resume !== null) {
    const can = { sessionId: resume, ...place };
    try {
      let answer: SessionModes | null = null;
      if (sessionCapabilities?.resume)
        answer = await connection.agent.request(methods.agent.session.resume, can);
      else if (loadSession) {
        gate.isOpen = false;
        answer = await connection.agent.request(methods.agent.session.load, can);
      }
      if (answer !== null) {
        await requireMode(connection, resume, answer, options, gate);
        return { id: resume, isResumed: true, takesImages };
      }
    } catch (error) {
      // Gone, or of another directory: a new one has to do.
      if (!(error instanceof RequestError) || error.code === NOT_LOGGED_IN) throw error;
    } finally {
      gate.isOpen = true;
    }
  }
  const answer = await connection.agent.request(methods.agent.session.new, place);
  await requireMode(connection, answer.sessionId, answer, options, gate);
  return { id: answer.sessionId, isResumed: false, takesImages };
}

interface SessionModes {
  modes?: { currentModeId: string; availableModes: { id: string }[] } | null;
}

/** An agent in another mode than its entry says may ask nobody. Throws {@link AgentFailure} unless it is in that mode. */
async function requireMode(
  connection: ClientConnection,
  sessionId: string,
  { modes }: SessionModes,
  { agent, mode, aside }: AgentSessionOptions,
  gate: Gate,
): Promise<void> {
  if (mode === null) return;
  const known = modes?.availableModes.map(({ id }) => id) ?? [];
  if (!known.includes(mode)) {
    throw new AgentFailure(
      `${agent} has no mode ${mode}, which its entry in RUNNER_AGENTS asks for; it has ${known.join(", ") || "none"}`,
    );
  }
  const set = () => connection.agent.request(methods.agent.session.setMode, { sessionId, modeId: mode });
  if (modes?.currentModeId !== mode) await set();
  gate.modeChanged = (changed) => {
    if (changed === mode) return;
    aside(`${agent} changed its mode to ${changed}; Signalbox sets ${mode} again.`);
    set().catch((error: unknown) => aside(`${agent} doesn't go back to mode ${mode}: ${String(error)}`));
  };
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
      error.code === NOT_LOGGED_IN
        ? `: nobody is logged in; signalbox-runner agents says what is missing`
        : "";
    return new AgentFailure(`${agent} refused: ${error.message}${hint}`);
  }
  return error instanceof Error ? error : new AgentFailure(String(error));
}
