import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { openDashboard, signIn } from "../helpers/dashboard.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { OPERATOR_NAME, startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** A hub keeps 20,000 events of a build. */
const CALLS = 19_000;
const LINES = 100_000;
const HEAP_LIMIT_MB = 120;
const NODES_LIMIT = 4_000;
/** Of one task, by the clock, beside everything else that a loaded machine with two cores does. */
const FRAME_LIMIT_MS = 600;

/** Takes a minute of two cores, so it runs when asked for. */
const scale = test.skipIf(process.env["SIGNALBOX_SOAK"] !== "1");

let stack: TestStack;
let runner: RunnerProcess;
let browser: Browser;

beforeAll(async () => {
  if (process.env["SIGNALBOX_SOAK"] !== "1") return;
  [stack, browser] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
  ]);
  const agent = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
  runner = await startRunner(stack, {
    id: "writer",
    env: { RUNNER_AGENT: agent, RUNNER_GUEST_LOG: "67108864" },
  });
});
afterAll(async () => {
  await browser?.close();
  await runner?.remove();
  await stack?.stop();
});

/** What the page's longest frame took, its heap and how much is in it. */
async function expectSmooth(page: Page, what: string, work: () => Promise<void>): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await page.evaluate(`{
    globalThis.longest = 0;
    globalThis.tasks = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
    });
    tasks.observe({ entryTypes: ["longtask"] });
  }`);
  await work();
  const longestMs = Number(await page.evaluate("tasks.disconnect(), longest"));
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  const value = (name: string): number => metrics.find((one) => one.name === name)?.value ?? 0;
  const heapMB = value("JSHeapUsedSize") / 1e6;
  const nodes = Number(await page.evaluate(`document.querySelectorAll("*").length`));
  console.log(
    `${what}: longest task ${longestMs.toFixed(0)} ms, ${heapMB.toFixed(1)} MB of heap, ${nodes} elements`,
  );
  expect(longestMs).toBeLessThan(FRAME_LIMIT_MS);
  expect(heapMB).toBeLessThan(HEAP_LIMIT_MB);
  expect(nodes).toBeLessThan(NODES_LIMIT);
  await session.detach();
}

async function scroll(page: Page, by: number): Promise<void> {
  for (let step = 0; step < 40; step++) {
    await page.mouse.wheel(0, by);
    await page.evaluate("new Promise(requestAnimationFrame)");
  }
}

scale("a build of 19,000 calls is smooth to watch, to type beside and to read again", async () => {
  await stack.api("POST", "/projects", { slug: "long", name: "long", prompt: `many ${CALLS}` });
  const first = await openDashboard(browser, stack, {}, /^data:|\.preview\.localhost:/);
  await signIn(first.page, stack, "projects/long");
  await expectSmooth(first.page, "watching it and typing", async () => {
    await first.page
      .getByText(/Call \d{3}/)
      .first()
      .waitFor();
    await first.page.getByLabel("What should change?").pressSequentially("typed while the agent works");
    await first.page.getByText("The build is done.").waitFor({ timeout: 110_000 });
    await first.page.getByText(`Call ${CALLS}`).waitFor();
  });
  const again = await openDashboard(browser, stack, {}, /^data:|\.preview\.localhost:/);
  await signIn(again.page, stack, "projects");
  await expectSmooth(again.page, "reading it again", async () => {
    await again.page.getByRole("link", { name: "long" }).click();
    await again.page.getByText(`Call ${CALLS}`).hover({ timeout: 110_000 });
    await scroll(again.page, -400);
    await again.page.getByRole("button", { name: /^Show earlier \(/ }).click();
  });
  expect([...first.complaints, ...again.complaints]).toEqual([]);
  await Promise.all([first.context.close(), again.context.close()]);
});

scale("a log of 100,000 lines is smooth to follow, to scroll and to filter", async () => {
  await stack.api("POST", "/projects", { slug: "wordy" });
  const server = `for (let n = 1; n <= ${LINES}; n++) console.log("line " + n);
require("node:http").createServer((_, answer) => answer.end("up")).listen(process.env.PORT, "127.0.0.1");`;
  await stack.api("PUT", "/projects/wordy/files/server.js", { content: server });
  await stack.api("PUT", "/projects/wordy/files/package.json", {
    content: JSON.stringify({ scripts: { dev: "node server.js" } }),
  });
  const { page, context, complaints } = await openDashboard(
    browser,
    stack,
    {},
    /^data:|\.preview\.localhost:/,
  );
  await signIn(page, stack, "projects/wordy/logs");
  await expectSmooth(page, "a log of 100,000 lines", async () => {
    await stack.api("POST", "/projects/wordy/dev-server");
    await page.getByText(`line ${LINES}`).waitFor({ timeout: 110_000 });
    await page.getByRole("log").hover();
    await scroll(page, -40_000);
    await page.getByLabel("Lines with").fill("line 77777");
    await until(
      () => page.getByText("line 77777").count(),
      (count) => count > 0,
    );
  });
  expect(complaints).toEqual([]);
  await context.close();
});
