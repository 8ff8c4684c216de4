import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  confirm,
  expectAccessible,
  openDashboard,
  press,
  screenshot,
  signIn,
  tabTo,
  type Watched,
} from "../helpers/dashboard.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { openPage } from "../helpers/page-client.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { CONTROL_TOKEN, OPERATOR_NAME, startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let browser: Browser;
let v1: PlainApp;
let v2: PlainApp;
let runner: RunnerProcess;

beforeAll(async () => {
  [stack, browser, v1, v2] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
    startPlainApp("v1"),
    startPlainApp("v2"),
  ]);
  await putApp(stack, "shop", { hosts: ["shop.test"], contract: "edge" });
  await deployUrl(stack, "shop", "v1", v1.url);
  runner = await startRunner(stack, { id: "cellar", env: { RUNNER_LABELS: "region=eu" } });
});

afterAll(async () => {
  await browser.close();
  await runner.remove();
  await stack.stop();
  await Promise.all([v1.close(), v2.close()]);
});

async function inDashboard(work: (watched: Watched) => Promise<void>): Promise<void> {
  const watched = await openDashboard(browser, stack);
  await work(watched);
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
}

const version = (page: Page, id: string) =>
  page.getByRole("listitem").filter({ has: page.getByRole("link", { name: id, exact: true }) });

test("shows nothing before the sign-in, and says when the token is wrong", async () => {
  await inDashboard(async ({ page }) => {
    await page.goto(stack.dashboard);
    await page.getByLabel("Control token").fill("not-the-token-at-all");
    await page.getByRole("button", { name: "Sign in" }).click();
    expect(await page.getByRole("alert").textContent()).toBe("That isn't the control token.");
    expect(await page.content()).not.toContain("shop");
    await expectAccessible(page);
  });
});

test("a sign-out ends the sign-in in every tab, and leaves nothing behind", async () => {
  await inDashboard(async ({ context, page }) => {
    await signIn(page, stack);
    await page.getByRole("heading", { name: "shop" }).waitFor();
    const [cookie] = await context.cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", domain: OPERATOR_NAME, path: "/" });
    const second = await context.newPage();
    await second.goto(`http://${OPERATOR_NAME}:${stack.port}/`);
    await second.getByRole("heading", { name: "shop" }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Control token").waitFor();
    expect(await context.cookies()).toEqual([]);
    await second.getByLabel("Control token").waitFor();
    expect(await second.content()).not.toContain("shop");
  });
});

test("a sign-in that ends elsewhere brings the form back, and then the view that was open", async () => {
  await inDashboard(async ({ context, page }) => {
    await signIn(page, stack);
    await page.goto(`${stack.dashboard}apps/shop/configuration`);
    await page.getByLabel("Longest drain").fill("4321");
    await context.clearCookies();
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
    await page.getByLabel("Control token").fill(CONTROL_TOKEN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL("**/apps/shop/configuration");
    expect(await page.getByLabel("Longest drain").inputValue()).toBe("4321");
    await page.getByRole("button", { name: "Discard" }).click();
  });
});

test("without a mouse: a version is rolled out, drained, rolled back to, tried on a few and deleted", async () => {
  await inDashboard(async ({ page }) => {
    await page.goto(stack.dashboard);
    await page.keyboard.type(CONTROL_TOKEN);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "shop" }).waitFor();
    const open = await openPage(stack, "shop.test");

    await page.keyboard.press("Control+k");
    await page.keyboard.type("shop roll out");
    await page.getByRole("option", { name: /shop: roll out a new version/ }).waitFor();
    await page.keyboard.press("Enter");
    await tabTo(page, page.getByLabel("What"));
    await page.keyboard.type("A backend");
    await tabTo(page, page.getByLabel("Address"));
    await page.keyboard.type(v2.url);
    await tabTo(page, page.getByLabel("Id of the new version"));
    await page.keyboard.type("v2");
    await press(page, "Roll out");
    await page.getByRole("heading", { name: /v2.*active/ }).waitFor();
    await page.getByRole("listitem").filter({ hasText: "promote" }).filter({ hasText: "done" }).waitFor();

    await tabTo(page, page.getByRole("link", { name: "← shop" }));
    await page.keyboard.press("Enter");
    await version(page, "v2").getByText("100 % of new visitors").waitFor();
    await version(page, "v1")
      .getByText(/^1 open page · reloads at the latest in/)
      .waitFor();
    await expectAccessible(page);
    await screenshot(page, "dashboard-drain");

    await press(page, "Roll back to v1");
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toContain("New visitors get v1 again, at once.");
    await expectAccessible(page);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    expect(await confirm(page, "Roll back to v1")).toContain("stay there while it drains");
    await version(page, "v1").getByText("100 % of new visitors").waitFor();

    await press(page, "Canary", version(page, "v2"));
    await tabTo(page, dialog.getByLabel("Share of new visitors, in percent"));
    await page.keyboard.press("Control+a");
    await page.keyboard.type("25");
    await dialog.getByText("25 % of new visitors get v2, the others v1.").waitFor();
    await press(page, "Canary", dialog);
    await version(page, "v2").getByText("25 % of new visitors").waitFor();
    await version(page, "v1").getByText("75 % of new visitors").waitFor();
    await confirm(page, "End canary", version(page, "v2"));

    await confirm(page, "Promote", version(page, "v2"));
    await version(page, "v2").getByText("100 % of new visitors").waitFor();
    expect(await confirm(page, "Set as minimum", version(page, "v2"))).toContain("cut off at once");
    await version(page, "v2").getByText("minimum", { exact: true }).waitFor();
    await confirm(page, "Lift the minimum", version(page, "v2"));

    await confirm(page, "Pause");
    await page.getByText(/Paused for .*requests wait/).waitFor();
    await confirm(page, "Resume");
    await page.getByText(/Paused for/).waitFor({ state: "detached" });

    expect(await confirm(page, "Delete", version(page, "v1"))).toContain("That can't be undone.");
    await version(page, "v1")
      .getByText(/told to reload|deleted/)
      .first()
      .waitFor();
    open.socket.close();

    await tabTo(page, page.getByRole("tab", { name: "Deployments" }));
    await page.keyboard.press("ArrowLeft");
    await page.getByRole("cell", { name: "deployment.promote" }).first().waitFor();
    await expectAccessible(page);
  });
});

