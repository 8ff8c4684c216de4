import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { CONTROL_TOKEN, startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let backend: Backend;
let browser: Browser;

beforeAll(async () => {
  [stack, browser, backend] = await Promise.all([startTestStack(), launchChromium(), startBackend("v1")]);
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
  await stack.api("POST", "/apps/shop/deployments", { id: "v1", target: { kind: "url", url: backend.url } });
  await stack.control.until("shop", "v1", ["active"], 60_000);
});

afterAll(async () => {
  await browser.close();
  await stack.stop();
  await backend.close();
});

async function logIn(page: Page, token: string): Promise<void> {
  await page.goto(`${stack.origin}/_signalbox/`);
  await page.getByLabel("Control token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

test("shows nothing before the login, and says when the token is wrong", async () => {
  const page = await browser.newPage();
  await logIn(page, "not-the-token-at-all");
  expect(await page.getByRole("alert").textContent()).toBe("That isn't the control token.");
  expect(await page.content()).not.toContain("shop.test");
});

test("shows apps, their deployments and the janitor's health after the login, and ends with the logout", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await logIn(page, CONTROL_TOKEN);
  await page.getByRole("heading", { name: "shop" }).waitFor();
  expect(await page.locator(".state.active").textContent()).toBe("active");
  expect(await page.getByText("The janitor has not run yet.").isVisible()).toBe(true);
  await stack.workerd.runCron();
  await page.reload();
  expect(await page.locator("header p").innerText()).toMatch(/^Janitor: \d+ s ago/);
  expect(complaints).toEqual([]);

  const [cookie] = await context.cookies();
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", path: "/_signalbox" });
  await page.getByRole("link", { name: "Log out" }).click();
  await page.getByLabel("Control token").waitFor();
  expect(await context.cookies()).toEqual([]);
});

test("lets no other origin log a browser in, no script run and no page frame it", async () => {
  for (const origin of ["https://evil.example", "not a url"]) {
    const login = await fetch(`${stack.origin}/_signalbox/login`, {
      method: "POST",
      headers: { origin, "content-type": "application/x-www-form-urlencoded" },
      body: `token=${CONTROL_TOKEN}`,
      redirect: "manual",
    });
    expect(login.status).toBe(401);
  }
  const page = await fetch(`${stack.origin}/_signalbox/`);
  const policy = page.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain("script-src");
});

test("takes a forged or expired cookie for no login", async () => {
  const past = Math.floor(Date.now() / 1_000) - 10;
  for (const value of [`9999999999.${"0".repeat(64)}`, `${past}.${"a".repeat(64)}`, "x", ""]) {
    const page = await fetch(`${stack.origin}/_signalbox/`, {
      headers: { cookie: `signalbox-session=${value}` },
    });
    expect(await page.text()).not.toContain("shop.test");
  }
});

test("names the app's page in an error for people, and the code in both", async () => {
  const page = await browser.newPage();
  const response = await page.goto(`http://nobody.localhost:${stack.port}/`);
  expect(response?.status()).toBe(404);
  expect(await page.getByRole("heading").textContent()).toBe("Unknown host");
  expect(await page.content()).toContain("404 unknown_host");
});
