import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { expect } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { CONTROL_TOKEN, type TestStack } from "./stack.ts";

/** A browser's context whose pages are watched: what a dashboard must never do is a complaint. */
export interface Watched {
  context: BrowserContext;
  page: Page;
  /** Errors of scripts and of the policy, and requests to elsewhere. */
  complaints: string[];
}

export async function openDashboard(
  browser: Browser,
  stack: TestStack,
  options: Parameters<Browser["newContext"]>[0] = {},
  /** Where its pages may send requests, beside their own origin. */
  elsewhere = /^data:/,
): Promise<Watched> {
  const context = await browser.newContext(options);
  const complaints: string[] = [];
  const origin = new URL(stack.dashboard).origin;
  context.on("page", (page) => {
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      // A refused call is written there by the browser itself.
      const isRefusal = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isRefusal) complaints.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !elsewhere.test(url)) complaints.push(`a request to ${url}`);
    });
    page.on("dialog", (dialog) => {
      complaints.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
  });
  return { context, page: await context.newPage(), complaints };
}

export async function signIn(page: Page, stack: TestStack, path = ""): Promise<void> {
  await page.goto(stack.dashboard + path);
  await page.getByLabel("Control token").fill(CONTROL_TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** Presses Tab until something has the focus, as somebody without a mouse does. */
export async function tabTo(page: Page, target: Locator, key = "Tab"): Promise<void> {
  await target.waitFor();
  for (let presses = 0; presses < 80; presses++) {
    if (await target.evaluate((element) => element === element.ownerDocument.activeElement)) return;
    await page.keyboard.press(key);
  }
  throw new Error(`Tab never reaches ${String(target)}.`);
}

/** Focuses a button by Tab and presses it. */
export async function press(page: Page, name: string | RegExp, within: Locator | Page = page): Promise<void> {
  const button = within.getByRole("button", { name, exact: typeof name === "string" }).first();
  await tabTo(page, button);
  await page.keyboard.press("Enter");
}

/** Presses a button, reads what it will do, and says yes. Returns the sentence. */
export async function confirm(page: Page, name: string, within: Locator | Page = page): Promise<string> {
  await press(page, name, within);
  const dialog = page.getByRole("dialog");
  const says = (await dialog.locator("p").first().textContent()) ?? "";
  await press(page, name, dialog);
  await dialog.waitFor({ state: "detached" });
  return says;
}

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Fails with what axe-core thinks serious. The page's policy lets no script in, so it comes through the debugger. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(await readFile(axe, "utf8"));
  const violations = (await page.evaluate(
    `axe.run(document, { resultTypes: ["violations"], iframes: false }).then(({ violations }) => violations
       .filter(({ impact }) => impact === "serious" || impact === "critical")
       .map(({ id, nodes }) => id + ": " + nodes.map(({ target }) => target.join(" ")).join(", ")))`,
  )) as string[];
  expect(violations).toEqual([]);
}

/** Kept for the documentation where they are asked for: `SIGNALBOX_SCREENSHOTS=1`. */
export async function screenshot(page: Page, name: string): Promise<void> {
  if (process.env["SIGNALBOX_SCREENSHOTS"] !== "1") return;
  const directory = join(projectRoot, "docs/images");
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${name}.png`), await page.screenshot({ animations: "disabled" }));
}
