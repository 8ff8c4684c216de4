import { readPackageJson } from "./package-json.ts";
import type { ProjectFiles } from "./project-files.ts";

export interface PackageManager {
  name: "npm" | "pnpm" | "yarn" | "bun";
  why: string;
}

/** In the order in which the runner looks for them when it installs. */
const LOCKFILES: [file: string, name: PackageManager["name"]][] = [
  ["bun.lock", "bun"],
  ["bun.lockb", "bun"],
  ["pnpm-lock.yaml", "pnpm"],
  ["pnpm-workspace.yaml", "pnpm"],
  ["yarn.lock", "yarn"],
  ["package-lock.json", "npm"],
  ["npm-shrinkwrap.json", "npm"],
];

/** Which package manager installs a directory, or a workspace's root. */
export function packageManagerOf(root: ProjectFiles): PackageManager {
  const pinned = /^(npm|pnpm|yarn|bun)@/.exec(readPackageJson(root)?.packageManager ?? "")?.[1];
  if (pinned !== undefined) {
    return { name: pinned as PackageManager["name"], why: "packageManager in package.json" };
  }
  for (const [file, name] of LOCKFILES) if (root.has(file)) return { name, why: file };
  return { name: "npm", why: "no lockfile" };
}

export function runScript({ name }: PackageManager, script: string): string {
  if (script === "start" && name !== "bun") return `${name} start`;
  return `${name} run ${script}`;
}

/** Runs a program of a dependency. The runner has the root's own on its path, except yarn's, which may be in no directory. */
export function runProgram({ name }: PackageManager, isMember: boolean, command: string): string {
  switch (name) {
    case "yarn":
    case "bun":
      return `${name} run ${command}`;
    case "npm":
      return isMember ? `npm exec -- ${command}` : command;
    case "pnpm":
      return isMember ? `pnpm exec ${command}` : command;
  }
}
