import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { expect } from "vitest";
import type { Browser, Locator, Page } from "playwright-core";
import { projectRoot } from "../../scripts/build/worker.ts";
import { CONTROL_TOKEN, type TestStack } from "./stack.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Somebody who is signed in to the dashboard, in a browser of their own. */
export interface DashboardPage {
  page: Page;
  /** What the page did that it may not: errors, violations of its policy, requests to other origins than `mayAsk`. */
  faults: string[];
}

export async function openDashboard(
  browser: Browser,
  stack: TestStack,
  { mayAsk = /^$/, ...options }: { mayAsk?: RegExp } & Parameters<Browser["newContext"]>[0] = {},
): Promise<DashboardPage> {
  const context = await browser.newContext({ viewport: { width: 1_280, height: 850 }, ...options });
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (/content security policy/i.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    const isOwn = origin === new URL(stack.dashboard).origin || protocol === "data:" || protocol === "blob:";
    if (!isOwn && !mayAsk.test(request.url())) faults.push(`request: ${request.url()}`);
  });
  await page.goto(stack.dashboard);
  await page.getByLabel("Control token").fill(CONTROL_TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "Projects" }).waitFor();
  return { page, faults };
}

/** Tabs to what is wanted, as somebody without a mouse does. */
export async function tabTo(page: Page, wanted: Locator, backwards = false): Promise<void> {
  await wanted.waitFor();
  for (let tabs = 0; tabs < 80; tabs++) {
    if (await wanted.evaluate((element) => element.ownerDocument.activeElement === element)) return;
    await page.keyboard.press(backwards ? "Shift+Tab" : "Tab");
  }
  throw new Error("80 tabs don't lead there.");
}

export async function pressOn(page: Page, wanted: Locator, key = "Enter"): Promise<void> {
  await tabTo(page, wanted);
  await page.keyboard.press(key);
}

/** Serious findings of axe-core in the page itself. */
export async function seriousFindings(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(options: object): Promise<{ violations: AxeViolation[] }> };
    };
    const { violations } = await axe.run({ iframes: false });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(" | ")}`);
  });
}

interface AxeViolation {
  id: string;
  impact: string;
  nodes: { html: string }[];
}

/** Written with SIGNALBOX_SCREENSHOTS=1, for docs and for people who look at them. */
export async function screenshot(page: Page, name: string): Promise<void> {
  if (process.env["SIGNALBOX_SCREENSHOTS"] !== "1") return;
  await page.screenshot({ path: join(projectRoot, "docs/images", `${name}.png`) });
}

/** The page is as wide as its window: nothing of it leads aside. */
export async function fitsItsWindow(page: Page): Promise<void> {
  expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
}
