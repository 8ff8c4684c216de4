import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, extname, join } from "node:path";
import { promisify } from "node:util";
import { projectRoot } from "../../scripts/build/worker.ts";
import { npm, onceAtATime } from "./installed-fixture.ts";

/** Apart from node_modules, which `npm ci` removes. */
const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "signalbox-tests/pages");
const fixtures = join(projectRoot, "test/fixtures/pages");
const BINARY = new Set([".png", ".woff2"]);

/**
 * Builds `test/fixtures/pages/NAME` in one version, unless an earlier run did, and returns its directory. `__VERSION__` in
 * texts and names of files becomes the version. Packages are installed once for all versions.
 */
export async function builtApp(
  name: string,
  version: string,
  env: Record<string, string> = {},
): Promise<string> {
  const manifest = await readFile(join(fixtures, name, "package.json"));
  const home = join(cache, `${name}-${hashOf(manifest)}`);
  return onceAtATime(`page-app-${name}`, async () => {
    await install(home, manifest);
    const files = await filesOf(name, version);
    const directory = join(home, `${version}-${hashOf(JSON.stringify([[...files], env]))}`);
    const stamp = join(directory, ".built");
    if (await exists(stamp)) return directory;
    await rm(directory, { recursive: true, force: true });
    for (const [path, content] of files) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), content);
    }
    // Links to the same files: bundlers treat packages of a directory above in ways of their own.
    await promisify(execFile)("cp", ["-al", join(home, "node_modules"), directory]);
    const { scripts = {} }: { scripts?: Record<string, string> } = JSON.parse(manifest.toString());
    if (scripts["build"] !== undefined) await build(directory, env);
    await writeFile(stamp, "");
    return directory;
  });
}

async function install(home: string, manifest: Buffer): Promise<void> {
  const stamp = join(home, "node_modules/.installed");
  if (await exists(stamp)) return;
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "package.json"), manifest);
  await npm(["install", "--prefer-offline"], home);
  await writeFile(stamp, "");
}

/** Paths in the app with what is in them; `common` is in every app. */
async function filesOf(name: string, version: string): Promise<Map<string, string | Buffer>> {
  const files = new Map<string, string | Buffer>();
  for (const [from, to] of [
    ["common", "common"],
    [name, ""],
  ] as const) {
    const entries = await readdir(join(fixtures, from), { recursive: true, withFileTypes: true });
    for (const entry of entries.filter((each) => each.isFile())) {
      const path = join(entry.parentPath, entry.name);
      const content = await readFile(path);
      const target = join(to, path.slice(join(fixtures, from).length + 1));
      files.set(
        filled(target, version),
        BINARY.has(extname(path)) ? content : filled(content.toString(), version),
      );
    }
  }
  return new Map([...files].sort(([one], [other]) => (one < other ? -1 : 1)));
}

function filled(text: string, version: string): string {
  return text.replaceAll("__VERSION__", version).replaceAll("__NUMBER__", version.replace(/\D/g, ""));
}

async function build(directory: string, env: Record<string, string>): Promise<void> {
  try {
    await promisify(execFile)("npm", ["run", "build"], {
      cwd: directory,
      env: {
        ...process.env,
        NODE_ENV: "production",
        NEXT_TELEMETRY_DISABLED: "1",
        NUXT_TELEMETRY_DISABLED: "1",
        ASTRO_TELEMETRY_DISABLED: "1",
        ...env,
      },
      maxBuffer: 64 * 1024 ** 2,
    });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`Building ${directory} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}

function hashOf(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 12);
}

async function exists(path: string): Promise<boolean> {
  return (await readFile(path).catch(() => null)) !== null;
}
