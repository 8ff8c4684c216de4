import { Agent } from "node:http";
import { STREAM_HEAD_TIMEOUT_MS } from "../../functions/protocol/limits.ts";
import type { OpenHead } from "../../functions/protocol/frames.ts";
import type { FrameLink, StreamPeer } from "../connection/connection.ts";
import type { ResolvedTarget } from "./services.ts";
import type { StreamPort } from "./stream-port.ts";
import { TunnelConnection } from "./tunnel-connection.ts";

export interface TunnelOptions {
  resolve(service: string, isSocket: boolean): ResolvedTarget | null;
  headTimeoutMs?: number;
  /** A stream begins. Answers the head that its service gets. */
  begun?: (port: StreamPort, head: OpenHead) => OpenHead;
  /** A stream is over. */
  ended?: (port: StreamPort) => void;
}

/** Below the five seconds after which a Node server closes a kept connection. */
const KEEP_ALIVE_MS = 2_000;

/** Serves the streams of the current connection, and of one that it replaces. */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #agent = new Agent({ keepAlive: true, timeout: KEEP_ALIVE_MS });
  readonly #connections = new Set<TunnelConnection>();
  #isShuttingDown = false;
  /** Bytes of messages. */
  bytesIn = 0;
  bytesOut = 0;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  openConnection(link: FrameLink): StreamPeer {
    const counted: FrameLink = {
      ...link,
      send: (message, written) => {
        this.bytesOut += message.byteLength;
        link.send(message, written);
      },
    };
    const connection = new TunnelConnection(counted, {
      agent: this.#agent,
      headTimeoutMs: this.#options.headTimeoutMs ?? STREAM_HEAD_TIMEOUT_MS,
      resolve: (service, isSocket) => this.#options.resolve(service, isSocket),
      isShuttingDown: () => this.#isShuttingDown,
      begun: (port, head) => this.#options.begun?.(port, head) ?? head,
      ended: (port) => this.#options.ended?.(port),
    });
    this.#connections.add(connection);
    return {
      receive: (message) => {
        this.bytesIn += message.byteLength;
        connection.receive(message);
      },
      delay: (ms) => connection.delay(ms),
      close: () => {
        this.#connections.delete(connection);
        connection.close();
      },
    };
  }

  /** Open streams of each service that has any. */
  openStreams(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { service } of this.#ports()) counts[service] = (counts[service] ?? 0) + 1;
    return counts;
  }

  /** Requests under way; WebSockets don't end by themselves and aren't waited for. */
  get requests(): number {
    return this.#ports().filter((port) => !port.webSocket).length;
  }

  get webSockets(): number {
    return this.#ports().filter((port) => port.webSocket).length;
  }

  /** Refuses new streams from now on, ends WebSockets, and serves open requests to their end. */
  shutDown(): void {
    this.#isShuttingDown = true;
    for (const connection of this.#connections) connection.endWebSockets();
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
    this.#agent.destroy();
  }

  #ports() {
    return [...this.#connections].flatMap((connection) => [...connection.ports]);
  }
}
