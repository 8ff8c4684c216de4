import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { openDashboard, signIn } from "../helpers/dashboard.ts";
import { putApp } from "../helpers/deploy.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { startRunner } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { OPERATOR_NAME } from "../helpers/stack.ts";

let world: UpstashStack;
let browser: Browser;

beforeAll(async () => {
  [world, browser] = await Promise.all([onUpstash({ OPERATOR_HOST: OPERATOR_NAME }), launchChromium()]);
  await putApp(world.stack, "shop", { hosts: ["shop.test"] });
});

afterAll(async () => {
  await browser.close();
  await world.stop();
});

test("the Worker goes away and comes back: the page says so, keeps what was typed, and shows what happened since", async () => {
  const { stack } = world;
  const { context, page, complaints } = await openDashboard(browser, stack);
  await signIn(page, stack, "apps/shop/configuration");
  await page.getByLabel("Longest drain").fill("1234");
  await stack.kill();
  await page.getByText(/^You are disconnected: Signalbox hasn't answered/).waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("Signalbox can't be reached.").waitFor();
  await page.keyboard.press("Escape");
  expect(await page.getByLabel("Longest drain").inputValue()).toBe("1234");

  await stack.restart();
  await page.getByText(/^You are disconnected/).waitFor({ state: "detached" });
  await putApp(stack, "shop", { hosts: ["shop.test", "second.test"] });
  await page.getByRole("link", { name: /second\.test/ }).waitFor();
  expect(await page.getByLabel("Longest drain").inputValue()).toBe("1234");
  await page.reload();
  await page.getByRole("link", { name: /second\.test/ }).waitFor();
  expect(await page.getByLabel("Longest drain").inputValue()).toBe("1234");
  expect(complaints).toEqual([]);
  await context.close();
});

test("the store goes away and comes back: the page says that it is the store, and heals", async () => {
  const { stack, front } = world;
  const { context, page, complaints } = await openDashboard(browser, stack);
  await signIn(page, stack);
  await page.getByRole("heading", { name: "shop" }).waitFor();
  await front.setMode("refuse");
  await page.getByRole("link", { name: "shop", exact: true }).click();
  await page.getByText(/^State store: /).waitFor();
  expect(await page.getByText(/^You are disconnected/).count()).toBe(0);
  await front.setMode("ok");
  await page.getByRole("tab", { name: "Deployments" }).waitFor();
  await page.getByText(/^State store: /).waitFor({ state: "detached" });
  expect(complaints).toEqual([]);
  await context.close();
});

test("a runner goes away and comes back: it is the runner, and not the reader", async () => {
  const { stack } = world;
  const runner = await startRunner(stack, { id: "cellar" });
  await putApp(stack, "hosted", { contract: "none" });
  await deployTunnelApp(stack, runner, "hosted", "v1");
  const { context, page } = await openDashboard(browser, stack);
  await signIn(page, stack, "runners/cellar");
  await page.getByText("Last heard of").waitFor();
  await runner.kill();
  await page.getByText("This runner is away.").waitFor();
  expect(await page.getByText(/^You are disconnected/).count()).toBe(0);
  await runner.start();
  await page.getByText("This runner is away.").waitFor({ state: "detached" });

  await page.getByRole("link", { name: "hosted v1" }).click();
  await page.getByRole("link", { name: "← hosted" }).click();
  await page.getByText("100 % of new visitors").waitFor();
  await runner.kill();
  await page.getByText("Nobody reaches it: its runner cellar is away").waitFor();
  await runner.start();
  await page.getByText("Nobody reaches it").waitFor({ state: "detached" });
  await context.close();
  await runner.remove();
});
