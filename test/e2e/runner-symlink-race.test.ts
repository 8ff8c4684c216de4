import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile as readRaw,
  realpath,
  rm,
  writeFile as writeRaw,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RunnerError } from "../../runner/runner-error.ts";
import { deleteFile, listFiles, readFile, writeFile } from "../../runner/workspaces/files.ts";
import { Trash } from "../../runner/workspaces/trash.ts";

const RACE_MS = 4_000;

/** Puts a directory and a symlink out of the project in each other's place, as fast as it can. */
const SWAPPER = `
const fs = require("node:fs");
const [project, outside] = process.argv.slice(1);
const name = project + "/dir", aside = project + "/aside", link = project + "/link";
fs.symlinkSync(outside, link);
console.log("swapping");
function move(from, to) {
  for (;;) {
    try {
      return fs.renameSync(from, to);
    } catch {
      // While nothing had the name, a write made a directory of it.
      try { fs.rmSync(to, { recursive: true, force: true }); } catch {}
    }
  }
}
for (;;) {
  move(name, aside);
  move(link, name);
  move(name, link);
  move(aside, name);
}
`;

let root: string;
let project: string;
let outside: string;
let swapper: ChildProcess;

beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-race-")));
  project = join(root, "shop");
  outside = join(root, "outside");
  await mkdir(join(project, "dir"), { recursive: true });
  await mkdir(outside);
  for (const directory of [join(project, "dir"), outside]) {
    await writeRaw(join(directory, "file"), directory === outside ? "outside" : "inside");
    await writeRaw(join(directory, directory === outside ? "stolen" : "kept"), "");
  }
  swapper = spawn(process.execPath, ["-e", SWAPPER, project, outside], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (swapper.stdout) await once(swapper.stdout, "data");
});
afterAll(async () => {
  if (swapper.exitCode === null) {
    const exited = once(swapper, "exit");
    swapper.kill("SIGKILL");
    await exited;
  }
  await rm(root, { recursive: true, force: true });
});

test("a directory that is swapped for a symlink at any moment never leads a read, write, list or delete out", async () => {
  const trash = await Trash.open(join(root, "trash"));
  const outcomes: Record<string, number> = {};
  const attempt = async (work: () => Promise<string>): Promise<void> => {
    const outcome = await work().catch((error: unknown) => {
      if (error instanceof RunnerError) return error.code;
      throw error;
    });
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  };
  const deadline = Date.now() + RACE_MS;
  // The race is real once both sides of it were met.
  const met = (): boolean => Boolean(outcomes["read inside"] && outcomes["path_outside_project"]);
  while (Date.now() < deadline || !met()) {
    await attempt(async () => `read ${(await readFile(project, "dir/file")).content}`);
    await attempt(async () => {
      await writeFile(project, "dir/new", "new");
      return "written";
    });
    await attempt(async () => {
      const { files } = await listFiles(project, "dir");
      return files.some(({ name }) => name === "stolen") ? "listed outside" : "listed inside";
    });
    await attempt(async () => `deleted ${await deleteFile(project, "dir/new", trash)}`);
  }
  expect(outcomes["read outside"]).toBeUndefined();
  expect(outcomes["listed outside"]).toBeUndefined();
  expect(swapper.exitCode).toBeNull();
  expect((await readdir(outside)).sort()).toEqual(["file", "stolen"]);
  expect(await readRaw(join(outside, "file"), "utf8")).toBe("outside");
});
