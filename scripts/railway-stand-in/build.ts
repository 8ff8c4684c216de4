import { createReadStream, createWriteStream, type Stats } from "node:fs";
import { cp, mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { Readable } from "node:stream";
import { unpackTar } from "modern-tar/fs";
import { ServiceProcess } from "./service-process.ts";
import type { Deployment, Instance, Source } from "./world.ts";

/** What runs when an image or a repo is deployed: there is neither Docker nor GitHub here. */
export interface Runnable {
  command: readonly string[];
  cwd?: string;
  env?: Record<string, string>;
}

export interface Sources {
  images: Record<string, Runnable>;
  repos: Record<string, Runnable>;
  /** Where builds are made. */
  directory: string;
}

/** Why a build came to nothing; what led to it is in the build log. */
export class BuildFailure extends Error {
  override name = "BuildFailure";
}

const BUILD_GRACE_MS = 1_000;

/** Keeps an upload as it came; a damaged one fails the build, as on Railway. */
export async function keepUpload(body: Readable, file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await pipeline(body, createWriteStream(file));
}

/** Makes a deployment's source ready to run. Throws {@link BuildFailure}. */
export async function build(
  deployment: Deployment,
  instance: Instance,
  sources: Sources,
  env: Record<string, string>,
  log: (line: string, severity?: "info" | "error") => void,
  signal: AbortSignal,
): Promise<Required<Runnable>> {
  const { startCommand, buildCommand, rootDirectory } = instance.settings;
  const directory = join(sources.directory, deployment.id);
  await mkdir(directory, { recursive: true });
  const known = lookUp(deployment.source, sources);
  if (known !== null) {
    log(`found ${describe(deployment.source)}`);
    const command = startCommand === null ? known.command : shell(startCommand);
    return { command, cwd: known.cwd ?? directory, env: known.env ?? {} };
  }
  if (!("upload" in deployment.source)) {
    throw new BuildFailure(`${describe(deployment.source)} can't be found, or this account may not read it`);
  }
  log("unpacking the upload");
  try {
    await pipeline(
      createReadStream(deployment.source.upload),
      createGunzip(),
      unpackTar(directory, { strict: true, maxDepth: 64 }),
    );
  } catch (error) {
    throw new BuildFailure(
      `the upload can't be unpacked: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  const root = join(directory, rootDirectory ?? ".");
  const manifest = await readManifest(root);
  const run = async (command: string): Promise<void> => {
    log(`$ ${command}`);
    const building = new ServiceProcess(shell(command), { cwd: root, env, onLine: log });
    const end = (): void => void building.stop(BUILD_GRACE_MS);
    signal.addEventListener("abort", end, { once: true });
    const code = await building.exited;
    signal.removeEventListener("abort", end);
    if (code !== 0) throw new BuildFailure(`\`${command}\` ended with code ${code}`);
  };
  if (manifest !== null && Object.keys(manifest.dependencies).length > 0) {
    await run("npm install --no-audit --no-fund");
  }
  if (buildCommand !== null) await run(buildCommand);
  const start =
    startCommand ?? (await procfileWeb(root)) ?? (manifest?.start === undefined ? null : "npm start");
  if (start === null) throw new BuildFailure("No start command was found.");
  log(`start command: ${start}`);
  return { command: shell(start), cwd: root, env: {} };
}

/** A copy, so that two deployments of one upload never share a file. */
export async function copyUpload(from: string, to: string): Promise<void> {
  await cp(from, to);
}

function lookUp(source: Source, { images, repos }: Sources): Runnable | null {
  if ("image" in source) return images[source.image] ?? null;
  if ("repo" in source) return repos[source.repo] ?? null;
  return null;
}

function describe(source: Source): string {
  if ("image" in source) return `image ${source.image}`;
  return "repo" in source ? `repository ${source.repo}` : "the upload";
}

function shell(command: string): string[] {
  return ["/bin/sh", "-c", command];
}

async function readManifest(
  root: string,
): Promise<{ start: string | undefined; dependencies: Record<string, unknown> } | null> {
  const text = await readIfThere(join(root, "package.json"));
  if (text === null) return null;
  try {
    const manifest = JSON.parse(text) as {
      scripts?: Record<string, string>;
      dependencies?: Record<string, unknown>;
    };
    return { start: manifest.scripts?.["start"], dependencies: manifest.dependencies ?? {} };
  } catch {
    throw new BuildFailure("package.json isn't JSON");
  }
}

async function procfileWeb(root: string): Promise<string | null> {
  const text = await readIfThere(join(root, "Procfile"));
  return /^web:\s*(.+)$/m.exec(text ?? "")?.[1]?.trim() ?? null;
}

async function readIfThere(file: string): Promise<string | null> {
  const found: Stats | null = await stat(file).catch(() => null);
  return found?.isFile() ? readFile(file, "utf8") : null;
}
