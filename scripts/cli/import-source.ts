import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { ProjectBody } from "../client/control-types.ts";
import type { CommandContext } from "./context.ts";
import { upload } from "./deploy/upload.ts";
import { Failure } from "./failure.ts";
import type { Archive } from "./packing/archive.ts";
import { packTree } from "./packing/archive.ts";
import { readSourceTree } from "./packing/source-tree.ts";

/** Flags of what imports. */
export const ofImport = {
  branch: { type: "string", value: "BRANCH", summary: "of a git address; without one, the remote's own" },
  "token-stdin": {
    type: "boolean",
    summary: "read the login of a git address, TOKEN or USER:TOKEN, from standard input",
  },
} as const;

/** What a new project is asked for to begin with SOURCE. A directory or an archive is uploaded to its runner first. */
export async function sourceOfProject(
  context: CommandContext,
  from: string,
  {
    branch,
    runner,
    slug,
    name,
    "token-stdin": hasToken,
  }: {
    branch: string | undefined;
    runner: string | undefined;
    slug: string | undefined;
    name: string | undefined;
    "token-stdin": boolean;
  },
): Promise<Pick<ProjectBody, "source" | "env" | "runnerId" | "name">> {
  const path = resolve(context.cwd, from);
  const stats = /^[a-z]+:\/\/|^[\w.-]+@/i.test(from) ? null : await stat(path).catch(() => null);
  if (stats === null) {
    const token = hasToken ? (await context.readInput()).trim() : null;
    return {
      source: { git: from, ...(branch !== undefined && { branch }) },
      ...(token !== null && { env: [{ name: "GIT_TOKEN", value: token, secret: true, for: "git" }] }),
    };
  }
  if (branch !== undefined || hasToken)
    throw new Failure("usage", "wrong_usage", "--branch and --token-stdin belong to a git address.");
  const archive = stats.isDirectory() ? await packed(context, path) : await archiveAt(path, stats.size);
  context.atEnd(() => archive.remove());
  const control = await context.control();
  const source = { sha256: archive.sha256 };
  const wish = runner === undefined ? {} : { runnerId: runner };
  const { runnerId, hasSource } = await control.place({ ...wish, source });
  if (!hasSource) {
    await upload(
      async (bytes) => (await control.uploadToRunner(runnerId, bytes, context.signal)).sha256,
      archive,
      () => undefined,
      context.signal,
    );
  }
  return { source, runnerId, name: name ?? slug ?? basename(path).replace(/\.(?:tgz|tar\.gz)$/, "") };
}

async function packed(context: CommandContext, directory: string): Promise<Archive> {
  const tree = await readSourceTree(directory, { alone: false, secret: context.secretDirectories });
  return packTree(tree, context.signal);
}

async function archiveAt(path: string, bytes: number): Promise<Archive> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return {
    sha256: hash.digest("hex"),
    bytes,
    open: () => createReadStream(path),
    remove: () => undefined,
  };
}
