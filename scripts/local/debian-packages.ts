import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** A program that tests or benches need, and the Debian package that brings it. */
export interface Requirement {
  program: string;
  package: string;
}

/**
 * Makes sure that programs are there. Installs what is missing from Debian's packages where this user may; elsewhere
 * says what to install and ends with 1: nothing is skipped silently.
 */
export function requirePrograms(requirements: Requirement[]): void {
  const missing = installPrograms(requirements);
  if (missing.length === 0) return;
  const packages = missing.map((requirement) => requirement.package);
  const programs = missing.map(({ program }) => program).join(", ");
  console.error(
    `Missing: ${programs}. Install them (Debian: apt-get install ${packages.join(" ")}) and try again.`,
  );
  process.exit(1);
}

/** Installs what is missing, where this user may; returns what is missing still. */
export function installPrograms(requirements: Requirement[]): Requirement[] {
  const missing = requirements.filter(({ program }) => !isInstalled(program));
  if (missing.length === 0) return [];
  const packages = missing.map((requirement) => requirement.package);
  const prefix = installPrefix();
  if (prefix !== null) {
    console.log(`Installing ${packages.join(" ")} from Debian's packages…`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const apt = (...args: string[]): boolean => {
      const [command = "", ...rest] = [...prefix, "apt-get", "-qq", ...args];
      return spawnSync(command, rest, { stdio: ["ignore", "ignore", "inherit"], env }).status === 0;
    };
    if (apt("update") && apt("install", "--yes", "--no-install-recommends", ...packages)) {
      return requirements.filter(({ program }) => !isInstalled(program));
    }
  }
  return missing;
}

function isInstalled(program: string): boolean {
  const directories = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
  ];
  return directories.some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false; // not in this directory
    }
  });
}

/** How to become somebody who may install packages: not at all needed, by sudo without a password, or null: no way. */
function installPrefix(): string[] | null {
  if (!isInstalled("apt-get")) return null;
  if (process.getuid?.() === 0) return [];
  return spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0 ? ["sudo", "-n"] : null;
}
