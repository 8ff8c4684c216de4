import {
  isLongerThan,
  parseCommand,
  type Command,
  type EventType,
  type Fields,
  type RunnerEvent,
} from "../../functions/protocol/control.ts";
import { ProtocolError } from "../../functions/protocol/frames.ts";
import {
  CONTROL_MESSAGE_LIMIT_BYTES,
  DEAF_VISITOR_MS,
  RECONNECT_FIRST_MS,
  RECONNECT_LIMIT_MS,
  REPLACED_DELAY_MS,
  RUNNER_PING_INTERVAL_MS,
  RUNNER_SILENCE_LIMIT_MS,
  RUNNER_STATUS_INTERVAL_MS,
  STABLE_CONNECTION_MS,
} from "../../functions/protocol/limits.ts";
import type { Log } from "../terminal/log.ts";
import { Backoff } from "./backoff.ts";
import { EventQueue } from "./event-queue.ts";
import type { Login } from "./credential.ts";
import { HANDSHAKE_TIMEOUT_MS, Link, type LinkEnd } from "./link.ts";

/** An event as its source raises it: `timestamp` is added where it is missing. */
export interface NewEvent extends Fields {
  type: EventType;
  timestamp?: string;
  commandId?: string;
  projectId?: string;
}

export type ConnectionStateName = "connecting" | "online" | "replaced" | "refused" | "lost" | "offline";

export interface ConnectionState {
  name: ConnectionStateName;
  reason: string;
  /** RFC 3339. */
  since: string;
}

/** Serves the streams of one connection. */
export interface StreamPeer {
  /** Throws ProtocolError when the message can't be understood. */
  receive(message: Uint8Array): void;
  /** Reports the measured round trip of the connection. */
  delay(ms: number): void;
  close(): void;
}

/** How the hub takes a connection for one visitor's WebSocket. */
export interface JoinOffer {
  /** Of the runner's own connection. */
  url: URL;
  runnerId: string;
  secret: string;
  deafVisitorMs: number;
}

/** What a {@link StreamPeer} writes to. */
export interface FrameLink {
  /** `written` is told when the bytes have left this process, or never will. */
  send(message: Uint8Array, written: () => void): void;
  /** `done` is told when the other side has taken in all that was sent before. */
  confirm(done: () => void): void;
  fail(reason: string): void;
  /** How the other side joins WebSockets; null, or absent: it doesn't. */
  readonly join?: JoinOffer | null;
}

export interface ConnectionTimings {
  handshakeTimeoutMs: number;
  heartbeatIntervalMs: number;
  pingIntervalMs: number;
  silenceLimitMs: number;
  reconnectFirstMs: number;
  reconnectLimitMs: number;
  stableMs: number;
  /** Between being replaced and taking the id back: two runners with one id shall not fight each second. */
  replacedDelayMs: number;
  /** A visitor who takes nothing of a joined WebSocket for so long is closed. */
  deafVisitorMs: number;
}

export const connectionTimings: ConnectionTimings = {
  handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
  heartbeatIntervalMs: RUNNER_STATUS_INTERVAL_MS,
  pingIntervalMs: RUNNER_PING_INTERVAL_MS,
  silenceLimitMs: RUNNER_SILENCE_LIMIT_MS,
  reconnectFirstMs: RECONNECT_FIRST_MS,
  reconnectLimitMs: RECONNECT_LIMIT_MS,
  stableMs: STABLE_CONNECTION_MS,
  replacedDelayMs: REPLACED_DELAY_MS,
  deafVisitorMs: DEAF_VISITOR_MS,
};

/** What the runner comes with, which changes with the answers that it gets. */
export interface Logins {
  login(): Promise<Login>;
  /** `enrolled`: as the hub said. */
  accepted(enrolled: boolean): Promise<void>;
  /** Answers what to do about it, or nothing. */
  refused(): Promise<string>;
}

export interface ConnectionOptions {
  url: URL;
  runnerId: string;
  credential: Logins;
  timings: ConnectionTimings;
  log: Log;
  random?: () => number;
  openStreams: (link: FrameLink) => StreamPeer;
  command: (command: Command) => void;
  /** The payload of the next heartbeat. */
  status: () => Fields;
  stateChanged?: (state: ConnectionState) => void;
}

/** Beyond this, events wait in the queue, which is bounded, and not in the socket, which isn't. */
const SOCKET_BUFFER_LIMIT_BYTES = 8 * 1024 * 1024;
/** Source: RFC 6455, 7.4.1: an endpoint that goes away. */
const CLOSE_GOING_AWAY = 1_001;

