/** How long each step of a deployment may take. Tests shorten these. */
export interface DeploymentTiming {
  installLimitMs: number;
  /** An install of a project that neither reads nor computes for so long hangs. */
  installStallMs: number;
  buildLimitMs: number;
  healthLimitMs: number;
  stopGraceMs: number;
  /** The first delay after a crash; doubles up to the limit. */
  backoffFirstMs: number;
  backoffLimitMs: number;
  /** After running this long, a deployment's next crash counts as its first. */
  stableMs: number;
  /** How often the disk is checked while an install or a build fills it. */
  diskCheckMs: number;
}

export const deploymentTiming: DeploymentTiming = {
  // The slowest installs in practice (cold cache, native modules) take five minutes; three times that is a hang.
  installLimitMs: 15 * 60_000,
  // npm tries a request that isn't answered again after a minute; a native module computes meanwhile.
  installStallMs: 3 * 60_000,
  // Railway's own limit on a build is 20 minutes on its cheapest plan; nobody waits longer for one in a workspace.
  buildLimitMs: 15 * 60_000,
  // Servers that migrate a database before they listen take minutes.
  healthLimitMs: 5 * 60_000,
  // Long enough for a server to finish its requests; nobody waits longer for a deploy.
  stopGraceMs: 10_000,
  backoffFirstMs: 1_000,
  backoffLimitMs: 60_000,
  stableMs: 60_000,
  diskCheckMs: 1_000,
};

/** Jitters the upper half: what crashed together must not restart together, nor at once. */
export function backoffMs(failures: number, timing: DeploymentTiming): number {
  const most = Math.min(timing.backoffLimitMs, timing.backoffFirstMs * 2 ** Math.min(failures - 1, 30));
  return most / 2 + (Math.random() * most) / 2;
}
