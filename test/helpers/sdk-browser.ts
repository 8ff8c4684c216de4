import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";

/**
 * The same browser without windows: a page costs a fifth of the processor time. It keeps no page in a back/forward cache,
 * and a page that is closed may be gone before its socket's close is sent.
 */
const HEADLESS_SHELL = "/usr/bin/chromium-headless-shell";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** `backForwardCache`: Chromium as people have it. */
export function launchChromium(
  options: { backForwardCache?: boolean; args?: string[] } = {},
): Promise<Browser> {
  const isWhole = options.backForwardCache === true || !existsSync(HEADLESS_SHELL);
  return chromium.launch({
    executablePath: isWhole ? "/usr/bin/chromium" : HEADLESS_SHELL,
    args: [...ARGUMENTS, ...(options.args ?? [])],
    ...(options.backForwardCache === true && { ignoreDefaultArgs: ["--disable-back-forward-cache"] }),
  });
}

/** Waits until the page was rendered by this deployment. */
export async function showsVersion(page: Page, id: string): Promise<void> {
  await page.locator("#version", { hasText: new RegExp(`^${id}$`) }).waitFor();
}

export async function reaches(page: Page, state: string): Promise<void> {
  await page.waitForFunction(`window.signalbox?.state === ${JSON.stringify(state)}`);
}
