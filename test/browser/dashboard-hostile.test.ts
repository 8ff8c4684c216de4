import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { archiveOf } from "../helpers/archive.ts";
import { openDashboard, signIn } from "../helpers/dashboard.ts";
import { putApp } from "../helpers/deploy.ts";
import { uploadSource } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { OPERATOR_NAME, startTestStack, type TestStack } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

/** What would run, load or cover something if a page took it for anything but text. */
const HOSTILE = `<img src=x onerror="window.taken=1"><script>window.taken=1</script>"'><svg onload=window.taken=1>javascript:window.taken=1`;
const ESCAPES = "\u001b]0;taken\u0007\u001b[2J\u001b[31m\u202e";

let stack: TestStack;
let browser: Browser;
let runner: RunnerProcess;
let liar: TunnelClient;

beforeAll(async () => {
  [stack, browser] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
  ]);
  await putApp(stack, "shop", { contract: "none" });
  await stack.api("POST", "/apps/shop/pause", { mode: "refuse", message: `${HOSTILE} said the pause` });
  runner = await startRunner(stack, { id: "cellar" });
  liar = await connectRunner(stack, "liar");
  liar.event({
    type: "runner-status",
    payload: {
      load: HOSTILE,
      version: `${HOSTILE} said the version`,
      hostname: `${HOSTILE} said the host`,
      labels: { [HOSTILE.slice(0, 40)]: HOSTILE.slice(0, 60) },
      disk: { error: `${HOSTILE} said the disk`, freeBytes: HOSTILE },
      confinement: {
        level: "none",
        network: "shared",
        allowed: null,
        why: `${HOSTILE} said the confinement`,
      },
      deployments: HOSTILE,
    },
  });
  const text = JSON.stringify(`${ESCAPES}${HOSTILE} said the log`);
  const source = await archiveOf({
    "app.cjs": `console.log(${text}); console.error(${text}); if (process.env.ENDS) process.exit(1); require("http").createServer((q, s) => s.end()).listen(process.env.PORT);`,
  });
  const sha256 = await uploadSource(stack, "cellar", source);
  const target = {
    kind: "runner",
    runnerId: "cellar",
    source: { sha256 },
    install: "true",
    build: `node -e 'console.log(${text.replaceAll("'", "'\\''")})'`,
    start: `"${process.execPath}" app.cjs # ${HOSTILE}`,
    env: { TAKEN: HOSTILE },
  };
  await stack.api("POST", "/apps/shop/deployments", { id: "v1", target });
  const ends = { ...target, env: { ENDS: "1" } };
  await stack.api("POST", "/apps/shop/deployments", { id: "v2", target: ends });
  await stack.control.until("shop", "v1", ["active"], 60_000);
  await stack.control.until("shop", "v2", ["failed"], 60_000);
});

afterAll(async () => {
  await browser.close();
  liar.socket.terminate();
  await runner.remove();
  await stack.stop();
});

async function expectTextOnly(page: Page): Promise<void> {
  expect(await page.evaluate("window.taken")).toBeUndefined();
  expect(
    await page
      .locator("#dashboard img, #dashboard svg, #dashboard script, #dashboard a[href^=javascript]")
      .count(),
  ).toBe(0);
}

test.each([
  ["a pause", "apps/shop", "said the pause"],
  ["a failure", "apps/shop/deployments/v2", "said the log"],
  ["an audit entry", "apps/shop/audit", "said the pause"],
  ["a runner's status", "runners/liar", "said the version"],
  ["a runner in the list", "runners", "liar"],
])("%s from somebody hostile is text", async (_name, path, words) => {
  const { context, page, complaints } = await openDashboard(browser, stack);
  await signIn(page, stack, path);
  await page.getByText(words).first().waitFor();
  await expectTextOnly(page);
  expect(complaints).toEqual([]);
  await context.close();
});

test("lines of a log are text, without the terminal's orders in them", async () => {
  const { context, page, complaints } = await openDashboard(browser, stack);
  await signIn(page, stack, "apps/shop/deployments/v1");
  await page.getByRole("tab", { name: "Log" }).click();
  await page.getByRole("log").getByText("said the log").first().waitFor();
  const log = (await page.getByRole("log").textContent()) ?? "";
  expect(log).toContain("<script>window.taken=1</script>");
  expect(log).not.toMatch(/[\u0000-\u0008\u001b\u202e]/);
  await expectTextOnly(page);
  await page.getByRole("tab", { name: "Facts" }).click();
  await page.getByText("app.cjs # <img").waitFor();
  await expectTextOnly(page);
  expect(complaints).toEqual([]);
  await context.close();
});
