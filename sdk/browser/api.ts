/** Why a page should reload: the server said so, or a request, the control socket or an EventSource found it out. */
export type ReloadReason = "notice" | "stale-response" | "stale-socket" | "stale-event-source";

export interface ReloadNotice {
  reason: ReloadReason;
  /** The deployment that this page came from. */
  deploymentId: string | null;
}

/**
 * Asked before the page reloads. `false` is a veto: the app calls `signalbox.reload()` itself when it is ready. A
 * promise is awaited for as long as it takes, and may resolve to `false`. A callback that throws doesn't veto.
 */
// oxlint-disable-next-line typescript/no-invalid-void-type -- most callbacks return nothing
export type ReloadCallback = (notice: ReloadNotice) => boolean | void | Promise<boolean | void>;

/**
 * - `connecting`, `connected`, `waiting`: the control socket; waiting is between two attempts.
 * - `suspended`: the page is hidden for good or in the back/forward cache.
 * - `reload-pending`: callbacks are being asked, or the jitter runs.
 * - `reload-vetoed`: the app has to call `reload()`.
 * - `reloading`: the navigation has begun.
 * - `stale`: the deployment is stale, and reloading didn't help: the helper has given up until `reload()`.
 */
export type SignalboxState =
  | "connecting"
  | "connected"
  | "waiting"
  | "suspended"
  | "reload-pending"
  | "reload-vetoed"
  | "reloading"
  | "stale";

/**
 * `window.signalbox`. The script's tag configures it: `src="/_pulse/client.js?pulse_deployment=ID"` and, optionally,
 * `data-reload-jitter-ms` (default 2000), the longest random delay before a visible page reloads.
 *
 * A cancelable `signalbox:reload` event is dispatched on the document too (`detail` is the {@link ReloadNotice});
 * `preventDefault()` vetoes.
 */
export interface SignalboxClient {
  /** Null when the tag carries no pin: nothing is pinned then. */
  readonly deploymentId: string | null;
  readonly state: SignalboxState;
  /** Returns a function that takes the callback away again. */
  onReload(callback: ReloadCallback): () => void;
  /** Reloads now, to the current address without its pin. Asks nobody. */
  reload(): void;
}

declare global {
  interface Window {
    readonly signalbox?: SignalboxClient;
  }
}
