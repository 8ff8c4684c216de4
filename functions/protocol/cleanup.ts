/** What a runner's cleanup deletes, and what it says of it. */

import { isObject } from "./control.ts";

/** In the order in which they go: what an install makes again first, a person's work last. */
export const cleanedThings = ["caches", "packages", "project"] as const;
export type CleanedThing = (typeof cleanedThings)[number];

/** One thing that was deleted, or would be. */
export interface Cleaned {
  what: CleanedThing;
  /** Null: of the cache that all projects share. */
  project: string | null;
  bytes: number;
  /** The limit that it was over. */
  why: string;
}

/** A project that a limit would have taken, and what saved it. */
export interface Spared {
  what: CleanedThing;
  project: string;
  why: string;
}

export interface CleanupReport {
  /** RFC 3339. */
  at: string;
  /** Nothing was deleted. */
  dryRun: boolean;
  /** Bytes that were freed, or would be. */
  freedBytes: number;
  cleaned: Cleaned[];
  spared: Spared[];
}

export interface NewCleanup {
  dryRun: boolean;
}

/** For people. */
export function cleanupLines({ dryRun, freedBytes, cleaned, spared }: CleanupReport): string[] {
  const names = { caches: "caches of", packages: "the package cache", project: "files of" } as const;
  const gone = cleaned.map(
    ({ what, project, bytes, why }) =>
      `${names[what]}${project === null ? "" : ` ${project}`}: ${sized(bytes)}, ${why}`,
  );
  const left = spared.map(({ what, project, why }) => `${names[what]} ${project} stay: ${why}`);
  const sum =
    cleaned.length === 0
      ? "Nothing is over its limit."
      : `${dryRun ? "Would free" : "Freed"} ${sized(freedBytes)}.`;
  return [...gone, ...left, sum];
}

function sized(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const at = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** at).toFixed(at === 0 ? 0 : 1)} ${units[at]}`;
}

/** Null for anything else. */
export function parseCleanupReport(value: unknown): CleanupReport | null {
  if (!isObject(value) || !Array.isArray(value["cleaned"]) || !Array.isArray(value["spared"])) return null;
  const { at, dryRun, freedBytes } = value;
  if (typeof at !== "string" || typeof dryRun !== "boolean" || typeof freedBytes !== "number") return null;
  const cleaned = value["cleaned"].map(parseCleaned).filter((one) => one !== null);
  const spared = value["spared"].map(parseSpared).filter((one) => one !== null);
  if (cleaned.length < value["cleaned"].length || spared.length < value["spared"].length) return null;
  return { at, dryRun, freedBytes, cleaned, spared };
}

function parseCleaned(value: unknown): Cleaned | null {
  if (!isObject(value)) return null;
  const { project, bytes, why } = value;
  const what = cleanedThings.find((one) => one === value["what"]);
  if (what === undefined || (project !== null && typeof project !== "string")) return null;
  return typeof bytes === "number" && typeof why === "string" ? { what, project, bytes, why } : null;
}

function parseSpared(value: unknown): Spared | null {
  if (!isObject(value)) return null;
  const { project, why } = value;
  const what = cleanedThings.find((one) => one === value["what"]);
  if (what === undefined || typeof project !== "string" || typeof why !== "string") return null;
  return { what, project, why };
}
