import { access, constants, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { isBerryLock } from "./install-command.ts";
import { readPackageJson } from "./package-json.ts";

/** A package manager that Node doesn't bring; two of them are runtimes, too. */
export type ManagerName = "pnpm" | "yarn" | "bun" | "deno";

export interface Manager {
  name: ManagerName;
  version: string;
  /** The npm package that has it. */
  package: string;
}

/** The programs of each, as commands name them. */
const programs: Record<ManagerName, readonly string[]> = {
  pnpm: ["pnpm", "pnpx"],
  yarn: ["yarn", "yarnpkg"],
  bun: ["bun", "bunx"],
  deno: ["deno"],
};
const names = Object.keys(programs).filter((name): name is ManagerName => name in programs);

/** What is brought where a source names no version: tried with these lockfiles when this list was made. */
const defaults = { pnpm: "12.21.0", yarn: "1.22.22", berry: "4.18.1", bun: "1.4.5", deno: "2.9.5" };
/** The last pnpm that reads a lockfile of these formats; later ones refuse or rewrite it. */
const oldPnpm: [lockfileVersion: RegExp, version: string][] = [
  [/^5\./, "7.33.7"],
  [/^6\./, "8.15.9"],
];
/** What npm takes as one exact version, and a shell as one word. */
const VERSION = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/;

/**
 * The package managers that a source's commands name and this machine lacks, with the version that the source asks
 * for: by `packageManager`, else by its lockfile's format, else the default.
 */
export async function missingManagers(
  directory: string,
  commands: readonly string[],
  path: string,
): Promise<Manager[]> {
  const missing: Manager[] = [];
  for (const name of names) {
    const isNamed = programs[name].some((program) => commands.some((command) => isWordOf(program, command)));
    if (!isNamed || (await isOnPath(name, path))) continue;
    missing.push(
      managerOf(name, (await pinnedVersion(directory, name)) ?? (await fittingVersion(directory, name))),
    );
  }
  return missing;
}

/** A word where a shell would run it or pass it on: `pnpm build`, `cd app && pnpm i`, `exec bun x.ts`. */
function isWordOf(program: string, command: string): boolean {
  return new RegExp(`(?:^|[\\s;&|(\`"'])${program}(?:$|[\\s;&|)\`"'])`).test(command);
}

async function isOnPath(program: string, path: string): Promise<boolean> {
  for (const directory of path.split(delimiter).filter(Boolean)) {
    const isThere = await access(join(directory, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return true;
  }
  return false;
}

/** From `"packageManager": "pnpm@10.1.0+sha512.…"`. A range or a tag isn't a version. */
async function pinnedVersion(directory: string, name: ManagerName): Promise<string | null> {
  const pinned = (await readPackageJson(directory))?.packageManager;
  if (typeof pinned !== "string" || !pinned.startsWith(`${name}@`)) return null;
  const version = pinned.slice(name.length + 1).split("+", 1)[0] ?? "";
  return VERSION.test(version) ? version : null;
}

async function fittingVersion(directory: string, name: ManagerName): Promise<string> {
  if (name === "yarn") return (await isBerryLock(directory)) ? defaults.berry : defaults.yarn;
  if (name === "pnpm") {
    const lock = await readFile(join(directory, "pnpm-lock.yaml"), "utf8").catch(() => ""); // there is none
    const format = /^lockfileVersion: ['"]?([\d.]+)/m.exec(lock)?.[1] ?? "";
    return oldPnpm.find(([pattern]) => pattern.test(format))?.[1] ?? defaults.pnpm;
  }
  return defaults[name];
}

function managerOf(name: ManagerName, version: string): Manager {
  const isBerry = name === "yarn" && !version.startsWith("1.");
  return { name, version, package: isBerry ? "@yarnpkg/cli-dist" : name };
}
