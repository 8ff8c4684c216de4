import { WebSocket } from "ws";

interface CounterSession {
  count: number;
  sockets: Set<WebSocket>;
  emptySinceMs: number;
}

const TICKS_PER_SECOND = 5;
// A browser retries every few seconds: a page that has been away for ten minutes won't come back.
const FORGET_AFTER_MS = 600_000;

/** Each page's counter, kept in this process's memory and nowhere else: only this deployment can go on counting it. */
export class CounterSessions {
  readonly #sessions = new Map<string, CounterSession>();
  readonly #ticking = setInterval(() => this.#tick(), 1_000 / TICKS_PER_SECOND);

  attach(id: string, socket: WebSocket): void {
    const session = this.#sessions.get(id) ?? { count: 0, sockets: new Set(), emptySinceMs: Date.now() };
    this.#sessions.set(id, session);
    session.sockets.add(socket);
    socket.send(String(session.count));
    socket.on("close", () => {
      session.sockets.delete(socket);
      session.emptySinceMs = Date.now();
    });
  }

  stop(): void {
    clearInterval(this.#ticking);
  }

  #tick(): void {
    for (const [id, session] of this.#sessions) {
      if (session.sockets.size > 0) session.count += 1;
      else if (Date.now() - session.emptySinceMs > FORGET_AFTER_MS) this.#sessions.delete(id);
      for (const socket of session.sockets) {
        if (socket.readyState === WebSocket.OPEN) socket.send(String(session.count));
      }
    }
  }
}
