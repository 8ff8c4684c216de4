import type { ReloadCallback, ReloadNotice, ReloadReason } from "../api.ts";
import { pinOf, withoutPin } from "./addresses.ts";

// Frames share the tab's storage: one that was reloaded says nothing about the page around it.
const GUARD_KEY = `signalbox:reloaded-from${window === window.top ? "" : location.pathname}`;

export type ReloadState = "idle" | "reload-pending" | "reload-vetoed" | "reloading" | "stale";

export interface Reloads {
  readonly state: ReloadState;
  /** Reloads once and politely, unless the page came from such a reload already. */
  outdated: (reason: ReloadReason) => void;
  /** This page's deployment has served it for a while: it has left any reload loop. */
  forget: () => void;
  onReload: (callback: ReloadCallback) => () => void;
  reload: () => void;
}

/** `gaveUp`: reloading didn't help. */
export function reloads(deploymentId: string | null, jitterMs: number, gaveUp: () => void): Reloads {
  const callbacks = new Set<ReloadCallback>();
  let reloadState: ReloadState = "idle";

  function outdated(reason: ReloadReason): void {
    if (reloadState !== "idle") return;
    if (wasReloadedFromHere()) {
      reloadState = "stale";
      gaveUp();
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

  return {
    get state() {
      return reloadState;
    },
    outdated,
    forget: forgetReloads,
    onReload(callback) {
      callbacks.add(callback);
      return () => void callbacks.delete(callback);
    },
    reload,
  };
}
