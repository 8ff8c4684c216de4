import { existsSync } from "node:fs";
import { join } from "node:path";

/** Where a runner's own credential is: in its home, beside what it keeps of its guests, readable by its user alone. */
export function credentialFile(workspaceRoot: string, runnerId: string): string {
  return join(workspaceRoot, ".signalbox/credentials", `${runnerId}.json`);
}

export function hasCredential(workspaceRoot: string, runnerId: string): boolean {
  return existsSync(credentialFile(workspaceRoot, runnerId));
}
