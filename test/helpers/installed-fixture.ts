import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { FileLock } from "../../runner/processes/file-lock.ts";
import { projectRoot } from "../../scripts/build/worker.ts";

/** Two test files want the same thing at once: the second waits for the first to finish. */
const LOOK_AGAIN_MS = 200;
export const testCache = join(projectRoot, "node_modules/.cache/signalbox-tests");

/** Installs `test/fixtures/NAME` as its lock says, unless an earlier run did. Returns the fixture's directory. */
export async function installFixture(name: string): Promise<string> {
  const directory = join(projectRoot, "test/fixtures", name);
  const wanted = createHash("sha256")
    .update(await readFile(join(directory, "package-lock.json")))
    .digest("hex");
  const stamp = join(directory, "node_modules/.installed");
  await onceAtATime(`fixture-${name}`, async () => {
    if ((await readFile(stamp, "utf8").catch(() => null)) === wanted) return;
    // Their scripts only check what is there.
    await npm(["ci", "--ignore-scripts", "--prefer-offline"], directory);
    await writeFile(stamp, wanted);
  });
  return directory;
}

/** Runs `work` while no other process of the tests does something by the same name. */
export async function onceAtATime<T>(name: string, work: () => Promise<T>): Promise<T> {
  await mkdir(testCache, { recursive: true });
  for (;;) {
    const lock = await FileLock.take(join(testCache, `${name}.lock`));
    if (!(lock instanceof FileLock)) {
      await sleep(LOOK_AGAIN_MS);
      continue;
    }
    try {
      return await work();
    } finally {
      lock.release();
    }
  }
}

/** Runs npm, and returns what it writes. */
export async function npm(args: string[], directory: string): Promise<string> {
  const { stdout } = await promisify(execFile)("npm", args, {
    cwd: directory,
    env: { ...process.env, npm_config_audit: "false", npm_config_fund: "false" },
    maxBuffer: 64 * 1024 ** 2,
  });
  return stdout;
}
