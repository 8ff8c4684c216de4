import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, config) => {
  const { devServerIdleMs, runnerId } = config;
  const webhook = config.webhook === null ? null : { ...config.webhook, runnerId };
  const idle = devServerIdleMs === null ? {} : { devServerIdleMs };
  const { workspaceRoot: root, diskQuotaBytes, inheritEnvironment, confinement, guestLimits, agent } = config;
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const told = { sendBuildEvents, send: runner.send.bind(runner), isBroker: () => runner.isBroker };
  const options = {
    root,
    inheritEnvironment,
    confinement,
    limits: guestLimits,
    agent,
    ...told,
    ...idle,
    webhook,
  };
  runner.attach(new Hosting({ ...options, ...quota }, runner.internalApi));
});
