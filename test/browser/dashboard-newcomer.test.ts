import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, test } from "vitest";
import { newHome, removeHomes, start } from "../helpers/npm-start.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { screenshot } from "../helpers/dashboard.ts";

afterAll(removeHomes);

/** It starts all of `npm start`, so it runs when asked for. */
const newcomer = test.skipIf(process.env["SIGNALBOX_SOAK"] !== "1");

newcomer(
  "a newcomer logs in, rolls out the example's second version and watches the first one drain",
  async () => {
    const home = await newHome();
    const started = start({ SIGNALBOX_HOME: home });
    const url = await started.ready;
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.goto(started.lines.find((line) => line.startsWith("Signalbox is ready: "))?.slice(20) ?? "");
      // What the page says where the token is.
      await page.getByText("controlToken in .signalbox/local.json").waitFor();
      const local = JSON.parse(await readFile(join(home, "local.json"), "utf8")) as { controlToken: string };
      await page.getByLabel("Control token").fill(local.controlToken);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("link", { name: "live-counter" }).click();
      const visitor = await browser.newPage();
      await visitor.goto(`${url}/`);
      await page.getByText("1 open page").waitFor();

      await page.getByRole("tab", { name: "Roll out" }).click();
      await page.getByText("npx signalbox deploy examples/live-counter", { exact: true }).waitFor();
      await page.getByLabel("Id of the new version").fill("v2");
      await page.getByRole("button", { name: "Roll out" }).click();
      await page.getByRole("heading", { name: /^v2.*active/ }).waitFor();
      await page.getByRole("link", { name: "← live-counter" }).click();
      const v1 = page
        .getByRole("listitem")
        .filter({ has: page.getByRole("link", { name: "v1", exact: true }) });
      await v1.getByText(/^1 open page · reloads at the latest in/).waitFor();
      await screenshot(page, "dashboard-newcomer");
      await visitor.close();
      await v1.getByText(/^0 open pages · reloads at the latest in/).waitFor();
    } finally {
      await browser.close();
    }
  },
);
