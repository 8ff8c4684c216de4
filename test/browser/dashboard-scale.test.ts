import type { Browser, CDPSession, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { appConfig, newAppDocument, type Deployment } from "../../functions/apps/app-document.ts";
import { commitDocument } from "../../functions/apps/commit.ts";
import { newRunner, writeRunner } from "../../functions/runners/registry.ts";
import { archiveOf } from "../helpers/archive.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { openDashboard, signIn } from "../helpers/dashboard.ts";
import { uploadSource } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { OPERATOR_NAME } from "../helpers/stack.ts";

const APPS = 10;
const DEPLOYMENTS = 50;
const RUNNERS = 1_000;
const LINES = 100_000;
/** A frame at 60 Hz is 16.7 ms; a step of somebody's takes many. On a loaded machine with two cores. */
const SCRIPT_LIMIT_MS = 1_500;
const HEAP_LIMIT_MB = 120;

/** Takes a minute of two cores, so it runs when asked for. */
const scale = test.skipIf(process.env["SIGNALBOX_SOAK"] !== "1");

let world: UpstashStack;
let browser: Browser;
let runner: RunnerProcess;

beforeAll(async () => {
  if (process.env["SIGNALBOX_SOAK"] !== "1") return;
  [world, browser] = await Promise.all([onUpstash({ OPERATOR_HOST: OPERATOR_NAME }), launchChromium()]);
  const now = Date.now();
  for (let app = 0; app < APPS; app++) {
    const document = newAppDocument(`app-${app}`, appConfig.parse({}), now);
    for (let n = 1; n <= DEPLOYMENTS; n++) document.deployments[`v${n}`] = deployment(n, now);
    document.active = `v${DEPLOYMENTS}`;
    document.nextSequence = DEPLOYMENTS + 1;
    const author = { actor: "test", action: "test" };
    await commitDocument(world.store, document, 0, { author, details: {}, isDefault: false });
  }
  for (let n = 0; n < RUNNERS; n++) await writeRunner(world.store, newRunner(runnerId(n), now), 1);
  runner = await startRunner(world.stack, { id: "writer", env: { RUNNER_GUEST_LOG: "67108864" } });
});

afterAll(async () => {
  await browser?.close();
  await runner?.remove();
  await world?.stop();
});

const runnerId = (n: number): string => `runner-${String(n).padStart(4, "0")}`;

function deployment(n: number, now: number): Deployment {
  const isActive = n === DEPLOYMENTS;
  return {
    id: `v${n}`,
    name: "prod",
    sequence: n,
    state: isActive ? "active" : "draining",
    stateSince: now,
    createdAt: now,
    target: { kind: "url", url: "http://127.0.0.1:9" },
    promoteWhenReady: false,
    contract: "none",
    url: "http://127.0.0.1:9",
    resources: {},
    deadline: null,
    drainDeadline: isActive ? null : now + 86_400_000,
    retirement: null,
    redeploy: null,
    failure: null,
    cleanedUp: false,
  };
}

interface Cost {
  scriptMs: number;
  layoutMs: number;
  heapMB: number;
}

async function readCost(session: CDPSession): Promise<Cost> {
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  const value = (name: string): number => metrics.find((one) => one.name === name)?.value ?? 0;
  return {
    scriptMs: value("ScriptDuration") * 1_000,
    layoutMs: (value("LayoutDuration") + value("RecalcStyleDuration")) * 1_000,
    heapMB: value("JSHeapUsedSize") / 1e6,
  };
}

async function measured(page: Page, what: string, work: () => Promise<void>): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const before = await readCost(session);
  await work();
  const after = await readCost(session);
  const scriptMs = after.scriptMs - before.scriptMs;
  console.log(
    `${what}: ${scriptMs.toFixed(0)} ms of script, ${(after.layoutMs - before.layoutMs).toFixed(0)} ms of style and layout, ${after.heapMB.toFixed(1)} MB of heap`,
  );
  expect(scriptMs).toBeLessThan(SCRIPT_LIMIT_MS);
  expect(after.heapMB).toBeLessThan(HEAP_LIMIT_MB);
  await session.detach();
}

