import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Browser, Page, WebSocket } from "playwright-core";
import { putApp } from "../helpers/deploy.ts";
import { archiveOf } from "../helpers/archive.ts";
import { installFixture } from "../helpers/installed-fixture.ts";
import { uploadSource } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";

/** Not below localhost, which every framework trusts and which would therefore prove nothing. */
const DOMAIN = "preview.test";
const FRAMEWORKS = {
  vite: "vite/bin/vite.js --host 127.0.0.1",
  next: "next/dist/bin/next dev --hostname 127.0.0.1",
  astro: "astro/bin/astro.mjs dev --host 127.0.0.1",
};
type Framework = keyof typeof FRAMEWORKS;
const FROM = "before the edit";
const TO = "after the edit";

/** Where the apps and their frameworks are. */
let fixture: string;
let stack: TestStack;
let runner: RunnerProcess;
let home: string;
let browser: Browser;
let page: Page;
/** WebSockets of the page, those of them that have heard from their server, and the page's uncaught errors. */
let sockets: string[];
let connected: Set<WebSocket>;
let errors: string[];

beforeAll(async () => {
  fixture = await installFixture("dev-servers");
  stack = await startTestStack({ settings: { APP_DOMAIN: DOMAIN } });
  // In the fixture, so that what it hosts finds the frameworks there.
  runner = await startRunner(stack, { id: "dev-servers", parent: fixture });
  home = await mkdtemp(join(tmpdir(), "signalbox-home-"));
  browser = await launchChromium({ args: [`--host-resolver-rules=MAP *.${DOMAIN} 127.0.0.1`] });
  await Promise.all([start("vite"), start("next"), start("astro")]);
}, 600_000);
afterAll(async () => {
  await browser?.close();
  await runner?.stop();
  await runner?.remove();
  await stack?.stop();
  if (home) await rm(home, { recursive: true, force: true });
});
beforeEach(async () => {
  page = await browser.newPage();
  // A framework compiles a page when it is asked for the first time.
  page.setDefaultTimeout(90_000);
  sockets = [];
  connected = new Set();
  errors = [];
  page.on("websocket", (socket) => {
    sockets.push(socket.url());
    socket.on("framereceived", () => connected.add(socket));
  });
  page.on("pageerror", (error) => errors.push(error.message));
});
afterEach(() => page.close());

async function start(app: Framework): Promise<void> {
  const source = { sha256: await uploadSource(stack, runner.id, await archiveOf(join(fixture, app))) };
  await putApp(stack, app, { contract: "none", hosts: [`${app}.localhost`] });
  const { status, body } = await stack.api("POST", `/apps/${app}/deployments`, {
    id: "dev",
    target: {
      kind: "runner",
      source,
      host: "local",
      start: `exec node "${join(fixture, "node_modules")}"/${FRAMEWORKS[app]} --port "$PORT"`,
      env: {
        // Next takes no package root for one that has the home in it, and the runner's is in the repository here.
        HOME: home,
        NEXT_TELEMETRY_DISABLED: "1",
        ASTRO_TELEMETRY_DISABLED: "1",
        ASTRO_DISABLE_UPDATE_CHECK: "true",
      },
    },
  });
  if (status !== 202) throw new Error(JSON.stringify(body));
  await stack.control.until(app, "dev", ["active"], 240_000);
}

function address(app: Framework, domain = DOMAIN): string {
  return `http://${app}.${domain}:${stack.port}/`;
}

/**
 * Opens the page and marks it, so that a reload shows. It is open once its socket has heard from the dev server, which
 * tells nobody later of an edit that came before that.
 */
async function open(app: Framework, domain?: string): Promise<void> {
  await page.goto(address(app, domain));
  await shows(FROM);
  await expect.poll(() => connected.size).toBe(1);
  await page.evaluate(`window.marker = "set"`);
}

async function shows(text: string): Promise<void> {
  await page.locator("#text", { hasText: new RegExp(`^${text}$`) }).waitFor();
}

