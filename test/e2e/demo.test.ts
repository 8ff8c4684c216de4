import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";

/** In this order; each is only told once it was seen. */
const LIVE_COUNTER = [
  "v1 serves at",
  "The page opened on v1 is still on v1",
  "v2 is rolled out",
  "The page opened on v1 is still on v1",
  "A new visitor gets v2",
  "Rolled back: new visitors get v1 again",
  "The page opened on v1 is still on v1",
  "The page opened on v2 is still on v2",
  "v1 drains for 8 s at most",
  "v1 still has live sessions, so it stays",
  "The page opened on v1 is still on v1",
  "the old page is told to reload, and comes back on v2",
  "Only then v1 is gone",
];
const VITE_PAGE = (visitor: string): string[] => [
  "A page as Vite makes it, without a line of Signalbox",
  `left open, in ${visitor}`,
  "v2 is promoted, with another file name for the component",
  'A new tab, "More" clicked: "The details of v2."',
  'The old page, "More" clicked only now: "The details of v1."',
];
const PROJECT = [
  "became the project bakery",
  "Its preview is private: 401 without a link",
  "A file is edited through the edge, and the preview shows it",
  "its preview is a 404, and nothing of it is left",
];

test("npm run demo tells its story, with a page in Chromium", () => tells("Chromium", {}));

test.skipIf(!soak)("npm run demo tells its story without a browser (soak: npm run soak)", () =>
  tells("a visitor as far as the network can tell", { CHROME_PATH: "" }),
);

async function tells(visitor: string, env: Record<string, string>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-test-"));
  const demo = spawn(process.execPath, [join(projectRoot, "scripts/demo.ts")], {
    cwd: projectRoot,
    env: { PATH: process.env["PATH"] ?? "", HOME: directory, TMPDIR: directory, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    const ended = once(demo, "exit");
    const [told, complained] = await Promise.all([text(demo.stdout), text(demo.stderr)]);
    expect(await ended, `${told}\n${complained}`).toEqual([0, null]);
    const lines = told.split("\n").filter((line) => line !== "");
    const story = [...LIVE_COUNTER, ...VITE_PAGE(visitor), ...PROJECT, "All of it was seen"];
    expect(lines).toEqual(story.map((part) => expect.stringContaining(part)));
    expect(complained).toBe("");
    // Chromium leaves caches of its own in its HOME.
    const left = (await readdir(directory)).filter((name) => name.startsWith("signalbox"));
    expect(left).toEqual([]);
  } finally {
    demo.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
