import type { IncomingMessage } from "node:http";
import type { WebSocket } from "ws";
import {
  CLOSE_PROTOCOL_ERROR,
  CLOSE_REPLACED,
  CONTROL_MESSAGE_LIMIT_BYTES,
  RUNNER_SUBPROTOCOL,
} from "../../functions/protocol/limits.ts";
import { ENROLLED_HEADER } from "../../functions/protocol/enrolment.ts";
import { JOIN_HEADER } from "../../functions/protocol/joining.ts";
import type { Login } from "./credential.ts";
import { messageBytes, openWebSocket } from "../web-socket.ts";

/**
 * Offered first. `ws` servers that were written without subprotocols in mind choose the first one offered, so one that
 * chooses this, or nothing, is a SentryVibe broker; only a hub looks for the other.
 */
const CONTROL_ONLY_SUBPROTOCOL = "signalbox.control-only";

export const HANDSHAKE_TIMEOUT_MS = 15_000;
/** A peer that is gone doesn't answer a close. */
const CLOSE_GRACE_MS = 2_000;
const REFUSAL_BODY_LIMIT_BYTES = 2_048;
/** Source: RFC 6455, 7.4.1. SentryVibe's broker closes with it when the secret is wrong. */
const CLOSE_POLICY = 1_008;

export interface LinkOptions {
  url: URL;
  runnerId: string;
  login: Login;
  /** From dialling to the complete answer. */
  handshakeTimeoutMs: number;
  pingIntervalMs: number;
  silenceLimitMs: number;
}

export interface LinkEvents {
  opened(): void;
  text(text: string): void;
  binary(bytes: Uint8Array): void;
  /** How long a ping of the hub took there and back. */
  delay(ms: number): void;
  /** Called exactly once, also after a failed handshake. */
  ended(end: LinkEnd): void;
}

/** Why a socket is no more. */
export interface LinkEnd {
  kind: "refused" | "replaced" | "lost" | "closed";
  reason: string;
  /** Refused for what the runner came with. */
  unauthorized?: boolean;
}

