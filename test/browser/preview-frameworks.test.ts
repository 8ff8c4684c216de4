import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Browser, Frame } from "playwright-core";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Installs two frameworks from the registry, and compiles with both: minutes on a small machine. */
const isSoak = process.env["SIGNALBOX_SOAK"] === "1";
const PATIENCE_MS = 180_000;

const NEXT_PAGE = (title: string): string => `"use client";
import { useState } from "react";

export default function Page() {
  const [count, setCount] = useState(0);
  return (
    <main>
      <h1>${title}</h1>
      <button onClick={() => setCount(count + 1)}>{"bread " + count}</button>
    </main>
  );
}
`;
const ASTRO_PAGE = (title: string): string => `<html lang="en">
  <body>
    <h1>${title}</h1>
    <button>bread 0</button>
    <script>
      let count = 0;
      const button = document.querySelector("button");
      button?.addEventListener("click", () => { button.textContent = "bread " + ++count; });
    </script>
  </body>
</html>
`;
const FRAMEWORKS = [
  {
    slug: "next-bakery",
    prompt: "a next app for a bakery",
    file: "app/page.jsx",
    page: NEXT_PAGE,
    keepsDocument: true,
  },
  {
    slug: "astro-bakery",
    prompt: "an astro site for a bakery",
    file: "src/pages/index.astro",
    page: ASTRO_PAGE,
    keepsDocument: false,
  },
];

describe.skipIf(!isSoak)("a private preview in a frame on another site", () => {
  let stack: TestStack;
  let runner: RunnerProcess;
  let browser: Browser;
  let site: Server;
  let siteOrigin: string;

  beforeAll(async () => {
    stack = await startTestStack();
    runner = await startRunner(stack, { id: "studio", env: pick(process.env, networkVariables) });
    browser = await launchChromium({ args: ["--host-resolver-rules=MAP *.test 127.0.0.1"] });
    site = createServer((request, response) => {
      const shown = new URL(request.url ?? "/", "http://site").searchParams.get("show") ?? "";
      response.setHeader("content-type", "text/html");
      response.end(`<!doctype html><iframe src="${shown.replaceAll('"', "&quot;")}"></iframe>`);
    });
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    siteOrigin = `http://elsewhere.test:${(site.address() as AddressInfo).port}`;
  }, PATIENCE_MS);
  afterAll(async () => {
    await browser?.close();
    site?.close();
    await runner?.remove();
    await stack?.stop();
  });

  async function write(slug: string, filePath: string, content: string): Promise<void> {
    const { body } = await stack.api("POST", "/runners/studio/commands?wait=20", {
      type: "write-file",
      payload: { slug, filePath, content },
    });
    expect(body).toMatchObject({ event: { type: "file-written" } });
  }

  async function open(slug: string): Promise<{ frame: Frame; errors: string[] }> {
    const { body } = await stack.api("POST", `/projects/${slug}/preview`, { seconds: 600 });
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const errors: string[] = [];
    page.on("pageerror", ({ message }) => errors.push(message));
    await page.goto(`${siteOrigin}/?show=${encodeURIComponent(String(body["url"]))}`);
    const frame = page.frames()[1];
    if (frame === undefined) throw new Error("There is no frame.");
    return { frame, errors };
  }

  test.each(FRAMEWORKS)(
    "$slug: scripts take over the page, an edit shows, and a refresh keeps the visitor in",
    async ({ slug, prompt, file, page, keepsDocument }) => {
      await stack.api("POST", "/projects", { slug, prompt });
      await until(
        async () => (await stack.api("GET", `/projects/${slug}`)).body["runner"],
        (seen) => {
          const { builds } = seen as { builds: { state: string; reason: string }[] };
          if (builds.some(({ state }) => state === "failed")) throw new Error(JSON.stringify(builds));
          return builds.every(({ state }) => state === "completed");
        },
        PATIENCE_MS * 2,
      );
      await write(slug, file, page("First"));
      const { frame, errors } = await open(slug);
      await frame.getByRole("heading", { name: "First" }).waitFor();
      // The first click may come before the scripts.
      const button = frame.getByRole("button", { name: "bread" });
      await until(
        async () => {
          await button.click();
          return button.innerText();
        },
        (text) => text !== "bread 0",
        PATIENCE_MS,
      );
      await frame.evaluate("window.kept = true");
      await write(slug, file, page("Second"));
      await frame.getByRole("heading", { name: "Second" }).waitFor();
      if (keepsDocument) expect(await frame.evaluate("window.kept")).toBe(true);
      await frame.evaluate("window.kept = true");
      await frame.evaluate("location.reload()");
      await frame.waitForFunction("window.kept === undefined");
      await frame.getByRole("heading", { name: "Second" }).waitFor();
      expect(errors).toEqual([]);
      await stack.api("DELETE", `/projects/${slug}`);
      expect(runner.hosted()).toEqual([]);
    },
  );
});
