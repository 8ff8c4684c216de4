import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Browser, Frame } from "playwright-core";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let runner: RunnerProcess;
let browser: Browser;
/** Another site, which shows what its query names in a frame. */
let site: Server;
let siteOrigin: string;

beforeAll(async () => {
  stack = await startTestStack();
  // It installs from the machine's registry, by the machine's certificates.
  runner = await startRunner(stack, { id: "studio", env: pick(process.env, networkVariables) });
  browser = await launchChromium({ args: ["--host-resolver-rules=MAP *.test 127.0.0.1"] });
  site = createServer((request, response) => {
    const shown = new URL(request.url ?? "/", "http://site").searchParams.get("show") ?? "";
    response.setHeader("content-type", "text/html");
    response.end(`<!doctype html><iframe src="${shown.replaceAll('"', "&quot;")}"></iframe>`);
  });
  await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
  siteOrigin = `http://elsewhere.test:${(site.address() as AddressInfo).port}`;
  for (const slug of ["bakery", "library"]) {
    const prompt = `a static landing page for a ${slug}`;
    await stack.api("POST", "/projects", {
      slug,
      prompt: slug === "bakery" ? "a landing page for a bakery" : prompt,
    });
  }
  for (const slug of ["bakery", "library"]) await running(slug);
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site?.close();
  await runner?.remove();
  await stack?.stop();
});

async function running(slug: string): Promise<void> {
  await until(
    async () => (await stack.api("GET", `/projects/${slug}`)).body["runner"],
    (seen) => {
      const { devServer, builds } = seen as {
        devServer: { state: string };
        builds: { state: string; reason: string }[];
      };
      if (builds.some(({ state }) => state === "failed")) throw new Error(JSON.stringify(builds));
      return devServer.state === "running" && builds.every(({ state }) => state === "completed");
    },
    240_000,
  );
}

async function link(slug: string, seconds = 600): Promise<string> {
  const { body } = await stack.api("POST", `/projects/${slug}/preview`, { seconds });
  return String(body["url"]);
}

const address = (slug: string): string => `http://${slug}.preview.localhost:${stack.port}/`;

async function inFrame(url: string): Promise<Frame> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${siteOrigin}/?show=${encodeURIComponent(url)}`);
  const frame = page.frames()[1];
  if (frame === undefined) throw new Error("There is no frame.");
  return frame;
}

async function write(filePath: string, content: string): Promise<void> {
  const { body } = await stack.api("POST", "/runners/studio/commands?wait=20", {
    type: "write-file",
    payload: { slug: "bakery", filePath, content },
  });
  expect(body).toMatchObject({ event: { type: "file-written" } });
}

test("a private preview works in a frame on another site: scripts, hot reload, and a refresh", async () => {
  const frame = await inFrame(await link("bakery"));
  await frame.getByRole("heading", { name: "Bakery" }).waitFor();
  await frame.evaluate("window.kept = true");
  await write("src/App.jsx", `export function App() {\n  return <h1>Fresh bread</h1>;\n}\n`);
  await frame.getByRole("heading", { name: "Fresh bread" }).waitFor();
  // By hot reload: it is the same document.
  expect(await frame.evaluate("window.kept")).toBe(true);
  await frame.evaluate("location.reload()");
  await frame.waitForFunction("window.kept === undefined");
  await frame.getByRole("heading", { name: "Fresh bread" }).waitFor();
  expect(await frame.evaluate("document.cookie")).toBe("");
});

test("nobody comes in without a link, with one of another preview, or with a changed one", async () => {
  const visit = (slug: string, path: string, cookie = "") =>
    stack.request(`${slug}.preview.localhost`, path, { headers: { cookie } });
  expect((await visit("bakery", "/")).status).toBe(401);
  const { pathname, search } = new URL(await link("library"));
  expect((await visit("bakery", pathname + search)).status).toBe(401);
  const let_in = await visit("library", pathname + search);
  expect(let_in.status).toBe(303);
  const cookie = String(let_in.headers["set-cookie"]).split(";")[0] ?? "";
  expect((await visit("library", "/", cookie)).status).toBe(200);
  expect((await visit("bakery", "/", cookie)).status).toBe(401);
  for (const changed of [
    cookie.slice(0, -2),
    cookie.replace(".", "x."),
    `${cookie}.x`,
    "signalbox-preview=a.b",
  ]) {
    expect((await visit("library", "/", changed)).status).toBe(401);
  }
  // A link is no cookie, and a cookie no link.
  expect((await visit("library", "/", `signalbox-preview=${search.slice(7)}`)).status).toBe(401);
  expect((await visit("library", `${pathname}?token=${cookie.slice(18)}`)).status).toBe(401);
});

test("a link ends by its time and by being revoked", async () => {
  const short = new URL(await link("library", 1));
  await until(
    () => stack.request("library.preview.localhost", short.pathname + short.search),
    ({ status }) => status === 401,
  );
  const { pathname, search } = new URL(await link("library"));
  const entry = await stack.request("library.preview.localhost", pathname + search);
  const cookie = String(entry.headers["set-cookie"]).split(";")[0] ?? "";
  await stack.api("DELETE", "/projects/library/preview");
  await until(
    () => stack.request("library.preview.localhost", "/", { headers: { cookie } }),
    ({ status }) => status === 401,
  );
});

test("a public preview asks for nothing, and nothing of Signalbox is on its host", async () => {
  await stack.api("PATCH", "/projects/library", { public: true });
  await until(
    () => stack.request("library.preview.localhost", "/"),
    ({ status, text }) => status === 200 && text.includes("Library"),
  );
  for (const path of [
    "/_signalbox/",
    "/_signalbox/api/v1/apps",
    "/_signalbox/healthz",
    "/_signalbox/socket",
  ]) {
    expect((await stack.request("library.preview.localhost", path)).status).toBe(404);
  }
});

test("a stopped dev server starts again with a visit, which sees a page until then", async () => {
  await stack.api("DELETE", "/projects/bakery/dev-server");
  const page = await browser.newPage();
  const answer = await page.goto(await link("bakery"));
  expect(answer?.status()).toBe(503);
  expect(await page.locator("h1").innerText()).toBe("Starting");
  await page.getByRole("heading", { name: "Fresh bread" }).waitFor();
});

test("a dev server that doesn't come up is said with its last lines, and mended by the next visit", async () => {
  const config = `import react from "@vitejs/plugin-react";\n\nexport default { plugins: [react()] };\n`;
  await write("vite.config.js", `throw new Error("no oven");\n`);
  await stack.api("DELETE", "/projects/bakery/dev-server");
  const page = await browser.newPage();
  await page.goto(await link("bakery"));
  await page.locator("pre", { hasText: "no oven" }).waitFor();
  await write("vite.config.js", config);
  await page.getByRole("heading", { name: "Fresh bread" }).waitFor();
});

test("no app takes a preview's host", async () => {
  const { body } = await stack.api("PUT", "/apps/thief", { hosts: ["bakery.preview.localhost"] });
  expect(body).toMatchObject({ code: "host_reserved", errors: [{ field: "hosts.0" }] });
  expect((await stack.request("a.b.preview.localhost", "/")).status).toBe(404);
  expect(address("x")).toContain("preview.localhost");
});
