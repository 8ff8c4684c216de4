import type { DeploymentManifest, DeploymentState } from "./manifest.ts";

export interface DeploymentStatus {
  app: string;
  id: string;
  state: DeploymentState;
  /** Why it failed, or why it isn't running just now. */
  reason: string | null;
  /** The last lines of what failed. */
  lastLines: string[];
  /** Where it listens, or will. */
  port: number | null;
  /** How often it ended by itself. */
  crashes: number;
  source: { sha256: string };
  /** Logs from before this cursor are all there are now. */
  logCursor: number;
  createdAt: string;
  updatedAt: string;
}

export function statusOf(manifest: DeploymentManifest, logCursor: number): DeploymentStatus {
  const { key, state, reason, lastLines, port, crashes, spec, createdAt, updatedAt } = manifest;
  const [app = "", id = ""] = key.split("/");
  return {
    app,
    id,
    state,
    reason,
    lastLines,
    port,
    crashes,
    source: spec.source,
    logCursor,
    createdAt,
    updatedAt,
  };
}
