import { readdirSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, delimiter, dirname, isAbsolute, join } from "node:path";
import { networkVariables, pick } from "../processes/environment.ts";
import { isInside, isOfSystem } from "./sandbox.ts";

/** Where a program is that the runner itself would start, or null. */
export function findProgram(name: string, path: string = process.env["PATH"] ?? ""): string | null {
  for (const directory of [...path.split(delimiter), "/usr/sbin", "/usr/bin", "/bin"]) {
    const file = join(directory, name);
    if (isAbsolute(directory) && isThere(file)) return file;
  }
  return null;
}

/**
 * What guests need of the runner's own surroundings: the programs on its PATH, this very program for
 * `signalbox-runner static`, and the certificates that its settings name. Never the home itself.
 */
export function neededPaths(inherit: readonly string[], workspace: string): string[] {
  const path = (process.env["PATH"] ?? "").split(delimiter);
  const programs = [
    ...path.filter((directory) => isAbsolute(directory) && isThere(directory)),
    dirname(process.execPath),
  ];
  const files = Object.values(pick(process.env, [...networkVariables, ...inherit])).filter(
    (value) => isAbsolute(value) && isThere(value),
  );
  const home = homeDirectory();
  return [...programs.flatMap(installationOf), ...ownProgram(), ...files].filter(
    (found) =>
      found !== "/" &&
      (home === null || (found !== home && !isInside(home, found))) &&
      found !== workspace &&
      !isInside(workspace, found),
  );
}

/** Null for a user without a name and without HOME. */
function homeDirectory(): string | null {
  try {
    return homedir();
  } catch {
    return null;
  }
}

/** Loopback ports in the runner's own settings for the network: its registry's, its proxies'. A guest's don't count. */
export function ownLoopbackPorts(inherit: readonly string[]): number[] {
  return Object.values(pick(process.env, [...networkVariables, ...inherit])).flatMap((value) => {
    const url = URL.parse(value);
    if (url === null || !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)) return [];
    const port = Number(url.port) || { "http:": 80, "https:": 443 }[url.protocol];
    return port === undefined ? [] : [port];
  });
}

/**
 * A directory of programs with what they are made of: a package's code is beside `.bin`, npm's packages are beside
 * `bin`, a version manager's versions are beside its `shims`, and a link's program is wherever it leads.
 */
function installationOf(directory: string): string[] {
  const manager = dirname(directory);
  if ([".bin", "shims"].includes(basename(directory)) || basename(manager) === ".volta")
    return [directory, manager];
  const node = join(directory, "node");
  const programs = isThere(node) ? [directory, dirname(realpathSync(node))] : [directory];
  return [
    ...programs,
    ...programs
      .flatMap((found) => ["lib/node_modules", "include/node"].map((part) => join(dirname(found), part)))
      .filter(isThere),
    ...linkedFrom(directory),
  ];
}

/** Files outside of the system's own directories that links in this one lead to. */
function linkedFrom(directory: string): string[] {
  if (isOfSystem(directory)) return [];
  const real = realpathSync(directory);
  return namesIn(directory)
    .map((name) => join(directory, name))
    .filter(isThere)
    .map((path) => realpathSync(path))
    .filter((file) => dirname(file) !== real && !isOfSystem(file));
}

/** From the sources, they and their dependencies; else one file. */
function ownProgram(): string[] {
  const [, script] = process.argv;
  if (script === undefined || !isAbsolute(script) || !isThere(script)) return [];
  const file = realpathSync(script);
  if (!file.endsWith(".ts")) return [file];
  const root = new URL("../../", import.meta.url).pathname;
  return [
    file,
    ...["runner", "functions", "node_modules", "package.json"]
      .map((name) => join(root, name))
      .filter(isThere),
  ];
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // its programs may be run and not listed
  }
}

function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch {
    return false; // or not for the runner's eyes, which is the same
  }
}
