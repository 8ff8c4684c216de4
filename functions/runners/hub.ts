// Over 400 lines on purpose: everything that reaches a runner's Durable Object comes in here, and its parts have files of their own.

import { DurableObject } from "cloudflare:workers";
import { sameSecret } from "../auth.ts";
import { configOf, type ConfigEnv } from "../config.ts";
import { Problem, problemResponse } from "../errors.ts";
import type { MetricsBinding } from "../observability/flush.ts";
import { BUILD_ACK_MESSAGE, BUILD_EVENTS_MESSAGE, parseBuildEvents } from "../protocol/builds.ts";
import { DRAIN_MESSAGE, parseEvent, type RunnerEvent } from "../protocol/control.ts";
import { ENROLLED_HEADER, FIRST_TIME } from "../protocol/enrolment.ts";
import { JOIN_HEADER } from "../protocol/joining.ts";
import { ProtocolError } from "../protocol/frames.ts";
import {
  CLOSE_LOST,
  CLOSE_PROTOCOL_ERROR,
  CLOSE_REPLACED,
  CLOSE_REVOKED,
  CONNECTION_WINDOW_BYTES,
  RUNNER_SUBPROTOCOL,
} from "../protocol/limits.ts";
import { printableLine } from "../protocol/printable.ts";
import { openStore, type StoreEnv } from "../state/open.ts";
import { StoreUnavailable } from "../state/store.ts";
import { BuildEvents, type BuildEventPage } from "./build-events.ts";
import { attachmentOf, PUBLIC_TAG, RUNNER_TAG, type RunnerAttachment } from "./attachments.ts";
import { closeSocket, RESTARTED } from "./close-codes.ts";
import { CommandWaits, type CommandOutcome } from "./command-waits.ts";
import { ownCallOf, type SocketCall } from "./hub-call.ts";
import { HubTelemetry } from "./hub-telemetry.ts";
import { joinSecret } from "./join-secret.ts";
import type { HubView } from "./hub-view.ts";
import { Presence } from "./presence.ts";
import { RecentEvents } from "./recent-events.ts";
import { tellProjectChange } from "./project-changes.ts";
import { isConnected, isEnrolled, type RunnerProtocol, type RunnerRecord } from "./registry.ts";
import { RunnerConnection, type ConnectionSettings } from "./runner-connection.ts";
import { admit } from "./admission.ts";
import { shareLimits } from "./shares.ts";
import { askedThrough, connectionLost, runnerOffline } from "./stream-problems.ts";
import { isDraining, reportedLoadOf, statusText } from "./status-event.ts";
import { parseTunnelCall, TUNNEL_CALL_HEADER, type OpenStreams } from "./tunnel-call.ts";

/** Characters of a peer's close reason that the registry keeps. */
const REASON_LIMIT = 100;

type HubEnv = ConfigEnv & StoreEnv & MetricsBinding;

/** `offline`, `draining`, `enrolled`: nothing was sent. An event is JSON text. */
export type CommandAnswer =
  | { kind: "offline" | "draining" | "enrolled" | "sent" | "timeout" | "lost" }
  | { kind: "result"; event: string };

/**
 * One for each runner: holds its socket and the public ones that lead to it, all hibernatable. What must last is in
 * storage and in the sockets' attachments; nothing else survives ten idle seconds.
 */
