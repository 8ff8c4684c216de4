import { DurableObject } from "cloudflare:workers";

/** The binding through which the hubs of pages are reached. */
export interface PageHubBinding {
  PAGE_HUB: DurableObjectNamespace<PageHub>;
}

/** What a hub knows of the pages of its deployment. Times are epoch milliseconds; 0 where there is none. */
export interface PageCount {
  /** Pages that are open, those among them that may still come back after a cut. */
  pages: number;
  /** When a document was last served that can't be counted. */
  uncountedAt: number;
  /** When a document was last served while the deployment was draining. */
  servedAt: number;
  /** Hubs that the deployment's pages are in, this one among them; known to the first alone. */
  shards: number;
}

/** `uncounted`: nobody can say when its page is closed. `served`: its page has no socket yet. */
export type DocumentNote = "uncounted" | "served";

/** Sockets in one object; further pages go to other shards. The platform's own limit is 32,768. */
export const PAGES_PER_HUB = 10_000;
/** A hub that is full says by this header how many shards there are now. */
export const SHARDS_HEADER = "x-signalbox-shards";
const FIRST_SPLIT = 4;
const MOST_SHARDS = 256;
/** A page that lost its connection counts for so long: longer than its longest delay between two attempts. */
export const LOST_PAGE_MS = 45_000;
/** What pages say now and then, and what the platform answers without waking the hub. */
export const PAGE_PING = "ping";
const PAGE_PONG = "pong";
/**
 * Close codes of a page that has gone: a clean close, and none given. 1001 is missing on purpose: a proxy that goes away says
 * it for live pages too.
 */
const GONE_CODES: ReadonlySet<number> = new Set([1000, 1005]);
const POLICY_VIOLATION = 1008;
const PAGE_ID_PATTERN = /^[a-f0-9]{32}$/;
/** A note of a document isn't written again sooner. */
export const NOTE_STEP_MS = 10_000;
/**
 * Pages that come are told to reload for so long after the others were. By then each location's table says so itself, as long
 * as it is still so: what is un-drained needn't be told.
 */
const RELOAD_MEMORY_MS = 60_000;

/**
 * The open pages of one deployment: a hibernating socket each, so that nothing is awake while nobody comes or goes.
 *
 * A row for each page outlives the object: whatever ends all sockets at once (a deploy of the Worker does) leaves pages
 * that are still open somewhere, and those count until they are back or their time is over.
 *
 * The first hub of a deployment takes all pages until it is full. It knows how many shards there are then.
 */
export class PageHub extends DurableObject<PageHubBinding> {
  readonly #sql: SqlStorage;
  /** Listing them takes as long as there are many. */
  #sockets: number;