const TEXT = { changed: () => shows(TO), back: () => shows(FROM) };

function marker(): Promise<unknown> {
  return page.evaluate(`window.marker`);
}

/** Changes a file and changes it back. `changed` and `back` wait for the page to show that. */
async function edit(
  app: Framework,
  file: string,
  [from, to]: readonly [string, string],
  { changed, back }: { changed: () => Promise<void>; back: () => Promise<void> },
): Promise<void> {
  const path = join(runner.workDirectory(app, "dev"), file);
  const before = await readFile(path, "utf8");
  expect(before).toContain(from);
  try {
    await writeUntil(path, before.replace(from, to), changed);
    // A person's pace: the frameworks' watchers take two writes within some 50 ms for one.
    await new Promise((resolve) => setTimeout(resolve, 500));
    await writeUntil(path, before, back);
  } finally {
    await writeFile(path, before);
  }
}

/** On a busy machine a watcher may miss a write, so it is repeated as a person would. */
async function writeUntil(path: string, text: string, shown: () => Promise<void>): Promise<void> {
  const write = (): Promise<void> => writeFile(path, text);
  await write();
  const again = setInterval(() => void write(), 15_000);
  try {
    await shown();
  } finally {
    clearInterval(again);
  }
}

test.each([DOMAIN, "localhost"])("Vite shows an edit without a reload at vite.%s", async (domain) => {
  await open("vite", domain);
  await edit("vite", "greeting.js", [FROM, TO], TEXT);
  expect(await marker()).toBe("set");
  expect(sockets).toEqual([expect.stringMatching(`^ws://vite.${domain}:${stack.port}/\\?token=`)]);
  expect(errors).toEqual([]);
});

test.each([DOMAIN, "localhost"])(
  "Next hydrates and shows an edit without a reload at next.%s",
  async (domain) => {
    await open("next", domain);
    // Only a hydrated page asks the server, and only a request whose names agree is answered.
    await page.click("#act");
    await page.locator("#act", { hasText: /^1$/ }).waitFor();
    await edit("next", "app/greeting.jsx", [FROM, TO], TEXT);
    expect(await marker()).toBe("set");
    expect(await page.textContent("#act")).toBe("1");
    expect(sockets).toEqual([
      expect.stringMatching(`^ws://next.${domain}:${stack.port}/_next/(?:hmr|webpack-hmr)`),
    ]);
    expect(errors).toEqual([]);
  },
);

test("Astro shows an edited style without a reload, and an edited component by the reload that it does itself", async () => {
  await open("astro");
  const color = (): Promise<unknown> =>
    page.evaluate(`getComputedStyle(document.getElementById("text")).color`);
  await edit("astro", "src/components/greeting.css", ["rgb(255, 0, 0)", "rgb(0, 0, 255)"], {
    changed: () => expect.poll(color).toBe("rgb(0, 0, 255)"),
    back: () => expect.poll(color).toBe("rgb(255, 0, 0)"),
  });
  expect(await marker()).toBe("set");
  await edit("astro", "src/components/Greeting.astro", [FROM, TO], {
    async changed() {
      await shows(TO);
      // The reloaded page has a socket of its own.
      await expect.poll(() => connected.size).toBe(2);
    },
    back: () => shows(FROM),
  });
  expect(errors).toEqual([]);
});

test("Astro takes a form from the public address", async () => {
  await open("astro");
  await page.click("#act");
  await page.locator("#act", { hasText: /^1$/ }).waitFor();
  expect(page.url()).toBe(address("astro"));
});

test("another site is refused as it would be without a tunnel", async () => {
  const ask = async (app: Framework, path: string, method: "GET" | "POST"): Promise<number> => {
    const headers = {
      origin: "http://elsewhere.test",
      "content-type": "application/x-www-form-urlencoded",
    };
    return (await stack.request(`${app}.${DOMAIN}`, path, { method, headers })).status;
  };
  expect(await ask("next", "/_next/hmr", "GET")).toBe(403);
  expect(await ask("astro", "/", "POST")).toBe(403);
});
