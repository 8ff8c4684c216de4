import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Seconds that files take while others run; the rest take less than ten. One that begins late is waited for alone. */
const SECONDS: Record<string, number> = {
  "e2e/railway-fault-matrix": 90,
  "e2e/release": 80,
  "e2e/edge-contract": 79,
  "browser/operator-origin": 78,
  "e2e/hosted-deployments": 72,
  "e2e/hostile-guest": 54,
  "e2e/store-outage": 70,
  "e2e/railway-deployments": 69,
  "e2e/janitor": 65,
  "e2e/kill": 64,
  "browser/dev-servers": 61,
  "e2e/cli-railway-worker": 60,
  "e2e/railway-cycle": 54,
  "e2e/cli-railway-faults": 52,
  "browser/edge-pages": 51,
  "e2e/cli-railway-refusals": 49,
  "e2e/cli-commands": 48,
  "e2e/runner-cuts": 46,
  "e2e/railway-faults": 46,
  "e2e/start": 43,
  "e2e/hub-hibernation": 43,
  "e2e/joined-sockets": 30,
  "e2e/docs-commands": 40,
  "e2e/packages": 42,
  "e2e/decision-log": 39,
  "e2e/runner-scale": 35,
  "e2e/cli-mistakes": 35,
  "e2e/runner-connection": 34,
  "e2e/deploy-what-you-have": 32,
  "e2e/former-state": 29,
  "browser/sdk-reload": 27,
  "e2e/progress": 26,
  "e2e/init-worker": 26,
  "e2e/headers": 24,
  "e2e/deployment-logs": 24,
  "e2e/runner-tunnel": 24,
  "browser/rollout": 24,
  "e2e/start-damaged": 22,
  "worker/stalled-readers": 21,
  "e2e/runner-disk": 20,
  "e2e/runner-kill": 19,
  "e2e/cli-railway": 18,
  "e2e/tunnel-windows": 18,
  "e2e/railway-logs": 17,
  "e2e/route-tables": 17,
  "e2e/cli-interruptions": 17,
  "e2e/dashboard": 17,
  "e2e/runner-deployments": 16,
  "e2e/control-api": 16,
  "e2e/docs-workflow": 16,
  "e2e/placement": 15,
  "e2e/runner-installs": 15,
  "e2e/load": 14,
  "e2e/rollout": 13,
  "unit/cli-gitignore": 10,
};
/** Of a file that isn't in the list. */
const OTHERS: Record<string, number> = { e2e: 8, browser: 8, worker: 3 };

/** Begins with the files that take longest, whatever their project. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => seconds(other) - seconds(one));
  }
}

function seconds({ moduleId }: TestSpecification): number {
  const name = /\/test\/(.+)\.test\.ts$/.exec(moduleId)?.[1] ?? "";
  return SECONDS[name] ?? OTHERS[name.split("/")[0] ?? ""] ?? 1;
}
