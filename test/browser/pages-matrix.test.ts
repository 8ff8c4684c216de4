import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import type { PageBackend, Seen } from "../helpers/page-backend.ts";
import { framework, FRAMEWORKS, startVersion, type Framework } from "../helpers/page-frameworks.ts";
import { allBy, submitsPlainly, Tab, type Action } from "../helpers/page-tab.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Apps as frameworks build them, in two versions, with nothing of Signalbox in them. Most soak: npm run soak. */

const soak = process.env["SIGNALBOX_SOAK"] === "1";

type Through = "a URL" | "a runner's tunnel";
const ROWS: { given: Framework; through: Through; isFast: boolean }[] = [
  ...FRAMEWORKS.map((given) => ({
    given,
    through: "a URL" as const,
    isFast: given.name === "Vite and React",
  })),
  ...FRAMEWORKS.map((given) => ({
    given,
    through: "a runner's tunnel" as const,
    isFast: given.name === "Express",
  })),
];

let stack: TestStack;
let browser: Browser;
let runner: RunnerProcess;
beforeAll(async () => {
  [stack, browser] = await Promise.all([startTestStack(), launchChromium()]);
  runner = await startRunner(stack, { id: "runner-of-pages" });
});
afterAll(async () => {
  await browser.close();
  await runner.remove();
  await stack.stop();
});

/** One app with a page of v1 that was open when v2 was promoted. */
interface World {
  app: string;
  address: string;
  given: Framework;
  through: Through;
  context: BrowserContext;
  v1: PageBackend;
  v2: PageBackend;
}

const config = { contract: "edge", previousRetentionSeconds: 0, reloadGraceSeconds: 3_600 };

async function openApp(given: Framework, through: Through): Promise<World> {
  const app = `${given.name} ${through}`.toLowerCase().replaceAll(/[^a-z]+/g, "-");
  const v1 = await startVersion(given, "v1");
  const v2 = await startVersion(given, "v2");
  await putApp(stack, app, config);
  const context = await browser.newContext();
  const world = { app, address: `http://${app}.localhost:${stack.port}/`, given, through, context, v1, v2 };
  await deploy(world, "v1", v1);
  return world;
}

async function deploy({ app, given, through }: World, id: string, { url, port }: PageBackend): Promise<void> {
  if (through === "a URL") return deployUrl(stack, app, id, url, true, given.host);
  const start = `exec "${process.execPath}" "${join(projectRoot, "test/helpers/pipe.mjs")}" ${port}`;
  return deployTunnelApp(stack, runner, app, id, { start });
}

async function promote(world: World): Promise<void> {
  const { app, v1, v2 } = world;
  await deploy(world, "v2", v2);
  await until(
    async () => (await stack.request(`${app}.localhost`, "/probe/id")).text,
    (id) => id === "v2",
  );
  v1.seen.length = v2.seen.length = 0;
}

async function doesAll(tab: Tab, actions: readonly Action[]): Promise<void> {
  expect(await tab.scripted()).toEqual(allBy(tab.version));
  for (const action of actions) await tab.does(action);
}

/** What a version was asked and had. */
const had = ({ seen }: PageBackend, tab?: string): string[] =>
  seen
    .filter((one) => tab === undefined || one.tab === tab)
    // What only might be asked for is led by the cookie. Its answer isn't used: it varies by the pin of who asks for it.
    .filter(({ status, isAhead }) => status !== 404 && !isAhead)
    .map(({ method, url, status }: Seen) => `${method} ${url} ${status}`);

const asked = ({ seen }: PageBackend): string[] => seen.map(({ method, url }) => `${method} ${url}`);

async function submits(page: Page, version: string): Promise<void> {
  await page.evaluate(`{
    addEventListener("pagehide", () => navigator.sendBeacon("/probe/beacon?left", "x"));
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/probe/form";
    // Astro's router would fetch it and stay on the page.
    form.setAttribute("data-astro-reload", "");
    form.innerHTML = "<input name=typed value=typed><button>Send</button>";
    document.body.append(form);
    form.querySelector("button").click();
  }`);
  await page.waitForURL("**/probe/form*");
  expect(await page.locator("#version").textContent()).toBe(version);
}

async function decisions(app: string): Promise<string> {
  const { body } = await stack.api("POST", "/janitor/run", {});
  const all = body["decisions"] as { app: string; deployment: string; reason: string; detail: string }[];
  return all
    .filter((one) => one.app === app)
    .map(({ deployment, reason, detail }) => `${deployment} ${reason} ${detail}`)
    .join();
}

const stateOf = async (app: string, id: string): Promise<unknown> =>
  (await stack.api("GET", `/apps/${app}/deployments/${id}`)).body["state"];

