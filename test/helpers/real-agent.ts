import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const NPM = join(import.meta.dirname, "../../node_modules/.bin/npm");

/** Installs an agent's package once for all runs of tests on this machine; answers its directory. */
export async function installAgent(name: string, version: string): Promise<string> {
  const cache = process.env["SIGNALBOX_AGENTS_CACHE"] ?? join(tmpdir(), "signalbox-agents");
  const place = join(cache, `${name.replace(/^.*\//, "")}@${version}`);
  if (existsSync(place)) return place;
  const making = `${place}.${process.pid}`;
  await mkdir(making, { recursive: true });
  await writeFile(join(making, "package.json"), "{}");
  const npm = existsSync(NPM) ? NPM : "npm";
  await promisify(execFile)(npm, ["install", "--no-audit", "--no-fund", `${name}@${version}`], {
    cwd: making,
  });
  // Whole or not at all.
  await rename(making, place).catch(async (error: unknown) => {
    await rm(making, { recursive: true, force: true });
    if (!existsSync(place)) throw error;
  });
  return place;
}
