/*
 * The browser helper, served as one classic script by `/_pulse/client.js`: it can import nothing but types, which is why it
 * is one long file. It keeps the page on its deployment, counts it as a session there, and reloads it, once and politely,
 * when that deployment goes away. `api.ts` describes what the page sees of it.
 *
 * Two limits come with the header: a fetch that the server redirects to another origin takes it along, as browsers do
 * with any header, and a `no-cors` fetch goes without it.
 */
import type { ReloadCallback, ReloadNotice, ReloadReason, SignalboxClient, SignalboxState } from "./api.ts";

(() => {
  if (window.signalbox !== undefined) return;

  const PIN_QUERY = "pulse_deployment";
  const PIN_HEADER = "x-pulse-deployment";
  const STALE_HEADER = "x-pulse-stale-affinity";
  const RELOAD_FLAG = "pulse_reload_on_stale_affinity";
  const STALE_CLOSE_CODE = 4409;
  // Frames share the tab's storage: one that was reloaded says nothing about the page around it.
  const GUARD_KEY = `signalbox:reloaded-from${window === window.top ? "" : location.pathname}`;
  const DEFAULT_JITTER_MS = 2_000;
  const FIRST_RETRY_MS = 1_000;
  const LONGEST_RETRY_MS = 30_000;
  /** A connection that held this long was no part of a restart loop. */
  const STABLE_CONNECTION_MS = 10_000;
  /** A page that its own deployment served this long has left any reload loop. */
  const GUARD_CLEARS_MS = 60_000;
  /** The server pings. After this many silent intervals it is gone. */
  const SILENT_PINGS = 3;

  const nativeFetch = window.fetch;
  const NativeRequest = window.Request;
  const NativeWebSocket = window.WebSocket;

  const tag = document.currentScript instanceof HTMLScriptElement ? document.currentScript : null;
  const deploymentId = tag === null ? null : pinOf(new URL(tag.src, document.baseURI));
  const givenJitterMs = Number.parseInt(tag?.dataset["reloadJitterMs"] ?? "", 10);
  const jitterMs = givenJitterMs >= 0 ? givenJitterMs : DEFAULT_JITTER_MS;
  const pageId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");

  // ── Pins ──────────────────────────────────────────────────────────────────────────────────────────────────────

  function pinOf(url: URL): string | null {
    return url.searchParams.get(PIN_QUERY);
  }

  function resolve(address: unknown): URL | null {
    try {
      return new URL(String(address), document.baseURI);
    } catch {
      // The native call that follows reports the malformed address better than we could.
      return null;
    }
  }

  // Text, since URLSearchParams would respell the rest of the app's query.
  function withQuery(url: URL, ...parameters: string[]): string {
    const copy = new URL(url);
    copy.search = [copy.search.slice(1), ...parameters].filter((part) => part !== "").join("&");
    return copy.href;
  }

  function withoutPin(url: URL): string {
    const copy = new URL(url);
    const isPin = (part: string) => new URLSearchParams(part).has(PIN_QUERY);
    copy.search = copy.search
      .slice(1)
      .split("&")
      .filter((part) => !isPin(part))
      .join("&");
    return copy.href;
  }

  // A blob's address has this page's origin, too, but no server behind it.
  function isOurs(url: URL | null): url is URL {
    return url !== null && url.origin === location.origin && url.protocol === location.protocol;
  }

  function isStaleAnswer(address: string, status: number, header: string | null): boolean {
    return status === 409 && header === "1" && isOurs(resolve(address));
  }

  async function pinnedFetch(input: RequestInfo | URL, init: RequestInit | undefined, id: string, url: URL) {
    // Our own copy, made by the browser itself: body streams, signals and modes survive, the app's object is untouched.
    const request = new NativeRequest(input, init);
    const explicit = request.headers.get(PIN_HEADER) ?? pinOf(url);
    if (explicit === null) request.headers.set(PIN_HEADER, id);
    const response = await nativeFetch.call(window, request);
    if (explicit === null || explicit === id) {
      const header = response.headers.get(STALE_HEADER);
      if (isStaleAnswer(response.url, response.status, header)) outdated("stale-response");
    }
    return response;
  }

  function patchFetch(id: string): void {
    window.fetch = new Proxy(nativeFetch, {
      apply(target, self, args: [input: RequestInfo | URL, init?: RequestInit]) {
        const [input, init] = args;
        const url = resolve(input instanceof NativeRequest ? input.url : input);
        if (!isOurs(url)) return Reflect.apply(target, self, args);
        return pinnedFetch(input, init, id, url);
      },
    });
  }

  function patchXhr(id: string): void {
    const pins = new WeakMap<XMLHttpRequest, string | null>();
    function before<M extends "open" | "setRequestHeader" | "send">(
      method: M,
      note: (request: XMLHttpRequest, args: unknown[]) => void,
    ): void {
      XMLHttpRequest.prototype[method] = new Proxy(XMLHttpRequest.prototype[method], {
        apply(target, self: XMLHttpRequest, args: unknown[]) {
          note(self, args);
          return Reflect.apply(target, self, args);
        },
      });
    }
    before("open", (request, [, address]) => {
      const url = resolve(address);
      if (isOurs(url)) pins.set(request, pinOf(url));
      else pins.delete(request);
    });
    before("setRequestHeader", (request, [name, value]) => {
      if (pins.has(request) && String(name).toLowerCase() === PIN_HEADER) pins.set(request, String(value));
    });
    before("send", (request) => {
      const explicit = pins.get(request);
      if (explicit === null) request.setRequestHeader(PIN_HEADER, id);
      if (explicit !== null && explicit !== id) return;
      const settled = () => {
        const header = request.getResponseHeader(STALE_HEADER);
        if (isStaleAnswer(request.responseURL, request.status, header)) outdated("stale-response");
      };
      request.addEventListener("load", settled, { once: true });
    });
  }

  function patchWebSocket(id: string): void {
    function pinned(address: unknown): unknown {
      const url = resolve(address);
      if (url === null || url.host !== location.host) return address;
      const explicit = pinOf(url);
      if (explicit !== null && explicit !== id) return address;
      const pin = explicit === null ? `${PIN_QUERY}=${id}` : "";
      return withQuery(url, pin, url.searchParams.has(RELOAD_FLAG) ? "" : `${RELOAD_FLAG}=1`);
    }
    window.WebSocket = new Proxy(NativeWebSocket, {
      construct(target, [address, ...rest]: unknown[], newTarget): WebSocket {
        return Reflect.construct(target, [pinned(address), ...rest], newTarget);
      },
    });
    ownConstructor(NativeWebSocket.prototype, window.WebSocket);
  }

  function patchEventSource(id: string): void {
    const NativeEventSource = window.EventSource;
    window.EventSource = new Proxy(NativeEventSource, {
      construct(target, [address, ...rest]: unknown[], newTarget): EventSource {
        const url = resolve(address);
        const explicit = isOurs(url) ? pinOf(url) : "";
        const ours = explicit === null || explicit === id;
        const pinned = isOurs(url) && explicit === null ? withQuery(url, `${PIN_QUERY}=${id}`) : address;
        const source: EventSource = Reflect.construct(target, [pinned, ...rest], newTarget);
        if (ours) {
          source.addEventListener("error", () => {
            if (source.readyState === NativeEventSource.CLOSED) void checkPin(id);
          });
        }
        return source;
      },
    });
    ownConstructor(NativeEventSource.prototype, window.EventSource);
  }

  // `socket.constructor === WebSocket` goes on holding.
  function ownConstructor(prototype: object, constructor: object): void {
    Object.defineProperty(prototype, "constructor", {
      value: constructor,
      configurable: true,
      writable: true,
    });
  }

  /** An EventSource hides the status that it died of; it reports CLOSED once, so this asks once. */
  async function checkPin(id: string): Promise<void> {
    try {
      const response = await nativeFetch.call(window, "/_pulse/meta", {
        headers: { [PIN_HEADER]: id },
        cache: "no-store",
      });
      const header = response.headers.get(STALE_HEADER);
      if (isStaleAnswer(response.url, response.status, header)) outdated("stale-event-source");
    } catch {
      // Offline says nothing about the pin; the control socket finds out when it is back.
    }
  }

  // ── Reload ────────────────────────────────────────────────────────────────────────────────────────────────────

  const callbacks = new Set<ReloadCallback>();
  let reloadState: "idle" | "reload-pending" | "reload-vetoed" | "reloading" | "stale" = "idle";

  function outdated(reason: ReloadReason): void {
    if (reloadState !== "idle") return;
    if (wasReloadedFromHere()) {
      reloadState = "stale";
      console.warn(`signalbox: ${deploymentId ?? "this page"} is stale, and reloading didn't help`);
      return;
    }
    reloadState = "reload-pending";
    void reloadPolitely({ reason, deploymentId });
  }

  async function reloadPolitely(notice: ReloadNotice): Promise<void> {
    const event = new CustomEvent("signalbox:reload", { detail: notice, cancelable: true, bubbles: true });
    const canceled = !document.dispatchEvent(event);
    const verdicts = await Promise.all([...callbacks].map((callback) => ask(callback, notice)));
    if (reloadState !== "reload-pending") return;
    if (canceled || verdicts.includes(false)) {
      reloadState = "reload-vetoed";
      return;
    }
    const delayMs = document.hidden ? 0 : Math.random() * jitterMs;
    setTimeout(() => {
      if (reloadState === "reload-pending") reload();
    }, delayMs);
  }

  async function ask(callback: ReloadCallback, notice: ReloadNotice): Promise<boolean> {
    try {
      return (await callback(notice)) !== false;
    } catch (error) {
      console.error(error);
      return true;
    }
  }

  function reload(): void {
    if (reloadState !== "idle") rememberReload();
    reloadState = "reloading";
    const url = new URL(location.href);
    if (pinOf(url) === null) location.reload();
    else location.replace(withoutPin(url));
  }

  // The guard: the deployments that this tab was reloaded from, until one of them serves it for a while.

  function readGuard(): string[] {
    const parsed: unknown = JSON.parse(sessionStorage.getItem(GUARD_KEY) ?? "[]");
    return Array.isArray(parsed) ? parsed.filter((id) => typeof id === "string") : [];
  }

  function wasReloadedFromHere(): boolean {
    try {
      return readGuard().includes(deploymentId ?? "");
    } catch {
      // Without storage a reloaded page can still tell that it is one: better a page too old than one in a loop.
      const [navigation] = performance.getEntriesByType("navigation");
      return navigation instanceof PerformanceNavigationTiming && navigation.type === "reload";
    }
  }

  function rememberReload(): void {
    try {
      sessionStorage.setItem(GUARD_KEY, JSON.stringify([...new Set([...readGuard(), deploymentId ?? ""])]));
    } catch {
      // Storage is blocked or full; `wasReloadedFromHere` has its own way then.
    }
  }

  function forgetReloads(): void {
    if (reloadState !== "idle") return;
    try {
      sessionStorage.removeItem(GUARD_KEY);
    } catch {
      // What can't be stored can't need forgetting.
    }
  }

  // ── Control socket ────────────────────────────────────────────────────────────────────────────────────────────

  let socket: WebSocket | null = null;
  let socketState: "connecting" | "connected" | "waiting" | "suspended" = "connecting";
  let failures = 0;
  let abandoned = false;
  let retry: number | undefined;
  let silence: number | undefined;
  let guardClears: number | undefined;

  function connect(): void {
    if (socket !== null || abandoned) return;
    clearTimeout(retry);
    socketState = "connecting";
    const url = new URL("/_pulse/session", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const pin = deploymentId === null ? [] : [`${PIN_QUERY}=${deploymentId}`, `${RELOAD_FLAG}=1`];
    const opened = new NativeWebSocket(withQuery(url, ...pin, `page=${pageId}`));
    socket = opened;
    let welcomedAt: number | null = null;
    let silentAfterMs = 0;
    opened.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
      const message = parseMessage(data);
      if (message?.type === "welcome") {
        socketState = "connected";
        welcomedAt = Date.now();
        silentAfterMs = message.pingIntervalMs * SILENT_PINGS;
        if (deploymentId !== null && message.deploymentId !== null && message.deploymentId !== deploymentId) {
          outdated("stale-socket");
        } else guardClears ??= window.setTimeout(forgetReloads, GUARD_CLEARS_MS);
      }
      if (message?.type === "reload") outdated(message.stale ? "stale-socket" : "notice");
      clearTimeout(silence);
      if (silentAfterMs > 0) silence = window.setTimeout(() => lost(opened, 0), silentAfterMs);
    });
    opened.addEventListener("close", ({ code }) => {
      const heldMs = welcomedAt === null ? 0 : Date.now() - welcomedAt;
      if (code === STALE_CLOSE_CODE) abandoned = true;
      lost(opened, heldMs);
    });
  }

  function lost(closed: WebSocket, heldMs: number): void {
    if (socket !== closed) return;
    letGo();
    socketState = "waiting";
    if (heldMs >= STABLE_CONNECTION_MS) failures = 0;
    // Full jitter: a restarted server gets its pages back spread out.
    const delayMs = Math.random() * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
    failures += 1;
    if (!abandoned) retry = window.setTimeout(connect, delayMs);
  }

  function letGo(): void {
    clearTimeout(silence);
    clearTimeout(guardClears);
    guardClears = undefined;
    socket?.close();
    socket = null;
  }

  function suspend(): void {
    clearTimeout(retry);
    if (socket?.readyState === NativeWebSocket.OPEN) socket.send("bye");
    letGo();
    socketState = "suspended";
  }

  type Message =
    | { type: "welcome"; deploymentId: string | null; pingIntervalMs: number }
    | { type: "reload"; stale: boolean };

  function parseMessage(data: unknown): Message | null {
    let parsed: unknown;
    try {
      parsed = JSON.parse(String(data));
    } catch {
      // Not from our server half, but it proves that a server is there.
      return null;
    }
    if (typeof parsed !== "object" || parsed === null || !("type" in parsed)) return null;
    if (parsed.type === "reload") {
      return { type: "reload", stale: "reason" in parsed && parsed.reason === "stale-affinity" };
    }
    if (parsed.type !== "welcome") return null;
    const id = "deployment_id" in parsed ? parsed.deployment_id : null;
    const interval = "ping_interval_ms" in parsed ? parsed.ping_interval_ms : 0;
    return {
      type: "welcome",
      deploymentId: typeof id === "string" ? id : null,
      pingIntervalMs: typeof interval === "number" ? interval : 0,
    };
  }

  // ── The page ──────────────────────────────────────────────────────────────────────────────────────────────────

  const api: SignalboxClient = {
    deploymentId,
    get state(): SignalboxState {
      return reloadState === "idle" ? socketState : reloadState;
    },
    onReload(callback) {
      callbacks.add(callback);
      return () => void callbacks.delete(callback);
    },
    reload,
  };
  Object.defineProperty(window, "signalbox", { value: api, enumerable: true });

  if (deploymentId !== null) {
    patchFetch(deploymentId);
    patchXhr(deploymentId);
    patchWebSocket(deploymentId);
    patchEventSource(deploymentId);
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
})();