describe.each(ROWS.filter(({ isFast }) => soak || isFast))(
  "$given.name through $through",
  ({ given, through }) => {
    let world: World;
    let paired: Tab;
    let fresh: Tab;
    let scriptless: Page;
    beforeAll(async () => {
      world = await openApp(given, through);
    }, 600_000);
    afterAll(async () => {
      await world?.context.close();
      await scriptless?.context().close();
      await Promise.all([world?.v1.close(), world?.v2.close()]);
    });

    test("a page goes on with its version after another was promoted, by all that it does", async () => {
      const { context, address, v1, v2 } = world;
      paired = await Tab.open(context, address, "v1", "paired");
      const alone = await Tab.open(context, address, "v1", "alone");
      if (given.does.includes("near")) {
        for (const { page } of [alone, paired]) await page.locator("#near").hover();
        await Promise.all([alone, paired].map(({ page }) => page.waitForLoadState("networkidle")));
      }
      scriptless = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
      await scriptless.goto(address);
      await promote(world);
      await doesAll(alone, given.does);
      expect(await alone.unscripted()).toEqual({ image: "v1", imported: "v1" });
      if (given.plainForm === "two steps") await submitsPlainly(alone.page, "v1", given.plainForm);
      await submits(alone.page, "v1");
      await until(
        () => asked(v1).join("\n"),
        (all) => ["/probe/beacon", "font-v1", "picture-v1"].every((each) => all.includes(each)),
      );
      expect(asked(v2)).toEqual([]);
      expect(alone.wrong).toEqual([]);
      await alone.page.close();
    });

    test.skipIf(given.plainForm === null)(
      "a form is answered by its page's version without JavaScript",
      async () => {
        await submitsPlainly(scriptless, "v1", given.plainForm ?? "one step");
        expect(asked(world.v2)).toEqual([]);
      },
    );

    test("two tabs of two versions keep theirs, at once and in turn", async () => {
      const { context, address, v1, v2 } = world;
      v1.seen.length = v2.seen.length = 0;
      fresh = await Tab.open(context, address, "v2", "fresh");
      expect(asked(v1)).toEqual([]);
      const { inTurn = [] } = given;
      const atOnce = given.does.filter((action) => !inTurn.includes(action));
      await Promise.all([doesAll(paired, atOnce), doesAll(fresh, atOnce)]);
      for (const tab of [fresh, paired]) {
        await tab.turnTo();
        expect(await tab.unscripted()).toEqual({ image: tab.version, imported: tab.version });
        for (const action of inTurn) await tab.does(action);
      }
      expect(had(v1, "fresh")).toEqual([]);
      expect(had(v2, "paired")).toEqual([]);
      await fresh.isUntouched();
    });

    test("the old version stays while its page is open, and is gone within a minute after", async () => {
      const { app } = world;
      await until(
        () => decisions(app),
        (seen) => seen.includes("v1 live_sessions 1 live"),
      );
      expect(await stateOf(app, "v1")).toBe("draining");
      // Silent from then on: nothing but the page's socket says that its reader leaves.
      await paired.page.evaluate(`new Promise((resolve, reject) => {
        window.kept = new EventSource("/probe/events");
        window.kept.onmessage = resolve;
        window.kept.onerror = reject;
      }).then(() => undefined)`);
      await paired.page.close();
      const closedAt = Date.now();
      await until(
        async () => ({ why: await decisions(app), state: await stateOf(app, "v1") }),
        ({ state }) => state === "removed",
        90_000,
      );
      expect(Date.now() - closedAt).toBeLessThan(60_000);
      await fresh.isUntouched();
    });

    test("at the deadline a page reloads itself once, and a veto holds it", async () => {
      const { app, context, address, v1 } = world;
      const busy = await Tab.open(context, address, "v2", "busy");
      await busy.page.evaluate(`signalbox.onReload(() => false)`);
      let loads = 0;
      fresh.page.on("load", () => (loads += 1));
      await putApp(stack, app, { ...config, drainTtlSeconds: 1 });
      await deploy(world, "v3", v1);
      await fresh.page.locator("#version", { hasText: "v1" }).waitFor();
      await fresh.page.waitForFunction(`window.signalbox?.state === "connected"`);
      await busy.page.waitForFunction(`window.signalbox.state === "reload-vetoed"`);
      await busy.isUntouched();
      expect(await busy.scripted()).toEqual(allBy("v2"));
      expect(loads).toBe(1);
    });
  },
);

test("with stickiness visitor a session in memory outlasts redirects, and who is new gets the new version", async () => {
  const versions = await Promise.all(["v1", "v2"].map((id) => startVersion(framework("Express"), id)));
  const context = await browser.newContext();
  try {
    await putApp(stack, "sessions", { ...config, stickiness: "visitor" });
    const address = `http://sessions.localhost:${stack.port}/?way=redirect`;
    await deployUrl(stack, "sessions", "v1", versions[0]?.url ?? "");
    const { page } = await Tab.open(context, address, "v1", "old");
    await deployUrl(stack, "sessions", "v2", versions[1]?.url ?? "");
    // Whoever comes before the edge knows of v2 stays on v1.
    await until(
      () => stack.request("sessions.localhost", "/"),
      ({ headers }) => headers["x-pulse-selected-deployment"] === "v2",
    );
    const other = await browser.newContext();
    const fresh = await Tab.open(other, address, "v2", "fresh");
    await submitsPlainly(page, "v1", "two steps");
    await submitsPlainly(fresh.page, "v2", "two steps");
    await other.close();
  } finally {
    await context.close();
    await Promise.all(versions.map((version) => version.close()));
  }
});
