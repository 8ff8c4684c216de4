import { NativeWebSocket } from "./pins.ts";

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** A connection that held this long was no part of a restart loop. */
const STABLE_CONNECTION_MS = 10_000;

export type ConnectionState = "connecting" | "connected" | "waiting" | "suspended";

/** What one server says on its socket, and what it wants to hear. */
export interface Dialect {
  address: () => string;
  /** Each message, and how to keep an eye on the connection. */
  heard: (data: unknown, link: Link) => void;
  /** Whether a close code says never to come back. */
  isFinal: (code: number) => boolean;
  /** Called at each attempt that comes to nothing, after some that did, too. */
  failed?: () => void;
  /** Said before the page goes. */
  bye?: string;
}

export interface Link {
  /** The server has taken the page. */
  welcomed: () => void;
  send: (text: string) => void;
  /** The server is gone, though the socket doesn't know it. */
  lost: () => void;
  /** Called once, when the connection is over. */
  onEnd: (callback: () => void) => void;
}

export interface Connection {
  readonly state: ConnectionState;
}

/** Keeps a socket open for as long as the page is shown, and comes back to a server that was away. */
export function keepConnected(dialect: Dialect): Connection {
  let socket: WebSocket | null = null;
  let state: ConnectionState = "connecting";
  let failures = 0;
  let abandoned = false;
  let retry: number | undefined;
  let endings: (() => void)[] = [];

  function connect(): void {
    if (socket !== null || abandoned) return;
    clearTimeout(retry);
    state = "connecting";
    const opened = new NativeWebSocket(dialect.address());
    socket = opened;
    let welcomedAt: number | null = null;
    const link: Link = {
      welcomed() {
        state = "connected";
        welcomedAt = Date.now();
      },
      send: (text) => opened.send(text),
      lost: () => lost(opened, 0),
      onEnd: (callback) => endings.push(callback),
    };
    opened.addEventListener("message", ({ data }: MessageEvent<unknown>) => dialect.heard(data, link));
    opened.addEventListener("close", ({ code }) => {
      if (dialect.isFinal(code)) abandoned = true;
      lost(opened, welcomedAt === null ? 0 : Date.now() - welcomedAt);
    });
  }

  function lost(closed: WebSocket, heldMs: number): void {
    if (socket !== closed) return;
    letGo();
    state = "waiting";
    if (heldMs >= STABLE_CONNECTION_MS) failures = 0;
    // Full jitter: a restarted server gets its pages back spread out.
    const delayMs = Math.random() * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
    failures += 1;
    if (heldMs === 0 && failures > 2) dialect.failed?.();
    if (!abandoned) retry = window.setTimeout(connect, delayMs);
  }

  function letGo(): void {
    for (const end of endings) end();
    endings = [];
    socket?.close();
    socket = null;
  }

  function suspend(): void {
    clearTimeout(retry);
    if (dialect.bye !== undefined && socket?.readyState === NativeWebSocket.OPEN) socket.send(dialect.bye);
    letGo();
    state = "suspended";
  }

  window.addEventListener("pagehide", suspend);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  window.addEventListener("online", connect);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) connect();
  });
  connect();
  return {
    get state() {
      return state;
    },
  };
}
