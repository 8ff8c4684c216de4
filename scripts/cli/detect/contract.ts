import { readPackageJson } from "./package-json.ts";
import type { ProjectFiles } from "./project-files.ts";

const SDK = "@signalbox/sdk";
/** Pulse apps speak the contract by themselves. */
const PULSE = /^\W*pulse(?:-framework)?\b/m;

/**
 * The contract of an app that a deploy makes: without the sdk, what it was recognised as can't know of Signalbox. Once
 * there is a contract that finds out by itself, this is the place for it.
 */
export function contractOf(files: ProjectFiles): "pulse" | "none" {
  if (SDK in (readPackageJson(files)?.dependencies ?? {})) return "pulse";
  const python = ["requirements.txt", "pyproject.toml"].map((file) => files.read(file) ?? "");
  return python.some((text) => PULSE.test(text)) ? "pulse" : "none";
}
