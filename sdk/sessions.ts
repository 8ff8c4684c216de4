/** What a session is opened with. */
export interface SessionOptions {
  /** The same id from a second socket continues the same session. Default: a new random id. */
  id?: string;
  /** Tells the browser behind the session to reload. A session without it is counted but can't be told. */
  onReload?: () => void;
}

/** One socket's hold on a session. Either call ends the hold; further calls do nothing. */
export interface SessionHandle {
  readonly id: string;
  /** The page is gone: the session stops counting at once. */
  close(): void;
  /** The connection broke, maybe with a live page behind it: the session counts for the linger time. */
  lose(): void;
}

export interface SessionsOptions {
  /** How long a lost session goes on counting, in milliseconds. Default 20,000. */
  lingerMs?: number;
}

interface Session {
  readonly holds: Set<SessionOptions>;
  lingering: ReturnType<typeof setTimeout> | null;
  missedReload: boolean;
}

// Longer than a page takes to find its way back after a proxy restart (first retries within 1, 2 and 4 s).
const DEFAULT_LINGER_MS = 20_000;

/**
 * The render sessions of this deployment: the evidence on which a draining deployment is kept or deleted.
 *
 * @example
 * const session = signalbox.sessions.open({ onReload: () => socket.send("reload") });
 * socket.on("close", (code) => (code === 1006 ? session.lose() : session.close()));
 */
export class Sessions {
  readonly #lingerMs: number;
  readonly #sessions = new Map<string, Session>();

  constructor(options: SessionsOptions = {}) {
    this.#lingerMs = options.lingerMs ?? DEFAULT_LINGER_MS;
  }

  /** Sessions that are open or lingering. */
  get count(): number {
    return this.#sessions.size;
  }

  open(options: SessionOptions = {}): SessionHandle {
    const id = options.id ?? crypto.randomUUID();
    const session = this.#sessions.get(id) ?? { holds: new Set(), lingering: null, missedReload: false };
    this.#sessions.set(id, session);
    this.#stopLingering(session);
    const hold = { ...options };
    session.holds.add(hold);
    if (session.missedReload) {
      session.missedReload = false;
      tell(hold);
    }
    return {
      id,
      close: () => {
        if (session.holds.delete(hold) && session.holds.size === 0) this.#sessions.delete(id);
      },
      lose: () => {
        if (session.holds.delete(hold) && session.holds.size === 0) this.#linger(id, session);
      },
    };
  }

  /**
   * Tells every browser to reload. A lingering session is told when its page comes back.
   * @returns how many sockets were told now.
   */
  reloadAll(): number {
    let told = 0;
    for (const session of this.#sessions.values()) {
      session.missedReload = session.holds.size === 0;
      for (const hold of session.holds) if (tell(hold)) told += 1;
    }
    return told;
  }

  /** Forgets all sessions and their timers. */
  clear(): void {
    for (const session of this.#sessions.values()) {
      this.#stopLingering(session);
      session.holds.clear();
    }
    this.#sessions.clear();
  }

  #linger(id: string, session: Session): void {
    session.lingering = setTimeout(() => this.#sessions.delete(id), this.#lingerMs);
    // A number in runtimes that follow the web; in Node an object that would keep the process alive.
    if (typeof session.lingering === "object") session.lingering.unref();
  }

  #stopLingering(session: Session): void {
    if (session.lingering !== null) clearTimeout(session.lingering);
    session.lingering = null;
  }
}

function tell(hold: SessionOptions): boolean {
  if (hold.onReload === undefined) return false;
  try {
    hold.onReload();
    return true;
  } catch {
    // A socket that breaks while it is told is about to be lost; its own close event settles the session.
    return false;
  }
}