async function scroll(page: Page): Promise<void> {
  for (let step = 0; step < 40; step++) {
    await page.mouse.wheel(0, 400);
    await page.evaluate("new Promise(requestAnimationFrame)");
  }
}

scale("500 deployments of 10 apps are smooth to look at while they change", async () => {
  const { page, context } = await openDashboard(browser, world.stack);
  await signIn(page, world.stack, "tokens");
  await measured(page, "the list of 10 apps with 500 deployments", async () => {
    await page.getByRole("link", { name: "Apps" }).click();
    await page.getByRole("heading", { name: "app-9" }).waitFor();
    await scroll(page);
  });
  await measured(page, "an app with 50 deployments, scrolled, with 20 changes", async () => {
    await page.getByRole("link", { name: "app-1", exact: true }).click();
    await page.getByRole("link", { name: "v1", exact: true }).waitFor();
    for (let n = 1; n <= 20; n++) await world.stack.api("PUT", "/apps/app-1", { drainTtlSeconds: 1_000 + n });
    await scroll(page);
  });
  await context.close();
});

scale("1,000 runners are smooth to look at, to search and while they change", async () => {
  const { page, context } = await openDashboard(browser, world.stack);
  await signIn(page, world.stack, "tokens");
  await measured(page, "the list of 1,000 runners, scrolled", async () => {
    await page.getByRole("link", { name: "Runners" }).click();
    await page.getByText("1000 offline").waitFor();
    await scroll(page);
  });
  await measured(page, "a search among them, and 100 changes", async () => {
    await page.getByLabel("Find a runner").pressSequentially("runner-099");
    await page.getByRole("link", { name: "runner-0999" }).waitFor();
    for (let n = 0; n < 100; n++) await writeRunner(world.store, newRunner(runnerId(n), Date.now()), 2);
    await world.stack.api("POST", "/runners/writer/drain", {});
    await page.getByLabel("Find a runner").fill("writer");
    await page.getByText("an operator asked for it").waitFor();
  });
  await context.close();
});

scale("a log of 100,000 lines is smooth to read", async () => {
  const { page, context } = await openDashboard(browser, world.stack);
  const program = `let n = 0; (function more() { for (let k = 0; k < 1000 && n < ${LINES}; k++) console.log("line " + ++n + " ".padEnd(60, "x")); if (n < ${LINES}) setTimeout(more, 5); })(); require("http").createServer((q, s) => s.end("ok")).listen(process.env.PORT);`;
  const sha256 = await uploadSource(world.stack, "writer", await archiveOf({ "app.cjs": program }));
  const target = {
    kind: "runner",
    runnerId: "writer",
    source: { sha256 },
    install: "true",
    start: `"${process.execPath}" app.cjs`,
  };
  await world.stack.api("PUT", "/apps/writing", { contract: "none" });
  await world.stack.api("POST", "/runners/writer/drain", { draining: false });
  await world.stack.api("POST", "/apps/writing/deployments", { id: "v1", target });
  await world.stack.control.until("writing", "v1", ["active"], 120_000);
  await signIn(page, world.stack);
  await page.goto(`${world.stack.dashboard}apps/writing/deployments/v1`);
  await measured(page, `a log of ${LINES} lines as it comes, scrolled`, async () => {
    await page.getByRole("tab", { name: "Log" }).click();
    await page.getByText(`line ${LINES} `).waitFor({ timeout: 120_000 });
    const tall = await page.getByRole("log").evaluate((box) => box.scrollHeight);
    expect(tall).toBeGreaterThanOrEqual(LINES * 20);
    await page.getByRole("log").hover();
    for (let step = 0; step < 40; step++) {
      await page.mouse.wheel(0, -2_000);
      await page.evaluate("new Promise(requestAnimationFrame)");
    }
  });
  expect(await page.getByRole("log").locator("div.stdout").count()).toBeLessThan(200);
  await context.close();
});
