import type { RunnerConfig } from "./config.ts";
import { Hosting } from "./hosting.ts";
import type { Runner } from "./runner.ts";

/** All that a runner does besides connecting. */
export function attachHosting(runner: Runner, config: RunnerConfig): void {
  const {
    workspaceRoot: root,
    diskQuotaBytes,
    inheritEnvironment,
    confinement,
    guestLimits,
    agents,
    buildLimits,
    packageCache,
    cleanup,
    devServerIdleMs,
    sharedSecret,
    anthropicApiKey,
    git,
    runnerId,
  } = config;
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const idle = devServerIdleMs === null ? {} : { devServerIdleMs };
  const webhook = config.webhook === null ? null : { ...config.webhook, runnerId };
  const options = {
    root,
    inheritEnvironment,
    confinement,
    limits: guestLimits,
    agents,
    buildLimits,
    packageCache,
    cleanup,
    sendBuildEvents,
    send: runner.send.bind(runner),
    counts: runner.counts,
    tracing: runner.tracing,
    isBroker: () => runner.isBroker,
    secrets: [sharedSecret, anthropicApiKey, config.webhook?.secret ?? null].filter(
      (secret) => secret !== null,
    ),
    git,
    ...idle,
    webhook,
  };
  runner.attach(new Hosting({ ...options, ...quota }, runner.internalApi));
}
