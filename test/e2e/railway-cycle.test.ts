import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";

/** In this order; each is only told once it was seen. */
const STORY = [
  "signalbox scaffold",
  "signalbox ensure: nothing to change",
  "the runner on Railway has dialled out",
  "signalbox deploy --image: v1 is a service of its own",
  "comes past the edge",
  "The page opened on v1 is still on v1",
  "signalbox deploy examples/live-counter: packed, uploaded, built on Railway, promoted",
  "The page opened on v1 is still on v1",
  "A new visitor gets v2",
  "signalbox rollback: new visitors get v1 again",
  "The page opened on v1 is still on v1",
  "The page opened on v2 is still on v2",
  "signalbox redeploy: v1 was built again in place",
  "v2's drain deadline passes: its page is told to reload and comes back on v1",
  "signalbox delete takes v1 away. database, live-counter-v3, pulse-env, signalbox-runner",
  "Only v3 and the runner run",
  "the project holds exactly what it should",
];

test(
  "a stack on Railway goes from an empty project through deploys, rollback, redeploy and drain to the last deletion",
  { timeout: 300_000 },
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "signalbox-test-"));
    const demo = spawn(process.execPath, [join(projectRoot, "scripts/demo-railway.ts")], {
      cwd: projectRoot,
      env: { PATH: process.env["PATH"] ?? "", TMPDIR: directory },
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      const ended = once(demo, "exit");
      const [told, complained] = await Promise.all([text(demo.stdout), text(demo.stderr)]);
      expect(await ended, `${told}\n${complained}`).toEqual([0, null]);
      const lines = told.trim().split("\n");
      expect(lines.filter((line) => line !== "")).toEqual(STORY.map((part) => expect.stringContaining(part)));
      expect(complained).toBe("");
      expect(await readdir(directory)).toEqual([]);
    } finally {
      demo.kill("SIGKILL");
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    }
  },
);
