import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import {
  fitsItsWindow,
  openDashboard,
  pressOn,
  screenshot,
  seriousFindings,
  tabTo,
} from "../helpers/dashboard-page.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { OPERATOR_NAME, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
let runner: RunnerProcess;
let browser: Browser;

beforeAll(async () => {
  [stack, browser] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    launchChromium(),
  ]);
  runner = await startRunner(stack, {
    id: "studio",
    env: { RUNNER_AGENTS: JSON.stringify({ scripted: { command: AGENT } }) },
  });
});
afterAll(async () => {
  await browser?.close();
  await runner?.remove();
  await stack?.stop();
});

const open = (options: Parameters<typeof openDashboard>[2] = {}) =>
  openDashboard(browser, stack, { mayAsk: new RegExp(`\\.preview\\.localhost:${stack.port}/`), ...options });

async function make(slug: string, prompt?: string, fields: Record<string, unknown> = {}): Promise<void> {
  const body = { slug, agent: "scripted", ...(prompt !== undefined && { prompt }), ...fields };
  expect((await stack.api("POST", "/projects", body)).status).toBe(201);
}

async function visit(page: Page, ...parts: string[]): Promise<void> {
  await page.goto(`${stack.dashboard}projects/${parts.join("/")}`);
}

async function send(page: Page, prompt: string): Promise<void> {
  await page.getByLabel("What should change?").fill(prompt);
  await page.getByRole("button", { name: "Send" }).click();
}

const build = (page: Page, prompt: string) => page.getByRole("article", { name: `Build: ${prompt}` });

test("by keyboard alone, a project is made, watched, asked, followed up, shown and deleted", async () => {
  const { page, faults } = await open();
  await pressOn(page, page.getByRole("link", { name: "Projects" }));
  await page.getByText("No projects yet").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await pressOn(page, page.getByRole("link", { name: "New project" }));
  await tabTo(page, page.getByLabel("What shall it be?"));
  await page.keyboard.type("a landing page for a bakery");
  await tabTo(page, page.getByLabel("Template"));
  await page.keyboard.type("Plain");
  await tabTo(page, page.getByLabel("Name", { exact: true }));
  await page.keyboard.type("Rye & Co");
  expect(await seriousFindings(page)).toEqual([]);
  await screenshot(page, "dashboard-new-project");
  await pressOn(page, page.getByRole("button", { name: "Make it" }));
  await page.getByText("The build is done.").waitFor();
  await page.frameLocator("iframe").getByRole("heading", { name: "Bakery" }).waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await screenshot(page, "dashboard-project");

  await tabTo(page, page.getByLabel("Agent", { exact: true }), true);
  await page.keyboard.type("scripted");
  await tabTo(page, page.getByLabel("What should change?"), true);
  await page.keyboard.type("permission");
  await page.keyboard.press("Control+Enter");
  const asked = build(page, "permission");
  await asked.getByText("The agent waits for your answer.").waitFor();
  await tabTo(page, page.getByLabel("What should change?"), true);
  await page.keyboard.type("page Fresh-bread");
  await page.getByText("It waits for the build before it.").waitFor();
  await page.keyboard.press("Control+Enter");
  await build(page, "page").getByText("The build waits for its turn.").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await screenshot(page, "dashboard-question");
  await pressOn(page, page.getByRole("button", { name: "Yes" }));
  await asked.getByText("operator answered: Yes.").waitFor();
  await build(page, "page").getByText("The build is done.").waitFor();
  await page.frameLocator("iframe").getByText("Fresh-bread").waitFor();

  await pressOn(page, build(page, "page").getByRole("button", { name: "What changed" }));
  await page.getByRole("dialog").getByText("index.html").first().waitFor();
  await page.getByText("Fresh-bread</p>").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await pressOn(page, build(page, "page").getByRole("button", { name: "Undo" }));
  await pressOn(page, page.getByRole("dialog").getByRole("button", { name: "Undo" }));
  await page.getByText("1 files are as they were before.").waitFor();
  await page.keyboard.press("Escape");

  await tabTo(page, page.getByRole("tab", { name: "Build" }), true);
  for (const name of ["Preview", "Files", "Logs", "Environment", "Git", "Settings"]) {
    await page.keyboard.press("ArrowRight");
    await page.getByRole("tab", { name, selected: true }).waitFor();
    await page.getByRole("tabpanel").getByRole("status", { name: "Loading" }).waitFor({ state: "hidden" });
    expect(await seriousFindings(page), name).toEqual([]);
  }
  await tabTo(page, page.getByLabel("Type rye-co to delete it"));
  await page.keyboard.type("rye-co");
  await pressOn(page, page.getByRole("button", { name: "Delete" }));
  await pressOn(page, page.getByRole("dialog").getByRole("button", { name: "Delete" }));
  await page.getByText("No projects yet").waitFor();
  expect((await stack.api("GET", "/projects/rye-co")).status).toBe(404);
  expect(faults).toEqual([]);
  await page.context().close();
});