export class RunnerHub extends DurableObject<HubEnv> {
  readonly #presence: Presence;
  readonly #events: RecentEvents;
  readonly #builds: BuildEvents;
  readonly #waits = new CommandWaits();
  readonly #lostAfterMs: number;
  readonly #settings: ConnectionSettings;
  readonly #telemetry: HubTelemetry;
  /** Null: WebSockets aren't joined. */
  readonly #joinKey: string | null;
  readonly #awakeSince = Date.now();
  #connection: RunnerConnection | null = null;
  #alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: HubEnv) {
    super(ctx, env);
    const config = configOf(env);
    this.#lostAfterMs = config.runnerLostAfterMs;
    this.#joinKey = config.joinsSockets ? config.controlToken : null;
    this.#settings = {
      requests: shareLimits(config.runnerRequestsLimit, config.runnerVisitorLimit),
      sockets: shareLimits(config.runnerSocketsLimit, config.runnerVisitorLimit),
      knowsVisitors: config.trustClientAddress,
    };
    this.#telemetry = new HubTelemetry(ctx, env, config.metricsIntervalMs);
    this.#presence = new Presence(ctx.storage.kv, openStore(env));
    this.#events = new RecentEvents(ctx.storage.sql);
    this.#builds = new BuildEvents(ctx.storage.sql);
    const epoch = this.#presence.record?.epoch;
    for (const socket of ctx.getWebSockets(RUNNER_TAG)) {
      const known = attachmentOf(socket);
      if (known?.kind === "runner" && known.epoch === epoch && socket.readyState === WebSocket.OPEN) {
        this.#connection = new RunnerConnection(ctx, socket, known, this.#settings);
      } else {
        // Otherwise its pings would still be answered and the runner would think it is connected.
        closeSocket(socket, RESTARTED, "the hub can't go on with this connection");
      }
    }
    if (!this.#connection)
      for (const socket of ctx.getWebSockets(PUBLIC_TAG))
        closeSocket(socket, RESTARTED, "the runner's connection ended");
    const { record } = this.#presence;
    // The machine that held the socket is gone.
    if (!this.#connection && record && isConnected(record)) {
      this.#gone("offline", "the hub was moved or restarted");
      ctx.waitUntil(this.#settle());
    }
  }

  /** Accepts a runner's socket, joins it to a visitor's, or forwards a request; the header tells which. */
  override async fetch(request: Request): Promise<Response> {
    const text = request.headers.get(TUNNEL_CALL_HEADER);
    if (text === null) {
      const own = ownCallOf(request);
      if (own.kind === "socket") return this.#accept(own, request);
      if (this.#connection?.facts.epoch === own.epoch) return this.#connection.join(own.stream, request);
      return problemResponse(runnerOffline(own.runnerId), request);
    }
    const call = parseTunnelCall(text);
    try {
      const connection = this.#connection;
      if (!connection) throw runnerOffline(call.runnerId);
      if (connection.facts.protocol !== RUNNER_SUBPROTOCOL) {
        throw new Problem(
          "runner_without_streams",
          `Runner ${call.runnerId} speaks control messages only (it is a SentryVibe runner): nothing goes through it.`,
        );
      }
      return await connection.open(request, call);
    } catch (error) {
      if (error instanceof Problem) return problemResponse(error, askedThrough(request, call));
      throw error;
    }
  }

  /** Sends a command, given as JSON; with a time to wait, answers with its result. */
  async command(
    command: { text: string; id: string; type: string; isNewWork: boolean; bySharedSecret?: boolean },
    waitMs: number,
  ): Promise<CommandAnswer> {
    const connection = this.#connection;
    if (command.bySharedSecret && isEnrolled(this.#presence.record)) return { kind: "enrolled" };
    if (!connection) return { kind: "offline" };
    if (command.isNewWork && this.#presence.record?.state === "draining") return { kind: "draining" };
    const outcome = waitMs > 0 ? this.#waits.wait(command.id, command.type, waitMs) : null;
    connection.socket.send(command.text);
    return outcome === null ? { kind: "sent" } : answerOf(await outcome);
  }

  async view(): Promise<HubView> {
    return {
      record: this.#presence.record,
      lastHeardAt: this.#connection?.lastHeardAt ?? null,
      status: this.#connection?.facts.status ?? null,
      recentEvents: JSON.stringify(this.#events.list()),
      connections: this.#presence.connections,
      openStreams: this.#connection?.streams ?? 0,
      awakeSince: this.#awakeSince,
    };
  }

  /** When the connected runner was last heard from; null when none is connected. */
  async lastHeardAt(): Promise<number | null> {
    return this.#connection?.lastHeardAt ?? null;
  }

  /** Requests and WebSockets open to a service now: evidence for the janitor. Null: unknown. */
  async openStreams(service: string): Promise<OpenStreams | null> {
    return this.#connection?.openStreams(service) ?? null;
  }

  /** A build's events after a number; it may wait so long for the first one. */
  async buildEvents(buildId: string, after: number, waitMs: number): Promise<BuildEventPage> {
    return this.#builds.read(buildId, after, waitMs);
  }

  /** The project is gone, and with it its builds. */
  async forgetBuilds(project: string): Promise<void> {
    this.#builds.forget(project);
  }

  /** Starts or ends an operator's drain: a drained runner gets no new work. */
  async drain(
    id: string,
    drainRequested: boolean,
  ): Promise<{ record: RunnerRecord | null; published: boolean }> {
    const now = Date.now();
    await this.#adopt(id);
    this.#presence.set(id, { drainRequested }, now);
    if (this.#connection) {
      tellDrain(this.#connection.socket, this.#connection.facts.protocol, drainRequested);
      if (drainRequested) this.#presence.moved("draining", "an operator asked for it", now);
      else this.#presence.moved("online", "an operator ended the drain", now);
    }
    return { published: await this.#settle(), record: this.#presence.record };
  }

  /**
   * Sets or revokes the runner's own credential; a connection that was made with the former one ends. False while the
   * store is away: it is written later then.
   */
  async setCredential(id: string, credentialSha256: string | null): Promise<boolean> {
    // An enrolled runner stays closed to the shared secret while it changes over to a new credential.
    const enrolment = credentialSha256 === null ? { enrolledAt: null } : {};
    this.#presence.set(id, { credentialSha256, ...enrolment }, Date.now());
    if (this.#connection?.facts.ownCredential)
      this.#cut(CLOSE_REVOKED, "offline", "its credential was revoked");
    return this.#settle();
  }

  /** Whether a secret with this hash is the runner's own. The registry may not know it yet. */
  async knowsCredential(credentialSha256: string): Promise<boolean> {
    const known = this.#presence.record?.credentialSha256 ?? null;
    return known !== null && (await sameSecret(credentialSha256, known));
  }

  /** `unavailable`: the store is away, so that its copy is still there. */
  async forget(id: string): Promise<"forgotten" | "connected" | "unavailable"> {
    if (this.#connection) return "connected";
    this.#events.clear();
    this.#builds.clear();
    this.#telemetry.forgotten(id);
    try {
      await this.#presence.forget(id);
    } catch (error) {
      if (error instanceof StoreUnavailable) return "unavailable";
      throw error;
    }
    return "forgotten";
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const connection = this.#connection;
    const visitor = connection?.publicStream(socket);
    if (visitor) return visitor.message(message);
    // A replaced or cut connection may still send; ignore it.
    if (!connection || connection.socket !== socket) return;
    try {
      if (typeof message === "string") this.#text(connection, message);
      else if (connection.facts.protocol === RUNNER_SUBPROTOCOL) connection.receive(message);
      else throw new ProtocolError("Binary messages need a subprotocol.");
      connection.heard(Date.now());
      this.#presence.heard(Date.now());
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#cut(CLOSE_PROTOCOL_ERROR, "offline", error.message);
    }
    // Frames of a stream change nothing to publish, and while the store is down the alarm retries.
    const { retryAt } = this.#presence;
    if ((retryAt !== null && retryAt <= Date.now()) || this.#alarmAt === null) await this.#settle();
  }

  override async webSocketClose(socket: WebSocket, code: number, reason: string): Promise<void> {
    const visitor = this.#connection?.publicStream(socket);
    // Completes the closing handshake; without it the other side sees 1006.
    closeSocket(socket, code, reason);
    if (visitor) return visitor.closedByClient(code, reason);
    if (this.#connection?.socket !== socket) return;
    const why = reason === "" ? "" : ` ${printableLine(reason, REASON_LIMIT)}`;
    this.#gone("offline", `its connection closed (${code}${why})`);
    await this.#settle();
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.webSocketClose(socket, 1_006, "");
  }

  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    const now = Date.now();
    const connection = this.#connection;
    if (connection && now - connection.lastHeardAt >= this.#lostAfterMs) {
      this.#cut(CLOSE_LOST, "lost", `nothing was heard of it for ${Math.round(this.#lostAfterMs / 1_000)} s`);
    }
    this.#presence.lookForConflict(now);
    await this.#settle();
  }

  async #accept(call: SocketCall, request: Request): Promise<Response> {
    await this.#adopt(call.runnerId);
    const admission = admit(call, this.#presence.record);
    if (admission instanceof Problem) return problemResponse(admission, request);
    const former = this.#connection;
    if (former) {
      this.#connection = null;
      former.end(connectionLost());
      this.#waits.lose();
      closeSocket(former.socket, CLOSE_REPLACED, "replaced");
    }
    const now = Date.now();
    const epoch = this.#presence.connected(call.runnerId, call.protocol, former !== null, now);
    this.#telemetry.connected(call.runnerId, { epoch, replaces: former !== null, enrols: admission.enrols });
    if (admission.enrols) {
      const { credentialSha256 = null } = call;
      this.#presence.set(call.runnerId, { credentialSha256, enrolledAt: now }, now);
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [RUNNER_TAG]);
    const attachment: RunnerAttachment = {
      kind: "runner",
      epoch,
      protocol: call.protocol,
      connectedAt: now,
      ownCredential: admission.ownCredential,
      lastHeardAt: now,
      status: null,
      nextStream: 1,
      sendCreditBytes: CONNECTION_WINDOW_BYTES,
      ungrantedBytes: 0,
    };
    this.#connection = new RunnerConnection(this.ctx, server, attachment, this.#settings);
    if (this.#presence.record?.drainRequested) tellDrain(server, call.protocol, true);
    // Its first message follows at once: waiting for it saves one of two registry writes.
    this.ctx.waitUntil(this.#presence.record?.state === "connecting" ? this.#arm() : this.#settle());
    const headers = new Headers();
    if (call.protocol === RUNNER_SUBPROTOCOL) headers.set("sec-websocket-protocol", RUNNER_SUBPROTOCOL);
    if (admission.ownCredential) headers.set(ENROLLED_HEADER, admission.enrols ? FIRST_TIME : "1");
    if (this.#joinKey !== null && call.protocol === RUNNER_SUBPROTOCOL)
      headers.set(JOIN_HEADER, await joinSecret(this.#joinKey, { runnerId: call.runnerId, epoch }));
    return new Response(null, { status: 101, webSocket: client, headers });
  }

  /** While the store is away, what this hub itself knows must do. */
  async #adopt(id: string): Promise<void> {
    try {
      await this.#presence.adopt(id, Date.now());
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
    }
  }

  #text(connection: RunnerConnection, text: string): void {
    if (text === "ping") return connection.socket.send("pong");
    let event: RunnerEvent | null;
    try {
      event = parseEvent(text);
    } catch (error) {
      // The SentryVibe broker ignored these, and its runners rely on that.
      if (connection.facts.protocol === "sentryvibe" && error instanceof ProtocolError) return;
      throw error;
    }
    if (event === null) return;
    tellProjectChange(this.env, event);
    if (event.type === BUILD_EVENTS_MESSAGE) return this.#storeBuildEvents(connection, event);
    if (event.type === "runner-status") {
      connection.heard(Date.now(), statusText(event));
      this.#applyStatus(event);
      this.#telemetry.status(event);
      this.#telemetry.settle(this.#presence.record, connection.streams);
    }
    this.#events.add(event);
    this.#waits.event(event);
  }

  #storeBuildEvents({ socket, facts }: RunnerConnection, event: RunnerEvent): void {
    const message = parseBuildEvents(event);
    if (message === null || facts.protocol !== RUNNER_SUBPROTOCOL) {
      throw new ProtocolError("Events of a build can't be understood.");
    }
    const runner = this.#presence.record?.id ?? "";
    const seq = this.#builds.add(message, (one) => this.#telemetry.build(runner, message.buildId, one));
    const payload = { buildId: message.buildId, seq };
    socket.send(ownMessage(BUILD_ACK_MESSAGE, payload));
  }

  /** A runner that shuts down says so in its status. */
  #applyStatus(event: RunnerEvent): void {
    const record = this.#presence.record;
    if (!record) return;
    this.#presence.reportLoad(reportedLoadOf(event), Date.now());
    if (isDraining(event)) this.#presence.moved("draining", "it is about to end", Date.now());
    else if (!record.drainRequested)
      this.#presence.moved("online", record.state === "draining" ? "it goes on" : record.reason, Date.now());
  }

  #cut(code: number, state: "offline" | "lost", reason: string): void {
    const socket = this.#connection?.socket;
    this.#gone(state, reason);
    if (socket) closeSocket(socket, code, reason);
  }

  #gone(state: "offline" | "lost", reason: string): void {
    const connection = this.#connection;
    this.#connection = null;
    connection?.end(connectionLost());
    this.#waits.lose();
    this.#presence.moved(state, reason, Date.now());
    this.#telemetry.ended(this.#presence.record?.id ?? "", state);
  }

  /** Publishes changes and sets the alarm for what is due next. False: not published. */
  async #settle(): Promise<boolean> {
    // The alarm retries.
    const published = await this.#presence.publish().then(
      () => true,
      () => false,
    );
    this.#telemetry.settle(this.#presence.record, this.#connection?.streams ?? 0);
    await this.#arm();
    return published;
  }

  async #arm(): Promise<void> {
    const due: number[] = [];
    if (this.#connection) due.push(this.#connection.lastHeardAt + this.#lostAfterMs);
    const { retryAt } = this.#presence;
    if (retryAt !== null) due.push(retryAt);
    const next = due.length === 0 ? null : Math.max(Math.min(...due), Date.now() + 1);
    this.#alarmAt ??= await this.ctx.storage.getAlarm();
    // An early alarm checks and sets the next one, so a sign of life needn't move it.
    if (next === null || (this.#alarmAt !== null && this.#alarmAt <= next)) return;
    this.#alarmAt = next;
    await this.ctx.storage.setAlarm(next);
  }
}

/** An older runner answers that it doesn't know this command. SentryVibe's runners never get it. */
function tellDrain(socket: WebSocket, protocol: RunnerProtocol, draining: boolean): void {
  if (protocol === RUNNER_SUBPROTOCOL) socket.send(ownMessage(DRAIN_MESSAGE, { draining }));
}

/** A message of the hub's own, in a command's shape. */
function ownMessage(type: string, payload: object): string {
  const timestamp = new Date().toISOString();
  return JSON.stringify({ id: crypto.randomUUID(), type, projectId: null, timestamp, payload });
}

function answerOf(outcome: CommandOutcome): CommandAnswer {
  return outcome.kind === "result"
    ? { kind: "result", event: JSON.stringify(outcome.event) }
    : { kind: outcome.kind };
}