/** The runner's connection to its hub: reconnects for ever, sends heartbeats, passes on what arrives. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #backoff: Backoff;
  readonly #queue = new EventQueue();
  #link: Link | undefined;
  #peer: StreamPeer | undefined;
  #open = false;
  #state: ConnectionState = { name: "offline", reason: "not started", since: new Date().toISOString() };
  #retry: NodeJS.Timeout | undefined;
  #stable: NodeJS.Timeout | undefined;
  #heartbeats: NodeJS.Timeout | undefined;
  #stopped = false;
  #gone: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#backoff = new Backoff(
      options.timings.reconnectFirstMs,
      options.timings.reconnectLimitMs,
      options.random,
    );
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#open;
  }

  /** Whether the other side is a hub of ours. */
  get hasStreams(): boolean {
    return this.#open && this.#link?.streams === true;
  }

  start(): void {
    const { log, url, timings } = this.#options;
    log.info(`🤝 Connecting to broker: ${url.origin}${url.pathname}`);
    this.#heartbeats = setInterval(() => this.#heartbeat(), timings.heartbeatIntervalMs);
    void this.#connect();
  }

  /** Sends an event, or keeps it until there is a connection. */
  send(event: NewEvent): void {
    const text = JSON.stringify({ timestamp: new Date().toISOString(), ...event });
    if (isLongerThan(text, CONTROL_MESSAGE_LIMIT_BYTES)) {
      this.#options.log.error(`[runner] an event of type ${event.type} was too large to be sent`);
      return;
    }
    this.#queue.push(text);
    this.#pump();
  }

  /** Sends a heartbeat now. */
  tell(): void {
    this.#heartbeat();
  }

  /** Ends the connection in order. Events that still wait are lost. */
  async stop(reason: string): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    clearInterval(this.#heartbeats);
    if (this.#link !== undefined) {
      const gone = new Promise<void>((resolve) => (this.#gone = resolve));
      if (this.#open) this.#link.close(CLOSE_GOING_AWAY, reason);
      else this.#link.terminate(reason);
      await gone;
    }
    this.#become("offline", reason);
  }

  async #connect(): Promise<void> {
    const { url, runnerId, credential, timings } = this.#options;
    this.#become("connecting", "");
    const login = await credential.login();
    if (this.#stopped) return;
    const link = new Link(
      { url, runnerId, login, ...timings },
      {
        opened: () => this.#opened(link),
        text: (text) => this.#text(link, text),
        delay: (ms) => this.#peer?.delay(ms),
        binary: (bytes) => this.#binary(link, bytes),
        ended: (end) => void this.#ended(end),
      },
    );
    this.#link = link;
  }

  #opened(link: Link): void {
    const { log, openStreams, timings, credential, url, runnerId } = this.#options;
    this.#open = true;
    void credential.accepted(link.enrolled);
    this.#become("online", link.streams ? "" : "the other side is a broker: control messages only");
    log.info("🎉 Connected to broker!");
    if (link.streams) {
      this.#peer = openStreams({
        send: (message, written) => link.send(message, written),
        confirm: (done) => link.confirm(done),
        fail: (reason) => link.fail(reason),
        join:
          link.joinSecret === null
            ? null
            : { url, runnerId, secret: link.joinSecret, deafVisitorMs: timings.deafVisitorMs },
      });
    }
    this.#stable = setTimeout(() => this.#backoff.reset(), timings.stableMs);
    this.#heartbeat(true);
    const dropped = this.#queue.takeDropped();
    if (dropped > 0) log.warn(`[runner] ${dropped} events were dropped while there was no connection`);
    this.#pump();
  }

  #text(link: Link, text: string): void {
    let command: Command;
    try {
      command = parseCommand(text);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (link.streams) link.fail(error.message);
      else this.#options.log.warn(`[runner] a message of the broker was ignored: ${error.message}`);
      return;
    }
    this.#options.command(command);
  }

  #binary(link: Link, bytes: Uint8Array): void {
    try {
      if (this.#peer === undefined) throw new ProtocolError("A peer without the subprotocol sent frames.");
      this.#peer.receive(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      link.fail(error.message);
    }
  }

  async #ended(end: LinkEnd): Promise<void> {
    const { log, timings, runnerId, credential } = this.#options;
    clearTimeout(this.#stable);
    this.#peer?.close();
    this.#peer = undefined;
    this.#link = undefined;
    this.#open = false;
    this.#gone?.();
    if (this.#stopped) return;
    const remedy = end.unauthorized === true ? await credential.refused() : "";
    if (this.#stopped) return;
    const reason = remedy === "" ? end.reason : `${end.reason}: ${remedy}`;
    this.#become(end.kind === "closed" ? "lost" : end.kind, reason);
    const pauseMs = end.kind === "replaced" ? timings.replacedDelayMs : this.#backoff.nextMs();
    const again = `trying again in ${(pauseMs / 1_000).toFixed(1)} s`;
    if (end.kind === "refused") log.error(`❌ Broker refused the connection: ${reason}; ${again}`);
    else if (end.kind === "replaced")
      log.error(`❌ Replaced: ${end.reason} (${runnerId}); each runner needs its own RUNNER_ID; ${again}`);
    else log.warn(`🔌 Disconnected from broker: ${end.reason}; ${again}`);
    this.#retry = setTimeout(() => void this.#connect(), pauseMs);
  }

  #heartbeat(first = false): void {
    if (!this.#open || this.#link === undefined) return;
    const { log, runnerId, status } = this.#options;
    const event: RunnerEvent = {
      type: "runner-status",
      timestamp: new Date().toISOString(),
      payload: status(),
    };
    this.#link.send(JSON.stringify(event), () => undefined);
    const line = `[runner] ⏱️  Heartbeat sent: ${runnerId}`;
    if (first) log.info(line);
    else log.debug(line);
  }

  #pump(): void {
    const link = this.#link;
    if (link === undefined) return;
    while (this.#open && link.bufferedBytes < SOCKET_BUFFER_LIMIT_BYTES) {
      const text = this.#queue.shift();
      if (text === undefined) return;
      link.send(text, () => {
        if (this.#queue.size > 0) this.#pump();
      });
    }
  }

  #become(name: ConnectionStateName, reason: string): void {
    this.#state = { name, reason, since: new Date().toISOString() };
    this.#options.stateChanged?.(this.#state);
  }
}