test("a file that is edited shows in the preview, and one that somebody else changed stays", async () => {
  await make("edited", "page One");
  const { page, faults } = await open();
  await visit(page, "edited");
  await page.frameLocator("iframe").getByText("One").waitFor();
  await page.getByRole("tab", { name: "Files" }).click();
  await page.getByRole("button", { name: "index.html" }).click();
  const write = async (text: string): Promise<void> => {
    await page.getByRole("textbox", { name: "Contents of index.html" }).click();
    await page.keyboard.press("Control+a");
    await page.keyboard.type(text);
  };
  await write("Two words");
  await page.getByText("Not saved yet").waitFor();
  await page.keyboard.press("Control+s");
  await page.getByText("Saved.").waitFor();
  await screenshot(page, "dashboard-files");
  await page.getByRole("tab", { name: "Preview" }).click();
  await page.frameLocator("iframe").getByText("Two words").waitFor();

  await visit(page, "edited", "files", "index.html");
  await write("Mine");
  const file = join(runner.workspace, "edited", "index.html");
  await writeFile(file, "Theirs");
  await page.getByText("Somebody has changed this file").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  // What is typed outlives the page.
  await page.reload();
  await page.getByText("Somebody has changed this file").waitFor();
  await page.getByText("Mine", { exact: true }).waitFor();
  expect(await readFile(file, "utf8")).toBe("Theirs");
  await page.getByRole("button", { name: "Keep mine" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Keep mine" }).click();
  await until(
    () => readFile(file, "utf8"),
    (text) => text === "Mine",
  );
  await page.getByText("Saved.").waitFor();
  // Nothing is typed: the editor follows the file.
  await writeFile(file, "Followed");
  await page.getByText("Followed").waitFor();
  await page.getByLabel("Search").fill("Followed");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("button", { name: /^index\.html:1/ }).click();
  expect(faults).toEqual([]);
  await page.context().close();
});

test("nothing runs of names, files and what agents say", async () => {
  const markup = `<img src=x onerror="top.hacked=1"><script>top.hacked=1</script>\u001b]0;x\u0007\u202e`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" onload="top.hacked=1"><script>top.hacked=1</script></svg>`;
  await make("hostile", undefined, { name: markup.slice(0, 90) });
  const file = "<img src=x onerror=top.hacked=1>.png";
  for (const [path, content] of [
    [file, svg],
    ["picture.svg", svg],
    ["image.png", "\u0089PNG\u0000<script>top.hacked=1</script>"],
  ])
    await stack.api("PUT", `/projects/hostile/files/${encodeURIComponent(path ?? "")}`, {
      content: Buffer.from(content ?? "", path === "image.png" ? "latin1" : "utf8").toString("base64"),
      encoding: "base64",
    });
  const { page, faults } = await open();
  await page.getByRole("link", { name: "Projects" }).click();
  await page.getByText("onerror").first().waitFor();
  await visit(page, "hostile");
  await send(page, `hostile ${markup}`);
  await page.getByRole("button", { name: /^Let/ }).waitFor();
  await page.evaluate(`for (const fold of document.querySelectorAll("details")) fold.open = true`);
  await page.locator(".diff").first().waitFor();
  await page.getByRole("button", { name: /^Let/ }).click();
  await page.getByText("operator answered").waitFor();
  await send(
    page,
    `terminal printf '\\033]0;x\\007\\033[31m<b onclick=top.hacked=1>red</b>\\033[0m'; exit 1`,
  );
  await page.locator(".terminal .ansi-red", { hasText: "<b onclick" }).waitFor();
  await visit(page, "hostile", "files");
  for (const name of [file, "picture.svg", "image.png"]) {
    await page.getByRole("button", { name }).click();
    await page.getByRole("region", { name }).locator("img, .editor").first().waitFor();
  }
  expect(await page.evaluate(`"hacked" in window`)).toBe(false);
  expect(
    await page.locator("#content script, #content svg, #content [onclick], #content [onerror]").count(),
  ).toBe(0);
  expect(faults).toEqual([]);
  await page.context().close();
});

test("says whether you, the runner or the agent is away, and heals with what was typed", async () => {
  await make("healing", "page Up");
  const { page } = await open();
  await visit(page, "healing");
  await page.getByText("The build is done.").waitFor();
  await send(page, "permission");
  await page.getByRole("button", { name: "Yes" }).waitFor();
  const typed = page.getByLabel("What should change?");
  await typed.fill("typed before it went away");

  await stack.kill();
  await page.getByText("You are disconnected from this build.").waitFor();
  await typed.press("End");
  await typed.pressSequentially(", and after");
  await stack.restart();
  await page.getByText("You are disconnected from this build.").waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Yes" }).waitFor();

  await runner.kill();
  await page.getByText("The runner studio is away").waitFor();
  await runner.start();
  await page.getByText("The runner studio is away").waitFor({ state: "hidden" });
  await page.getByText("The agent has stopped: the build was interrupted.").waitFor();
  expect(await typed.inputValue()).toBe("typed before it went away, and after");
  await page.reload();
  expect(await typed.inputValue()).toBe("typed before it went away, and after");
  await page.context().close();
});

test("fits a phone, by day and by night", async () => {
  await make("pocket", "everything", { name: "pocket" });
  for (const colorScheme of ["light", "dark"] as const) {
    const { page, faults } = await open({
      viewport: { width: 360, height: 740 },
      colorScheme,
      hasTouch: true,
    });
    await page.getByRole("link", { name: "Projects" }).click();
    await page.getByRole("link", { name: "pocket" }).waitFor();
    await fitsItsWindow(page);
    await screenshot(page, `dashboard-projects-phone-${colorScheme}`);
    await visit(page, "pocket");
    await page.getByText("The build is done.").waitFor();
    await screenshot(page, `dashboard-project-phone-${colorScheme}`);
    for (const tab of ["", "preview", "files", "logs", "environment", "git", "settings"]) {
      await visit(page, "pocket", tab);
      await page.getByRole("tab", { selected: true }).waitFor();
      await fitsItsWindow(page);
      expect(await seriousFindings(page), tab).toEqual([]);
    }
    expect(faults).toEqual([]);
    await page.context().close();
  }
});