test("without a mouse: an app is made, its configuration changed, and it is deleted", async () => {
  await inDashboard(async ({ page }) => {
    await signIn(page, stack);
    await press(page, "New app");
    const dialog = page.getByRole("dialog");
    await tabTo(page, dialog.getByLabel("Name"));
    await page.keyboard.type("News!");
    await press(page, "New app", dialog);
    await dialog.getByRole("alert").getByText("lower-case letters").first().waitFor();
    await tabTo(page, dialog.getByLabel("Name"));
    await page.keyboard.press("Control+a");
    await page.keyboard.type("news");
    await press(page, "New app", dialog);
    await page.getByRole("heading", { name: "news" }).waitFor();
    await page.getByText("npx signalbox deploy . --app news").waitFor();

    await page.goto(`${stack.dashboard}apps/news/configuration`);
    await tabTo(page, page.getByLabel("Hosts"));
    await page.keyboard.type("shop.test");
    await press(page, "Save");
    await press(page, "Save", dialog);
    await dialog.getByText("Host shop.test belongs to app shop").waitFor();
    await page.keyboard.press("Escape");
    await tabTo(page, page.getByLabel("Hosts"));
    await page.keyboard.press("Control+a");
    await page.keyboard.type("news.test");
    await confirm(page, "Save");
    await page.getByRole("link", { name: "http://news.test" }).waitFor();
    await expectAccessible(page);
    expect(await confirm(page, "Delete this app")).toContain("That can't be undone.");
    await page.getByRole("heading", { name: "Apps" }).waitFor();
  });
});

