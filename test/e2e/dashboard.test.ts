import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { CONTROL_TOKEN, OPERATOR_NAME, startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let backend: Backend;
let browser: Browser;

beforeAll(async () => {
  [stack, browser, backend] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
    startBackend("v1"),
  ]);
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
  await stack.api("POST", "/apps/shop/deployments", { id: "v1", target: { kind: "url", url: backend.url } });
  await stack.control.until("shop", "v1", ["active"], 60_000);
});

afterAll(async () => {
  await browser.close();
  await stack.stop();
  await backend.close();
});

async function signIn(page: Page, token: string): Promise<void> {
  await page.goto(stack.dashboard);
  await page.getByLabel("Control token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

test("shows nothing before the sign-in, and says when the token is wrong", async () => {
  const page = await browser.newPage();
  await signIn(page, "not-the-token-at-all");
  expect(await page.getByRole("alert").textContent()).toBe("That isn't the control token.");
  expect(await page.content()).not.toContain("shop.test");
});

test("shows apps, their deployments and the janitor's health after the sign-in, and ends with the sign-out", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await signIn(page, CONTROL_TOKEN);
  await page.getByRole("heading", { name: "shop" }).waitFor();
  expect(page.url()).toBe(stack.dashboard);
  expect(await page.locator(".state.active").textContent()).toBe("active");
  expect(await page.getByText("The janitor has not run yet.").isVisible()).toBe(true);
  await stack.workerd.runCron();
  await page.getByText(/Janitor: \d+ s ago/).waitFor();
  expect(complaints).toEqual([]);

  const [cookie] = await context.cookies();
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", domain: OPERATOR_NAME, path: "/" });
  const second = await context.newPage();
  await second.goto(`http://${OPERATOR_NAME}:${stack.port}/`);
  await second.getByRole("heading", { name: "shop" }).waitFor();

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Control token").waitFor();
  expect(await context.cookies()).toEqual([]);
  await second.getByLabel("Control token").waitFor();
  expect(await second.content()).not.toContain("shop.test");
});

test("names the app's page in an error for people, and the code in both", async () => {
  const page = await browser.newPage();
  const response = await page.goto(`http://nobody.localhost:${stack.port}/`);
  expect(response?.status()).toBe(404);
  expect(await page.getByRole("heading").textContent()).toBe("Unknown host");
  expect(await page.content()).toContain("404 unknown_host");
});

test("lists every host that leads to an app, and since when a deployment is in its state", async () => {
  await stack.api("PUT", "/apps/hostless", { default: true });
  const page = await browser.newPage();
  await signIn(page, CONTROL_TOKEN);
  await page.getByRole("heading", { name: "hostless" }).waitFor();
  expect(await page.locator("h2 small").allTextContents()).toEqual([
    "hostless.localhost, default: any host that no app has",
    "shop.test, shop.localhost",
  ]);
  expect(await page.locator("th").allTextContents()).toContain("For");
  await page.close();
});
