/** For code that runs in the page. Nothing here loads the helper: the page's script tag does. */
import type { SignalboxClient } from "./api.ts";

export type { ReloadCallback, ReloadNotice, ReloadReason, SignalboxClient, SignalboxState } from "./api.ts";

/**
 * `window.signalbox`, or undefined where the page came without the helper: from a development server, or on the server
 * itself.
 *
 * @example
 * signalbox?.onReload(() => saveDraft());
 */
export const signalbox: SignalboxClient | undefined = (globalThis as { signalbox?: SignalboxClient })
  .signalbox;
