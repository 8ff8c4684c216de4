import { DurableObject } from "cloudflare:workers";

/** The binding through which the hubs of pages are reached. */
export interface PageHubBinding {
  PAGE_HUB: DurableObjectNamespace<PageHub>;
}

/** What a hub knows of the pages of its deployment. */
export interface PageCount {
  /** Pages that are open, those among them that may still come back after a cut. */
  pages: number;
  /** When a document was last served that can't be counted, epoch milliseconds; 0 where none was. */
  uncountedAt: number;
  /** Hubs that the deployment's pages are in, this one among them; known to the first alone. */
  shards: number;
}

/** Sockets in one object; further pages go to other shards. The platform's own limit is 32,768. */
export const PAGES_PER_HUB = 10_000;
/** A hub that is full says by this header how many shards there are now. */
export const SHARDS_HEADER = "x-signalbox-shards";
const FIRST_SPLIT = 4;
const MOST_SHARDS = 256;
/** A page that lost its connection counts for so long: longer than its longest pause between two attempts. */
export const LOST_PAGE_MS = 45_000;
/** What pages say now and then, and what the platform answers without waking the hub. */
export const PAGE_PING = "ping";
const PAGE_PONG = "pong";
/** Close codes of a page that has gone: a clean close, going away, and none given. */
const GONE_CODES: ReadonlySet<number> = new Set([1000, 1001, 1005]);
const PAGE_ID_PATTERN = /^[a-f0-9]{32}$/;
/** A note of an uncounted document isn't written again sooner. */
const UNCOUNTED_STEP_MS = 10_000;

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

  constructor(ctx: DurableObjectState, env: PageHubBinding) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS pages (id TEXT PRIMARY KEY, lost_at INTEGER) WITHOUT ROWID;" +
        "CREATE INDEX IF NOT EXISTS lost_pages ON pages (lost_at) WHERE lost_at IS NOT NULL;",
    );
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PAGE_PING, PAGE_PONG));
    const open = ctx.getWebSockets().length;
    const rows = this.#number("SELECT COUNT(*) AS n FROM pages WHERE lost_at IS NULL");
    if (rows > open) this.#loseAllWithoutSocket();
  }

  /** A page's socket: `?page=ID`. */
  override async fetch(request: Request): Promise<Response> {
    const page = new URL(request.url).searchParams.get("page") ?? "";
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return Response.json(
        { detail: "this is a WebSocket" },
        { status: 426, headers: { connection: "upgrade", upgrade: "websocket" } },
      );
    }
    if (!PAGE_ID_PATTERN.test(page)) {
      return Response.json({ detail: "page: must be 32 characters of a-f and 0-9" }, { status: 400 });
    }
    if (this.ctx.getWebSockets().length >= PAGES_PER_HUB && this.ctx.getWebSockets(page).length === 0) {
      return new Response(null, { status: 503, headers: { [SHARDS_HEADER]: String(this.#shards) } });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    // A page that is back before its old socket was found dead.
    for (const old of this.ctx.getWebSockets(page)) old.close(1000, "replaced");
    this.ctx.acceptWebSocket(server, [page]);
    this.#sql.exec("INSERT OR REPLACE INTO pages (id, lost_at) VALUES (?, NULL)", page);
    server.send(JSON.stringify({ type: "welcome" }));
    if (this.ctx.storage.kv.get("reload") === true) server.send(RELOAD);
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Pages of this hub alone. */
  count(): PageCount {
    this.#sql.exec("DELETE FROM pages WHERE lost_at < ?", Date.now() - LOST_PAGE_MS);
    const uncountedAt = this.ctx.storage.kv.get("uncountedAt");
    return {
      pages: this.#number("SELECT COUNT(*) AS n FROM pages"),
      uncountedAt: typeof uncountedAt === "number" ? uncountedAt : 0,
      shards: this.#shards,
    };
  }

  /** Of the first hub: there are more shards from now on, unless there are more than `known` already. */
  split(known: number): number {
    const next = Math.min(MOST_SHARDS, known === 1 ? FIRST_SPLIT : known * 2);
    if (this.#shards <= known) this.ctx.storage.kv.put("shards", next);
    return this.#shards;
  }

  /** A document went out that has no helper, so that nobody can say when its page is closed. */
  noteUncounted(): void {
    const now = Date.now();
    const { uncountedAt } = this.count();
    if (now - uncountedAt >= UNCOUNTED_STEP_MS) this.ctx.storage.kv.put("uncountedAt", now);
  }

  /** Asks each page to reload, and each one that comes from now on. Returns how many sockets heard it. */
  tellReload(): number {
    this.ctx.storage.kv.put("reload", true);
    let told = 0;
    for (const socket of this.ctx.getWebSockets()) {
      if (socket.readyState !== WebSocket.OPEN) continue;
      socket.send(RELOAD);
      told += 1;
    }
    return told;
  }

  /** The deployment is active again after a rollback: its pages may stay. */
  keep(): void {
    this.ctx.storage.kv.delete("reload");
  }

  /** The deployment is gone. Its pages find out by their next request. */
  async end(): Promise<void> {
    for (const socket of this.ctx.getWebSockets()) socket.close(1012, "the deployment is gone");
    await this.ctx.storage.deleteAll();
  }

  override webSocketMessage(): void {
    // Pages say nothing but pings, which don't arrive here.
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // Without this the other end sees 1006.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
    this.#left(socket, GONE_CODES.has(code));
  }

  override webSocketError(socket: WebSocket): void {
    this.#left(socket, false);
  }

  #left(socket: WebSocket, isGone: boolean): void {
    const [page = ""] = this.ctx.getTags(socket);
    const isBack = this.ctx
      .getWebSockets(page)
      .some((other) => other !== socket && other.readyState === WebSocket.OPEN);
    if (isBack) return;
    if (isGone) this.#sql.exec("DELETE FROM pages WHERE id = ?", page);
    else this.#sql.exec("UPDATE pages SET lost_at = ? WHERE id = ?", Date.now(), page);
  }

  #loseAllWithoutSocket(): void {
    const open = new Set(this.ctx.getWebSockets().flatMap((socket) => this.ctx.getTags(socket)));
    const lost = [...this.#sql.exec<{ id: string }>("SELECT id FROM pages WHERE lost_at IS NULL")].filter(
      ({ id }) => !open.has(id),
    );
    for (const { id } of lost) this.#sql.exec("UPDATE pages SET lost_at = ? WHERE id = ?", Date.now(), id);
  }

  get #shards(): number {
    const shards = this.ctx.storage.kv.get("shards");
    return typeof shards === "number" ? shards : 1;
  }

  #number(query: string): number {
    return this.#sql.exec<{ n: number }>(query).one().n;
  }
}

const RELOAD = JSON.stringify({ type: "reload", reason: "notice" });
