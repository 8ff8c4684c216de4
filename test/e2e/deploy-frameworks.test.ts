import { cp } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { Newcomer } from "../helpers/newcomer.ts";

/** Apps as frameworks make them, deployed with nothing else. Most take a minute to install and build: those soak. */

const soak = process.env["SIGNALBOX_SOAK"] === "1";

let newcomer: Newcomer;
beforeAll(async () => {
  newcomer = await Newcomer.arrive();
});
afterAll(() => newcomer?.leave());

async function deploy(name: string): ReturnType<Newcomer["deploy"]> {
  const directory = join(newcomer.root, name);
  await cp(join(projectRoot, "test/fixtures/frameworks", name), directory, { recursive: true });
  return newcomer.deploy(directory);
}

test("a Vite app without a server: documents fall back to its page, files are kept for good", async () => {
  const { decisions, get } = await deploy("vite-spa");
  expect(decisions).toMatchObject({
    build: "npm run build",
    start: "signalbox-runner static dist --spa --immutable assets",
  });
  const page = await get("/some/route", { accept: "text/html" });
  expect([page.status, page.headers.get("cache-control")]).toEqual([200, "no-cache"]);
  const [, script = ""] = /src="([^"]+)"/.exec(await page.text()) ?? [];
  const asset = await get(script);
  expect([asset.status, asset.headers.get("cache-control")]).toEqual([
    200,
    "public, max-age=31536000, immutable",
  ]);
  expect((await get("/assets/gone.js", { "sec-fetch-dest": "script" })).status).toBe(404);
  const again = await get("/", { "if-none-match": (await get("/")).headers.get("etag") ?? "" });
  expect(again.status).toBe(304);
});

test.skipIf(!soak).for([
  ["next", "npm start"],
  ["next-standalone", ".next/standalone"],
  ["astro", "node dist/server/entry.mjs"],
  ["astro-static", "signalbox-runner static dist --immutable _astro"],
  ["sveltekit", "node build/index.js"],
  ["nuxt", "node .output/server/index.mjs"],
  ["tanstack-start", "node .output/server/index.mjs"],
  ["react-router", "react-router-serve ./build/server/index.js"],
] as const)("%s (soak: npm run soak)", async ([name, start]) => {
  const { decisions, get } = await deploy(name);
  expect(decisions["start"]).toContain(start);
  const page = await get("/", { accept: "text/html" });
  expect(page.status).toBe(200);
  const text = await page.text();
  expect(text).toContain(name.replace(/^(nuxt|react-router)$/, "$1-app").replace(/^astro$/, "astro-node"));
  if (!name.startsWith("next")) return;
  // Next puts its pin into every link only where it was built with one.
  const [, script = ""] = /src="(\/_next\/static\/[^"]+)"/.exec(text) ?? [];
  expect(script).toMatch(/\?dpl=prod-\d{6}-\d{6}$/);
  expect((await get(script)).status).toBe(200);
  if (name === "next-standalone") expect(await (await get("/hello.txt")).text()).toBe("here\n");
});
