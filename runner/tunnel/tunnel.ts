import { Agent } from "node:http";
import { STREAM_HEAD_TIMEOUT_MS } from "../../functions/protocol/limits.ts";
import type { FrameLink, StreamPeer } from "../connection/connection.ts";
import type { ResolvedTarget } from "./services.ts";
import { TunnelSession } from "./session.ts";

export interface TunnelOptions {
  resolve(service: string): ResolvedTarget | null;
  headTimeoutMs?: number;
}

/** Below the five seconds after which a Node server closes a kept connection. */
const KEEP_ALIVE_MS = 2_000;

/** Serves the streams of whichever connection there is. */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #agent = new Agent({ keepAlive: true, timeout: KEEP_ALIVE_MS });
  readonly #sessions = new Set<TunnelSession>();
  #draining = false;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  openSession(link: FrameLink): StreamPeer {
    const session = new TunnelSession(link, {
      agent: this.#agent,
      headTimeoutMs: this.#options.headTimeoutMs ?? STREAM_HEAD_TIMEOUT_MS,
      resolve: (service) => this.#options.resolve(service),
      draining: () => this.#draining,
    });
    this.#sessions.add(session);
    return {
      receive: (message) => session.receive(message),
      delay: (ms) => session.delay(ms),
      close: () => {
        this.#sessions.delete(session);
        session.close();
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

  /** New streams are refused from now on, WebSockets told to go, requests served to their end. */
  drain(): void {
    this.#draining = true;
    for (const session of this.#sessions) session.endWebSockets();
  }

  close(): void {
    for (const session of this.#sessions) session.close();
    this.#sessions.clear();
    this.#agent.destroy();
  }

  #ports() {
    return [...this.#sessions].flatMap((session) => [...session.ports]);
  }
}
