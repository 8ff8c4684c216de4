import { PIN_HEADER } from "./pins.ts";

/**
 * Pages of two versions share the page cookie, and with it what no script asks for: images, styles, `import()`. So whichever
 * tab is turned to says that the cookie is its own. Costs nothing while all open pages are of one version.
 */
export function claimCookie(id: string, path: string, isServed: () => boolean): void {
  const nativeFetch = window.fetch;
  let channel: BroadcastChannel | null = null;
  let isMixed = false;

  function announce(): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has no target
    channel?.postMessage(id);
  }

  function listen(): void {
    channel = new BroadcastChannel("signalbox");
    channel.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
      if (data === id || isMixed) return;
      isMixed = true;
      announce();
    });
    announce();
  }

  function claim(): void {
    if (!isMixed || document.hidden || !isServed()) return;
    nativeFetch
      .call(window, path, { headers: { [PIN_HEADER]: id }, cache: "no-store" })
      .catch(() => undefined);
  }

  listen();
  window.addEventListener("focus", claim);
  document.addEventListener("visibilitychange", claim);
  // With it open a page may not be kept for the way back.
  window.addEventListener("pagehide", () => channel?.close());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) listen();
  });
}
