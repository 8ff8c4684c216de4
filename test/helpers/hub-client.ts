import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type RawData, type WebSocket } from "ws";
import { parseEvent, type Fields, type RunnerEvent } from "../../functions/protocol/control.ts";
import { RUNNER_SUBPROTOCOL } from "../../functions/protocol/limits.ts";
import { messageBytes } from "../../runner/web-socket.ts";
import { HubStreams } from "./hub-streams.ts";

export const RUNNER_SECRET = "runner-secret-for-tests";

/** A hub as the protocol wants it, or as an experiment does, on a free loopback port. */
export interface Hub {
  url: string;
  port: number;
  /** Every connection so far, newest last. */
  connections: HubConnection[];
  /** Every attempt to connect: when, and with which request. */
  attempts: { atMs: number; request: IncomingMessage }[];
  /** What an upgrade is answered with instead of 101. */
  refuse: { status: number; body?: string } | null;
  /** The next connection, or the one at this index. */
  connection(index?: number): Promise<HubConnection>;
  close(): Promise<void>;
}

export class HubConnection {
  readonly runnerId: string;
  readonly request: IncomingMessage;
  readonly socket: WebSocket;
  readonly events: RunnerEvent[] = [];
  /** Text messages that aren't events: pings. */
  readonly texts: string[] = [];
  readonly streams: HubStreams;
  closed: { code: number; reason: string } | null = null;
  readonly #wakes = new Set<() => void>();

  constructor(runnerId: string, request: IncomingMessage, socket: WebSocket, answersPings: boolean) {
    this.runnerId = runnerId;
    this.request = request;
    this.socket = socket;
    this.streams = new HubStreams((message) => {
      if (socket.readyState === socket.OPEN) socket.send(message);
    });
    socket.on("message", (data: RawData, isBinary) => {
      const bytes = messageBytes(data);
      if (isBinary) this.streams.receive(bytes);
      else if (bytes.toString() === "ping") {
        this.texts.push("ping");
        if (answersPings) socket.send("pong");
      } else {
        const event = parseEvent(bytes.toString());
        if (event !== null) this.events.push(event);
      }
      this.#changed();
    });
    socket.on("error", () => undefined);
    socket.on("close", (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      this.streams.end();
      this.#changed();
    });
  }

  command(type: string, payload: Fields = {}, id = `${type}-1`): void {
    const timestamp = new Date().toISOString();
    this.socket.send(JSON.stringify({ id, type, projectId: "project-1", timestamp, payload }));
  }

  /** The first event that fits, which may have come already. */
  event(type: string, fits: (event: RunnerEvent) => boolean = () => true): Promise<RunnerEvent> {
    return this.#until(() => this.events.find((event) => event.type === type && fits(event)));
  }

  async end(): Promise<{ code: number; reason: string }> {
    return this.#until(() => this.closed ?? undefined);
  }

  async #until<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#wakes.add(resolve));
    }
  }

  #changed(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }
}

export interface HubOptions {
  port?: number;
  /**
   * `version1` chooses the subprotocol; `silent` chooses none; `first` chooses the first that is offered, as `ws` does
   * by itself and SentryVibe's broker therefore does.
   */
  subprotocol?: "version1" | "silent" | "first";
  answersPings?: boolean;
  /** SentryVibe's broker accepts and then closes with 1008. */
  refusesAfterwards?: boolean;
  path?: string;
}

export async function startHub(options: HubOptions = {}): Promise<Hub> {
  const choose = options.subprotocol ?? "version1";
  const server = createServer((_, response) => response.writeHead(404).end());
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: (offered) => {
      if (choose === "silent") return false;
      return choose === "first"
        ? ([...offered][0] ?? false)
        : offered.has(RUNNER_SUBPROTOCOL) && RUNNER_SUBPROTOCOL;
    },
  });
  const waiting = new Set<() => void>();
  const path = options.path ?? "/_signalbox/socket";
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    hub.attempts.push({ atMs: Date.now(), request });
    socket.on("error", () => undefined);
    const url = new URL(request.url ?? "/", "http://hub");
    const authentic = request.headers.authorization === `Bearer ${RUNNER_SECRET}`;
    const refusal = hub.refuse ?? (url.pathname === path ? null : { status: 404 });
    if (refusal !== null || (!authentic && options.refusesAfterwards !== true)) {
      const { status, body = "" } = refusal ?? { status: 401 };
      socket.end(
        `HTTP/1.1 ${status} No\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      );
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      if (!authentic) {
        webSocket.close(1008, "Unauthorized");
        return;
      }
      const id = url.searchParams.get("runnerId") ?? "";
      hub.connections.push(new HubConnection(id, request, webSocket, options.answersPings ?? true));
      for (const wake of waiting) wake();
      waiting.clear();
    });
  });
  const hub: Hub = {
    url: "",
    port: 0,
    connections: [],
    attempts: [],
    refuse: null,
    async connection(index = hub.connections.length) {
      for (;;) {
        const found = hub.connections[index];
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
    async close() {
      for (const { socket } of hub.connections) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  hub.port = (server.address() as AddressInfo).port;
  hub.url = `ws://127.0.0.1:${hub.port}${path}`;
  return hub;
}