/** One socket to the hub, from its handshake to its end. Owns its timers. */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  readonly #socket: WebSocket;
  #streams = false;
  #enrolled = false;
  #joinSecret: string | null = null;
  /** On the monotonic clock. */
  #heardAt = 0;
  /** One for each ping that has no pong yet; a hub answers in the order in which things came. */
  readonly #pongs: (() => void)[] = [];
  readonly #opening: NodeJS.Timeout;
  #pings: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  #closing: NodeJS.Timeout | undefined;
  #end: LinkEnd | undefined;
  #ended = false;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    const url = new URL(options.url);
    url.searchParams.set("runnerId", options.runnerId);
    this.#socket = openWebSocket({
      url,
      headers: [
        ...options.login.headers,
        ["sec-websocket-protocol", `${CONTROL_ONLY_SUBPROTOCOL}, ${RUNNER_SUBPROTOCOL}`],
      ],
      messageLimitBytes: CONTROL_MESSAGE_LIMIT_BYTES,
      agreed: ({ headers }, subprotocol) => {
        this.#enrolled = headers[ENROLLED_HEADER] !== undefined;
        const join = headers[JOIN_HEADER];
        this.#joinSecret = typeof join === "string" ? join : null;
        this.#streams = subprotocol === RUNNER_SUBPROTOCOL;
        if (subprotocol !== null && !this.#streams && subprotocol !== CONTROL_ONLY_SUBPROTOCOL)
          this.#finish({ kind: "refused", reason: "it answered with a subprotocol that wasn't offered" });
      },
    });
    this.#opening = setTimeout(
      () => this.#finish({ kind: "lost", reason: "the other side took too long to answer" }),
      options.handshakeTimeoutMs,
    );
    this.#listen();
  }

  /** Whether the other side speaks binary frames; known once opened. */
  get streams(): boolean {
    return this.#streams;
  }

  /** Whether the hub says that what it was given is the runner's own now. */
  get enrolled(): boolean {
    return this.#enrolled;
  }

  /** What WebSockets are joined with; null: the other side doesn't join them. */
  get joinSecret(): string | null {
    return this.#joinSecret;
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** `written` is told when the bytes have left this process, or never will. */
  send(message: string | Uint8Array, written: () => void): void {
    this.#socket.send(message, written);
  }

  /** `done` is told when the hub has taken in all that was sent before. */
  confirm(done: () => void): void {
    this.#pongs.push(done);
    this.#socket.send("ping");
  }

  /** Ends it in order, with a WebSocket close. */
  close(code: number, reason: string, end: LinkEnd = { kind: "closed", reason }): void {
    if (this.#ended || this.#closing !== undefined) return;
    this.#end = end;
    this.#closing = setTimeout(() => this.#finish(end), CLOSE_GRACE_MS);
    this.#socket.close(code, reason);
  }

  /** For a peer that broke the protocol. */
  fail(reason: string): void {
    this.close(CLOSE_PROTOCOL_ERROR, reason.slice(0, 100), {
      kind: "lost",
      reason: `protocol error: ${reason}`,
    });
  }

  /** Ends it now. */
  terminate(reason: string): void {
    this.#finish({ kind: "closed", reason });
  }

  #listen(): void {
    const socket = this.#socket;
    const heard = (): void => {
      this.#heardAt = performance.now();
    };
    socket.on("open", () => {
      clearTimeout(this.#opening);
      heard();
      this.#pings = setInterval(() => this.#ping(), this.#options.pingIntervalMs);
      this.#watchSilence();
      this.#events.opened();
      // While nothing else is under way, so that it tells how long the way takes.
      if (this.#streams) this.#ping();
    });
    socket.on("ping", heard);
    socket.on("pong", heard);
    socket.on("message", (data, isBinary) => {
      heard();
      if (this.#ended || this.#closing !== undefined) return;
      const bytes = messageBytes(data);
      if (isBinary) this.#events.binary(bytes);
      else if (!(bytes.length === 4 && bytes.toString() === "pong")) this.#events.text(bytes.toString());
      else this.#pongs.shift()?.();
    });
    socket.on("unexpected-response", (_request, response) => void this.#refused(response));
    socket.on("error", (error) => {
      this.#end ??= { kind: "lost", reason: describe(error) };
    });
    socket.on("close", (code, reason) => this.#finish(this.#end ?? closed(code, reason.toString())));
  }

  async #refused(response: IncomingMessage): Promise<void> {
    const reason = await readRefusal(response, this.#options.login.name);
    response.destroy();
    const unauthorized = response.statusCode === 401 || response.statusCode === 403;
    this.#finish({ kind: "refused", reason, unauthorized });
  }

  /** A broker answers pings of the WebSocket protocol, a hub text, which doesn't wake it. */
  #ping(): void {
    if (!this.#streams) return this.#socket.ping();
    const at = performance.now();
    this.confirm(() => this.#events.delay(performance.now() - at));
  }

  #watchSilence(): void {
    const silentMs = performance.now() - this.#heardAt;
    const leftMs = this.#options.silenceLimitMs - silentMs;
    if (leftMs <= 0) {
      this.#finish({ kind: "lost", reason: `nothing was heard for ${Math.round(silentMs / 1_000)} s` });
      return;
    }
    this.#silence = setTimeout(() => this.#watchSilence(), leftMs);
  }

  #finish(end: LinkEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#opening);
    clearInterval(this.#pings);
    clearTimeout(this.#silence);
    clearTimeout(this.#closing);
    this.#socket.terminate();
    this.#events.ended(end);
  }
}

function closed(code: number, reason: string): LinkEnd {
  if (code === CLOSE_REPLACED)
    return { kind: "replaced", reason: "another runner connected with the same id" };
  if (code === CLOSE_POLICY) return { kind: "refused", reason: reason || "policy", unauthorized: true };
  const what = code === 1006 ? "the connection broke" : `closed with ${code}`;
  return { kind: "lost", reason: reason === "" ? what : `${what}: ${reason}` };
}

function describe(error: Error): string {
  // Both addresses of a host refused: the aggregate itself has no message.
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return error.message || code || error.name;
}

const secretHints: Record<number, string> = {
  401: "the secret is wrong",
  403: "the secret isn't allowed here",
};

const statusHints: Record<number, string> = {
  404: "there is no runner socket at this path (RUNNER_BROKER_URL)",
  426: "no version that this runner speaks is spoken there",
  429: "too many attempts with a wrong secret",
};

/** The status in words, and what the body says in its `error` or `detail`. */
async function readRefusal(response: IncomingMessage, secretName: string): Promise<string> {
  const status = response.statusCode ?? 0;
  const chunks: Buffer[] = [];
  let length = 0;
  const timeout = setTimeout(() => response.destroy(), CLOSE_GRACE_MS);
  try {
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) continue;
      chunks.push(chunk);
      length += chunk.length;
      if (length > REFUSAL_BODY_LIMIT_BYTES) break;
    }
  } catch {
    // The status alone is reason enough.
  } finally {
    clearTimeout(timeout);
  }
  const secretHint = secretHints[status];
  const hint = secretHint === undefined ? statusHints[status] : `${secretHint} (${secretName})`;
  const detail = refusalDetail(Buffer.concat(chunks).toString());
  return [`HTTP ${status}`, hint, detail].filter((part) => part !== undefined && part !== "").join(": ");
}

function refusalDetail(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== "object" || parsed === null) return "";
    const text = "error" in parsed ? parsed.error : "detail" in parsed ? parsed.detail : "";
    return typeof text === "string" ? text.replace(/[\u0000-\u001f\u007f]/g, " ").slice(0, 400) : "";
  } catch {
    return "";
  }
}
