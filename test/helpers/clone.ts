import { execFile } from "node:child_process";
import { cp, mkdtemp, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { projectRoot } from "../../scripts/build/worker.ts";

const run = promisify(execFile);
const AUTHOR = ["-c", "user.name=Signalbox contributors", "-c", "user.email=contributors@example.com"];

/** What somebody would clone if everything here were committed: one commit, no `node_modules`, nothing built. */
export async function freshClone(): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "signalbox-clone-")));
  const list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
  const { stdout } = await run("git", list, { cwd: projectRoot, maxBuffer: 16 * 1024 ** 2 });
  for (const file of stdout.split("\0").filter((name) => name !== "")) {
    // Listed by git as long as its deletion isn't committed.
    await cp(join(projectRoot, file), join(directory, file)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  await run("git", ["init", "--quiet"], { cwd: directory });
  await run("git", ["add", "--all"], { cwd: directory });
  await commit(directory, "chore: a clone");
  return directory;
}

export async function commit(directory: string, message: string): Promise<void> {
  await run("git", [...AUTHOR, "commit", "--quiet", "--allow-empty", "--message", message], {
    cwd: directory,
  });
}
