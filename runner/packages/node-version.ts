import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import semver from "semver";
import { parseUserJson } from "../../functions/protocol/user-json.ts";

const manifest = z.object({ engines: z.object({ node: z.string() }) });

export interface WantedNode {
  range: string;
  /** The file that says so. */
  from: string;
}

/** The Node that a source asks for, or null. Aliases such as `lts/*` ask for nothing in particular. */
export async function wantedNode(directory: string): Promise<WantedNode | null> {
  for (const from of [".nvmrc", ".node-version"]) {
    const range = (await read(directory, from)).trim();
    if (range !== "" && semver.validRange(range) !== null) return { range, from };
  }
  const found = manifest.safeParse(parsed(await read(directory, "package.json")));
  if (!found.success || semver.validRange(found.data.engines.node) === null) return null;
  return { range: found.data.engines.node, from: "engines in package.json" };
}

/** Of the Node that commands find, or null without one. */
export async function installedNode(path: string): Promise<string | null> {
  try {
    return (await promisify(execFile)("node", ["--version"], { env: { PATH: path } })).stdout.trim();
  } catch {
    return null;
  }
}

export function fits({ range }: WantedNode, version: string): boolean {
  return semver.satisfies(version, range, { includePrerelease: true });
}

function read(directory: string, name: string): Promise<string> {
  return readFile(join(directory, name), "utf8").catch(() => ""); // there is none
}

function parsed(text: string): unknown {
  try {
    return parseUserJson(text);
  } catch {
    return null; // whoever installs it says what is wrong with it
  }
}
