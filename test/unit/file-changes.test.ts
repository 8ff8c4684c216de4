import { spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import { mkdir, mkdtemp, realpath, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, type TestContext } from "vitest";
import type { FileChanges } from "../../functions/protocol/workspace-api.ts";
import { fileChanges } from "../../runner/projects/file-changes.ts";
import { projectRoot } from "../../scripts/build/worker.ts";

async function directory(context: TestContext): Promise<string> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-changes-")));
  context.onTestFinished(() => rm(root, { recursive: true }));
  return root;
}

/** What was read of a stream so far. */
class Seen {
  text = "";
  readonly stream: Readable;

  constructor(stream: Readable) {
    this.stream = stream;
    stream.on("data", (chunk: Buffer) => (this.text += String(chunk)));
  }

  get changes(): FileChanges[] {
    const all = this.text.matchAll(/^event: files\ndata: (.*)$/gm);
    return [...all].map(([, data = ""]) => JSON.parse(data) as FileChanges);
  }

  async until(isThere: (seen: Seen) => boolean): Promise<void> {
    while (!isThere(this)) await sleep(20);
  }
}

async function watch(context: TestContext, project: string): Promise<Seen> {
  const seen = new Seen(fileChanges(project, new AbortController().signal));
  context.onTestFinished(() => void seen.stream.destroy());
  await seen.until(({ text }) => text.includes("event: ready"));
  return seen;
}

test("a reader that takes nothing is kept a bounded number of paths, and hears that there were more", async (context) => {
  const project = await directory(context);
  const seen = await watch(context, project);
  seen.stream.pause();
  const name = "a".repeat(200);
  let most = 0;
  for (let round = 0; round < 12; round++) {
    for (let file = 0; file < 100; file++) await writeFile(join(project, `${name}${round}-${file}`), "");
    await sleep(120);
    most = Math.max(most, seen.stream.readableLength);
  }
  expect(most).toBeLessThan(200 * 1024);
  seen.stream.resume();
  await seen.until(({ changes }) => changes.some(({ truncated }) => truncated));
});

test("a stream that ended leaves nothing with the signal that it would have ended by", async (context) => {
  const project = await directory(context);
  const ending = new AbortController();
  const stream = fileChanges(project, ending.signal);
  expect(getEventListeners(ending.signal, "abort")).toHaveLength(1);
  stream.destroy();
  await once(stream, "close");
  expect(getEventListeners(ending.signal, "abort")).toHaveLength(0);
  const last = fileChanges(project, ending.signal);
  ending.abort();
  await once(last, "close");
});

test("a directory is watched where it was moved to, and no longer where it was", async (context) => {
  const project = await directory(context);
  await mkdir(join(project, "one/inner"), { recursive: true });
  const seen = await watch(context, project);
  await rename(join(project, "one"), join(project, "two"));
  await seen.until(({ changes }) => changes.some(({ deleted }) => deleted.includes("one")));
  await writeFile(join(project, "two/inner/file"), "1");
  await seen.until(({ changes }) => changes.some(({ changed }) => changed.includes("two/inner/file")));
  expect(seen.text).not.toContain("one/inner");
});

test("nothing outside is told when a link takes a directory's place", async (context) => {
  const root = await directory(context);
  const project = join(root, "project");
  await mkdir(join(project, "dir"), { recursive: true });
  await mkdir(join(root, "outside/inner"), { recursive: true });
  await writeFile(join(root, "outside/inner/secret"), "1");
  const seen = await watch(context, project);
  await rename(join(project, "dir"), join(project, "moved"));
  await symlink("../outside", join(project, "dir"));
  await mkdir(join(project, "moved/inner"));
  await writeFile(join(project, "moved/inner/file"), "1");
  await seen.until(({ changes }) => changes.some(({ changed }) => changed.includes("moved/inner/file")));
  await writeFile(join(project, "last"), "1");
  await seen.until(({ changes }) => changes.some(({ changed }) => changed.includes("last")));
  expect(seen.text).not.toContain("secret");
});

test("a reader hears that the system lets the runner watch no more", async (context) => {
  const project = await directory(context);
  await mkdir(join(project, Array.from({ length: 50 }, () => "d").join("/")), { recursive: true });
  const script = `
    import { fileChanges } from ${JSON.stringify(join(projectRoot, "runner/projects/file-changes.ts"))};
    fileChanges(${JSON.stringify(project)}, new AbortController().signal).pipe(process.stdout);`;
  const limited = [
    "-c",
    'ulimit -n 60; exec "$@"',
    "sh",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ];
  const child = spawn("/bin/sh", limited, { stdio: ["ignore", "pipe", "inherit"] });
  context.onTestFinished(() => void child.kill("SIGKILL"));
  const seen = new Seen(child.stdout);
  await seen.until(({ text }) => text.includes("event: ready"));
  expect(seen.text).toMatch(/^event: incomplete\ndata: {"reason":"The runner has too many files open/m);
});
