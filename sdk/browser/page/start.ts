import type { SignalboxClient } from "../api.ts";
import { PIN_QUERY, pinOf } from "./addresses.ts";
import { keepConnected, type Connection, type Dialect } from "./connection.ts";
import { pinPage } from "./pins.ts";
import { reloads, type Reloads } from "./reloads.ts";

const DEFAULT_JITTER_MS = 2_000;
/** A page that its own deployment served this long has left any reload loop. */
const GUARD_CLEARS_MS = 60_000;

/** What the server half of the helper needs to know of the page. */
export interface PageParts {
  deploymentId: string | null;
  pageId: string;
  reloads: Reloads;
  /** Call it at each welcome; the returned function ends what it began. */
  servedByOwn: () => () => void;
}

export interface Start {
  /** Asked, with a pin, whether a deployment is still there. */
  checkPath: (id: string) => string;
  /** Null: this page has no socket. */
  dialect: (parts: PageParts) => Dialect | null;
  gaveUp: () => void;
  /** Before the page's own requests are pinned. */
  started?: (id: string) => void;
}

/** Defines `window.signalbox`. The first helper of a page wins: the app may have one that the edge doesn't know of. */
export function startHelper(
  tag: HTMLScriptElement | null,
  { checkPath, dialect, gaveUp, started }: Start,
): void {
  if (window.signalbox !== undefined) return;
  const deploymentId = tag === null ? null : pinOf(new URL(tag.src, document.baseURI));
  const givenJitterMs = Number.parseInt(tag?.dataset["reloadJitterMs"] ?? "", 10);
  const jitterMs = givenJitterMs >= 0 ? givenJitterMs : DEFAULT_JITTER_MS;
  const pageId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
  const reloading = reloads(deploymentId, jitterMs, gaveUp);

  let connection: Connection | null = null;
  const api: SignalboxClient = {
    deploymentId,
    get state() {
      return reloading.state === "idle" ? (connection?.state ?? "suspended") : reloading.state;
    },
    onReload: reloading.onReload,
    reload: reloading.reload,
  };
  Object.defineProperty(window, "signalbox", { value: api, enumerable: true });
  if (deploymentId !== null) started?.(deploymentId);
  if (deploymentId !== null) pinPage(deploymentId, checkPath(deploymentId), reloading.outdated);
  const spoken = dialect({
    deploymentId,
    pageId,
    reloads: reloading,
    servedByOwn() {
      const timer = setTimeout(reloading.forget, GUARD_CLEARS_MS);
      return () => clearTimeout(timer);
    },
  });
  if (spoken !== null) connection = keepConnected(spoken);
}

export function socketAddress(path: string): URL {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

export function pinParameter(id: string): string {
  return `${PIN_QUERY}=${id}`;
}

/** A JSON object; null for anything else, which proves all the same that a server is there. */
export function parseMessage(data: unknown): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(String(data));
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : null;
  } catch {
    return null; // not from our server half
  }
}

export function ownTag(): HTMLScriptElement | null {
  return document.currentScript instanceof HTMLScriptElement ? document.currentScript : null;
}