  constructor(ctx: DurableObjectState, env: PageHubBinding) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PAGE_PING, PAGE_PONG));
    this.#sockets = ctx.getWebSockets().length;
    if (this.#hasPages()) this.#loseAllWithoutSocket();
  }

  /** A page's socket: `?page=ID`, with `&reload=1` where the page is to reload at once. */
  override async fetch(request: Request): Promise<Response> {
    const query = new URL(request.url).searchParams;
    const page = query.get("page") ?? "";
    if (!isPageId(page)) return new Response(null, { status: 400 });
    const former = this.ctx.getWebSockets(page);
    if (this.#sockets >= PAGES_PER_HUB && former.length === 0) {
      return new Response(null, { status: 503, headers: { [SHARDS_HEADER]: String(this.#shards) } });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    // A page that is back before its old socket was found dead.
    for (const old of former) old.close(1000, "replaced");
    this.ctx.acceptWebSocket(server, [page]);
    this.#sockets += 1;
    this.#makeTable();
    this.#sql.exec("INSERT OR REPLACE INTO pages (id, lost_at) VALUES (?, NULL)", page);
    server.send(WELCOME);
    if (query.has("reload") || Date.now() - this.#time("reloadAt") < RELOAD_MEMORY_MS) server.send(RELOAD);
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Pages of this hub alone. */
  count(): PageCount {
    let pages = 0;
    if (this.#hasPages()) {
      this.#sql.exec("DELETE FROM pages WHERE lost_at < ?", Date.now() - LOST_PAGE_MS);
      pages = this.#sql.exec<{ n: number }>("SELECT COUNT(*) AS n FROM pages").one().n;
    }
    return {
      pages,
      uncountedAt: this.#time("uncounted"),
      servedAt: this.#time("served"),
      shards: this.#shards,
    };
  }

  /** Of the first hub: there are more shards from now on, unless there are more than `known` already. */
  split(known: number): number {
    const next = Math.min(MOST_SHARDS, known === 1 ? FIRST_SPLIT : known * 2);
    if (this.#shards <= known) this.ctx.storage.kv.put("shards", next);
    return this.#shards;
  }

  /** A document went out. */
  note(kind: DocumentNote): void {
    const now = Date.now();
    if (now - this.#time(kind) >= NOTE_STEP_MS) this.ctx.storage.kv.put(kind, now);
  }

  /** Asks each page to reload. Returns how many sockets heard it. */
  tellReload(): number {
    this.ctx.storage.kv.put("reloadAt", Date.now());
    let told = 0;
    for (const socket of this.ctx.getWebSockets()) {
      if (socket.readyState !== WebSocket.OPEN) continue;
      socket.send(RELOAD);
      told += 1;
    }
    return told;
  }

  /** The deployment is gone. Its pages find out as they come back. */
  async end(): Promise<void> {
    for (const socket of this.ctx.getWebSockets()) socket.close(1012, "the deployment is gone");
    await this.ctx.storage.deleteAll();
  }

  /** Pages say nothing but pings, which don't arrive here. */
  override webSocketMessage(socket: WebSocket): void {
    socket.close(POLICY_VIOLATION, "pages are only listened to");
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    this.#left(socket, GONE_CODES.has(code));
    // Without this the other end sees 1006.
    socket.close(1000);
  }

  override webSocketError(socket: WebSocket): void {
    this.#left(socket, false);
  }

  #left(socket: WebSocket, isGone: boolean): void {
    this.#sockets -= 1;
    const [page = ""] = this.ctx.getTags(socket);
    const isBack = this.ctx
      .getWebSockets(page)
      .some((other) => other !== socket && other.readyState === WebSocket.OPEN);
    // After `end` nothing is written any more.
    if (isBack || !this.#hasPages()) return;
    if (isGone) this.#sql.exec("DELETE FROM pages WHERE id = ?", page);
    else this.#sql.exec("UPDATE pages SET lost_at = ? WHERE id = ?", Date.now(), page);
  }

  #loseAllWithoutSocket(): void {
    const open = new Set(this.ctx.getWebSockets().flatMap((socket) => this.ctx.getTags(socket)));
    const lost = [...this.#sql.exec<{ id: string }>("SELECT id FROM pages WHERE lost_at IS NULL")].filter(
      ({ id }) => !open.has(id),
    );
    const now = Date.now();
    for (const { id } of lost) this.#sql.exec("UPDATE pages SET lost_at = ? WHERE id = ?", now, id);
  }

  /** A hub that is only asked, or that has ended, keeps nothing. */
  #hasPages(): boolean {
    return this.#sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'pages'").toArray().length > 0;
  }

  #makeTable(): void {
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS pages (id TEXT PRIMARY KEY, lost_at INTEGER) WITHOUT ROWID;" +
        "CREATE INDEX IF NOT EXISTS lost_pages ON pages (lost_at) WHERE lost_at IS NOT NULL;",
    );
  }

  get #shards(): number {
    const shards = this.ctx.storage.kv.get("shards");
    return typeof shards === "number" ? shards : 1;
  }

  #time(key: DocumentNote | "reloadAt"): number {
    const time = this.ctx.storage.kv.get(key);
    return typeof time === "number" ? time : 0;
  }
}

export function isPageId(text: string): boolean {
  return PAGE_ID_PATTERN.test(text);
}

const WELCOME = JSON.stringify({ type: "welcome" });
const RELOAD = JSON.stringify({ type: "reload" });
