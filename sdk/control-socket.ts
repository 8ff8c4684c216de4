import type { Sessions } from "./sessions.ts";

/** The server's end of a page's control socket, whatever library holds it. */
export interface ControlSocket {
  send(text: string): void;
  close(code: number, reason: string): void;
  /** Sends a protocol ping; the runtime reports the answer through {@link ControlConnection.ponged}. */
  ping?: () => void;
  /** Drops the connection without a closing handshake. */
  terminate?: () => void;
}

/** What the socket's owner reports. */
export interface ControlConnection {
  received(text: string): void;
  ponged(): void;
  /** `code` is the WebSocket close code; 1006 when there was no closing handshake. */
  closed(code: number): void;
  /** Ends the connection from this side. */
  end(): void;
}

/** What the server says on the control socket, as JSON text. A page says nothing but the text `bye`. */
export type ControlMessage =
  | { type: "welcome"; deployment_id: string | null; ping_interval_ms: number }
  | { type: "ping" }
  | { type: "reload"; reason: "notice" | "stale-affinity" };

export interface ControlContext {
  deploymentId: string | null;
  sessions: Sessions;
  pingIntervalMs: number;
}

export const PIN_QUERY = "pulse_deployment";
/** The close code of a socket that reached another deployment than its page came from (HTTP says 409). */
export const STALE_CLOSE_CODE = 4409;

const SERVICE_RESTART = 1012;
// 1001 is missing on purpose: a page that unloads says `bye`, and a proxy that goes away says 1001 for live pages too.
const CLEAN_CLOSE_CODES: ReadonlySet<number> = new Set([1000, 1005]);
const PAGE_ID = /^[A-Za-z0-9-]{8,64}$/;

/** True when the address is pinned to a deployment that isn't `deploymentId`. */
export function isStalePin(url: URL, deploymentId: string | null): boolean {
  const pin = url.searchParams.get(PIN_QUERY);
  return deploymentId !== null && pin !== null && pin !== deploymentId;
}

/** Counts the page as a render session for as long as its control socket lives. */
export function serveControlSocket(
  socket: ControlSocket,
  url: URL,
  { deploymentId, sessions, pingIntervalMs }: ControlContext,
): ControlConnection {
  const say = (message: ControlMessage) => socket.send(JSON.stringify(message));

  // The edge sends a stale page's socket to the active deployment: it is no session of ours, only to be told.
  if (isStalePin(url, deploymentId)) {
    say({ type: "reload", reason: "stale-affinity" });
    socket.close(STALE_CLOSE_CODE, "stale affinity");
    return { received() {}, ponged() {}, closed() {}, end() {} };
  }

  say({ type: "welcome", deployment_id: deploymentId, ping_interval_ms: pingIntervalMs });
  const page = url.searchParams.get("page");
  const session = sessions.open({
    ...(page !== null && PAGE_ID.test(page) && { id: page }),
    onReload: () => say({ type: "reload", reason: "notice" }),
  });

  let answered = true;
  let saidBye = false;
  const pinging = setInterval(() => {
    if (!answered) {
      clearInterval(pinging);
      session.lose();
      socket.terminate?.();
      return;
    }
    if (socket.ping !== undefined) {
      answered = false;
      socket.ping();
    }
    // Browsers hide protocol pings from the page; this one lets it notice a server that fell silent.
    say({ type: "ping" });
  }, pingIntervalMs);
  if (typeof pinging === "object") pinging.unref();

  return {
    received(text) {
      if (text === "bye") saidBye = true;
    },
    ponged() {
      answered = true;
    },
    closed(code) {
      clearInterval(pinging);
      if (saidBye || CLEAN_CLOSE_CODES.has(code)) session.close();
      else session.lose();
    },
    end() {
      clearInterval(pinging);
      session.close();
      socket.close(SERVICE_RESTART, "service restart");
    },
  };
}
