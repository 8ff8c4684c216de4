import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Browser, Page } from "playwright-core";
import { launchChromium, showsVersion } from "../helpers/sdk-browser.ts";
import { TestRouter } from "../helpers/sdk-router.ts";

let browser: Browser;
let router: TestRouter;
const children: ChildProcess[] = [];

async function startCounter(id: string): Promise<string> {
  const child = spawn("node", ["examples/live-counter/server.ts"], {
    env: {
      ...process.env,
      PORT: "0",
      PULSE_DEPLOYMENT_ID: id,
      PULSE_RAILWAY_INTERNAL_TOKEN: "t",
      SIGNALBOX_PARENT_PIPE: "1",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    const origin = / listening on (\S+)$/.exec(line)?.[1];
    if (origin !== undefined) return origin;
  }
  throw new Error(`live-counter ${id} ended before it listened`);
}

beforeAll(async () => {
  router = await new TestRouter("v1").listen();
  for (const id of ["v1", "v2"]) router.backends.set(id, await startCounter(id));
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await router.close();
  for (const child of children) {
    child.stdin?.end();
    if (child.exitCode === null) await once(child, "exit");
  }
});

const count = async (page: Page) => Number(await page.locator("#count").textContent());
const countsPast = (page: Page, value: number) =>
  page.waitForFunction(`Number(document.querySelector("#count").textContent) > ${value}`);

test("a page goes on counting on its version after a promote and a dropped connection", async () => {
  router.active = "v1";
  const page = await browser.newPage();
  await page.goto(router.origin);
  await showsVersion(page, "v1");
  await countsPast(page, 5);
  router.active = "v2";
  const before = await count(page);
  router.dropSockets();
  await page.locator("#status", { hasText: "reconnecting" }).waitFor();
  await page.locator("#status", { hasText: "live" }).waitFor();
  await countsPast(page, before);
  await showsVersion(page, "v1");
  // The server sends the count that it kept; a forgotten session would start at 0 and take seconds to get here.
  expect(await count(page)).toBeLessThan(before + 20);
  await page.close();
});

test("a reload waits while somebody types, says so, and keeps the notes", async () => {
  router.active = "v1";
  const page = await browser.newPage();
  await page.goto(router.origin);
  await countsPast(page, 0);
  router.active = "v2";
  await page.locator("#notes").pressSequentially("Half a thou");
  const response = await fetch(`${router.backends.get("v1")}/_pulse/internal/railway/reload`, {
    method: "POST",
    headers: { "x-pulse-railway-internal-token": "t" },
  });
  expect(response.status).toBe(200);
  await page.locator("#update").waitFor();
  await page.locator("#notes").pressSequentially("ght");
  await showsVersion(page, "v1");
  await showsVersion(page, "v2");
  expect(await page.locator("#notes").inputValue()).toBe("Half a thought");
  await page.close();
});

test("the page of a deployment that is gone moves to the new one by itself", async () => {
  router.active = "v1";
  const page = await browser.newPage();
  await page.goto(router.origin);
  await countsPast(page, 0);
  const origin = router.backends.get("v1") ?? "";
  router.active = "v2";
  router.backends.delete("v1");
  router.dropSockets();
  await showsVersion(page, "v2");
  await countsPast(page, 0);
  router.backends.set("v1", origin);
  await page.close();
});