test("without a mouse: a runner is looked at, drained and given a secret; another is added", async () => {
  await inDashboard(async ({ page }) => {
    await signIn(page, stack, "runners");
    await tabTo(page, page.getByRole("link", { name: "cellar" }));
    await expectAccessible(page);
    await page.keyboard.press("Enter");
    await page.getByText("region=eu").waitFor();
    await page.getByText(/^\d.*B \(ok\)/).waitFor();
    await page.getByText("Load", { exact: true }).waitFor();
    await expectAccessible(page);
    await screenshot(page, "dashboard-runner");
    expect(await confirm(page, "Drain")).toContain("What is on it goes on");
    await page.getByText("an operator asked for it").first().waitFor();
    await confirm(page, "End the drain");
    await page.getByText("an operator ended the drain").first().waitFor();

    await tabTo(page, page.getByRole("link", { name: "← Runners" }));
    await page.keyboard.press("Enter");
    await tabTo(page, page.getByLabel("Its id"));
    await page.keyboard.type("attic");
    expect(await confirm(page, "Make its command")).toContain("opens Signalbox to the runner attic alone");
    const command = (await page.locator(".copy pre").textContent()) ?? "";
    expect(command).toContain("RUNNER_ID=attic \\\n");
    const secret = /RUNNER_SHARED_SECRET=(\S+)/.exec(command)?.[1] ?? "";
    const attic = await startRunner(stack, { id: "attic", env: { RUNNER_SHARED_SECRET: secret } });
    await page.getByRole("row", { name: /attic.*online/ }).waitFor();
    await attic.remove();
    // The page is told of it, though nobody asked.
    await page.getByRole("row", { name: /attic.*offline/ }).waitFor();
    await page.getByRole("link", { name: "attic" }).click();
    await page.getByText("This runner is away.").waitFor();
    await confirm(page, "Delete");
    await page.getByRole("heading", { name: "Runners" }).waitFor();
  });
});

test("without a mouse: the janitor says why, and an access token is made, used and revoked", async () => {
  await inDashboard(async ({ page }) => {
    await signIn(page, stack, "janitor");
    expect(await confirm(page, "Run now")).toContain("deletes those that nobody is on");
    await page.getByText(/Ran \d+ s ago/).waitFor();
    await press(page, "Dry run");
    await page.getByRole("heading", { name: "Dry run: what it would do" }).waitFor();
    await expectAccessible(page);

    await page.keyboard.press("Control+k");
    await page.keyboard.type("new access token");
    await page.keyboard.press("Enter");
    await tabTo(page, page.getByLabel("Name"));
    await page.keyboard.type("ci");
    await press(page, "Create token");
    await page.getByRole("heading", { name: "ci was created" }).waitFor();
    const token = (await page.locator(".copy pre").first().textContent()) ?? "";
    const call = () => stack.api("GET", "/apps", undefined, { authorization: `Bearer ${token}` });
    expect((await call()).status).toBe(200);
    await expectAccessible(page);
    await press(page, "I have it");
    expect(await page.content()).not.toContain(token);
    expect(await confirm(page, "Revoke")).toContain("refused from the next call on");
    expect((await call()).status).toBe(401);
    await page.getByText("No token yet.").waitFor();
  });
});

test("names the app's page in an error for people, and the code in both", async () => {
  const page = await browser.newPage();
  const response = await page.goto(`http://nobody.localhost:${stack.port}/`);
  expect(response?.status()).toBe(404);
  expect(await page.getByRole("heading").textContent()).toBe("Unknown host");
  expect(await page.content()).toContain("404 unknown_host");
  await page.close();
});

test("the whole of it is usable on a phone and in the dark, and finds its way in three widths", async () => {
  const watched = await openDashboard(browser, stack, {
    viewport: { width: 360, height: 740 },
    colorScheme: "dark",
    hasTouch: true,
    isMobile: true,
  });
  const { page } = watched;
  await signIn(page, stack);
  for (const path of [
    "",
    "apps/shop",
    "apps/shop/new",
    "apps/shop/configuration",
    "runners",
    "runners/cellar",
    "janitor",
    "audit",
    "tokens",
  ]) {
    await page.goto(stack.dashboard + path);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.getByText("Loading…").waitFor({ state: "detached" });
    await expectAccessible(page);
    // Nothing is wider than the screen.
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
  }
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});
